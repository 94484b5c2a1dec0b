"""A picture of a workload: its stage graph above, its timeline and running tasks below."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from extender.adapters.spark.eventlog.workload import StageProfile, Workload

_STAGES = 40  # more would be unreadable; the longest are drawn


def draw(workload: Workload, path: Path) -> None:
    """Write the picture; the suffix (.svg, .png, .pdf) says its format. Raises `ValueError` on others."""
    from matplotlib.figure import Figure

    stages = _drawn(workload.stages)
    rows = max(len(layer) for layer in [*_layers(stages).values(), [0]])
    heights = [max(2.0, 0.9 * rows), max(1.6, 0.3 * len(stages)), 1.6]
    figure = Figure(figsize=(11, sum(heights) + 1.6), layout="constrained")
    graph, timeline, tasks = figure.subplots(3, 1, height_ratios=heights)
    timeline.sharex(tasks)
    _graph(graph, stages)
    _timeline(timeline, stages)
    _tasks(tasks, workload)
    left_out = len([stage for stage in workload.stages if stage.runs]) - len(stages)
    title = f"{workload.name or 'application'} ({workload.app_id}), Spark {workload.spark_version}"
    figure.suptitle(
        title + (f"; {left_out} shorter stages not drawn" if left_out else ""), fontsize=11, parse_math=False
    )
    figure.savefig(path)


def _drawn(stages: Sequence[StageProfile]) -> list[StageProfile]:
    longest = sorted((stage for stage in stages if stage.runs), key=_seconds, reverse=True)[:_STAGES]
    return sorted(longest, key=lambda stage: (stage.submitted_s or 0.0, stage.key))


def _seconds(stage: StageProfile) -> float:
    return (stage.completed_s or 0.0) - (stage.submitted_s or 0.0)


def _layers(stages: Sequence[StageProfile]) -> dict[int, list[StageProfile]]:
    """Stages by their distance from a stage without parents."""
    depth: dict[int, int] = {}
    layers: defaultdict[int, list[StageProfile]] = defaultdict(list)
    for stage in stages:  # as submitted: parents ran before
        depth[stage.key] = 1 + max((depth[parent] for parent in stage.parents if parent in depth), default=-1)
        layers[depth[stage.key]].append(stage)
    return layers


def _graph(axes: Any, stages: Sequence[StageProfile]) -> None:
    layers = _layers(stages)
    place = {
        stage.key: (column, (len(layer) - 1) / 2 - row)
        for column, layer in layers.items()
        for row, stage in enumerate(layer)
    }
    for stage in stages:
        for parent in stage.parents:
            if parent in place:
                axes.annotate(
                    "",
                    place[stage.key],
                    place[parent],
                    arrowprops={"arrowstyle": "->", "color": "0.5", "shrinkA": 34, "shrinkB": 34},
                )
        tasks_s = _total_s(stage)
        label = f"{stage.key}\n{stage.tasks} × {tasks_s / max(1, stage.tasks * stage.runs):.2g} s"
        box = {"boxstyle": "round", "facecolor": "#dbe9f6", "edgecolor": "#2c5f8a"}
        axes.text(*place[stage.key], label, ha="center", va="center", fontsize=8, bbox=box)
    ys = [y for _, y in place.values()] or [0]
    axes.set(xlim=(-0.6, max(layers, default=0) + 0.6), ylim=(min(ys) - 0.7, max(ys) + 0.7))
    axes.set_title("stages (last RDD; tasks × mean duration)", fontsize=9, loc="left")
    axes.axis("off")


def _total_s(stage: StageProfile) -> float:
    return sum(each.count * each.mean_s for each in (stage.first_wave, stage.later_waves))


def _timeline(axes: Any, stages: Sequence[StageProfile]) -> None:
    for row, stage in enumerate(stages):
        if stage.submitted_s is not None:
            axes.barh(row, _seconds(stage), left=stage.submitted_s, color="#2c5f8a", height=0.7)
    axes.set_yticks(range(len(stages)), [str(stage.key) for stage in stages], fontsize=7)
    axes.invert_yaxis()
    axes.set_title("from first submission to last completion", fontsize=9, loc="left")
    axes.tick_params(labelbottom=False)
    axes.grid(axis="x", alpha=0.3)


def _tasks(axes: Any, workload: Workload) -> None:
    times = [0.0, *(time_s for time_s, _ in workload.running_tasks), workload.duration_s]
    levels = [0, *(level for _, level in workload.running_tasks)]
    axes.stairs(levels, sorted(times), fill=True, color="#7fb069")
    axes.set(xlabel="seconds from application start", xlim=(0, max(workload.duration_s, 0.001)))
    axes.set_title("running tasks", fontsize=9, loc="left")
    axes.grid(axis="x", alpha=0.3)
