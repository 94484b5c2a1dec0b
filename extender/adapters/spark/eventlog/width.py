"""How an application answers to its number of executors: its tasks played again by list scheduling."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence

from extender.adapters.spark.eventlog.workload import QUANTILES, Durations, StageProfile, Width

_WIDTHS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
_TASKS = 2000  # of one stage; where there are more, each played task stands for several in a row


def width_response(
    stages: Sequence[StageProfile], slots_per_executor: int, widths: Sequence[int] = _WIDTHS
) -> tuple[Width, ...]:
    """Run time for each number of executors, by the measured tasks of one run of each stage.

    A model: no locality, no change of shuffle cost, stages in the order in which the driver ran them.
    """
    ordered = [stage for stage in _in_order(stages) if stage.runs]
    base_s, _ = _play(ordered, slots_per_executor)
    response: list[Width] = []
    for executors in widths:
        slots = executors * slots_per_executor
        runtime_s, work_s = _play(ordered, slots)
        speedup = base_s / runtime_s if runtime_s else 1.0
        response.append(
            Width(executors, runtime_s, speedup, work_s / (runtime_s * slots) if runtime_s else 0.0)
        )
    return tuple(response)


def _play(stages: Sequence[StageProfile], slots: int) -> tuple[float, float]:
    """(run time, task time) in seconds on so many task slots."""
    tasks = sum(min(stage.tasks, _TASKS) for stage in stages)
    free = [0.0] * max(1, min(slots, tasks))  # more could never be used
    ended: dict[int, float] = {}
    work_s = 0.0
    for stage in stages:
        ready = max((ended.get(key, 0.0) for key in (*stage.parents, *stage.after)), default=0.0)
        end = ready
        for duration_s in _tasks(stage, slots):
            begin = max(ready, heapq.heappop(free))
            end = max(end, begin + duration_s)
            heapq.heappush(free, begin + duration_s)
            work_s += duration_s
        ended[stage.key] = end
    return max(ended.values(), default=0.0), work_s


def _tasks(stage: StageProfile, slots: int) -> list[float]:
    """Durations of one run on so many slots: the first on each slot are of the first wave."""
    count = min(stage.tasks, _TASKS)
    if not count:
        return []
    first, later = stage.first_wave, stage.later_waves
    n_first = min(count, slots)
    if not later.count:
        later = first
    if not first.count:
        first = later
    times = stage.tasks / count
    return [each * times for each in (*_spread(first, n_first), *_spread(later, count - n_first))]


def _spread(durations: Durations, count: int) -> list[float]:
    """So many values of a distribution, mean kept, long and short ones in a fixed mixture."""
    if not count or not durations.count:
        return [0.0] * count
    values: list[float] = []
    for index in range(count):
        at = ((index * 0.6180339887498949) % 1.0 + 0.5 / count) % 1.0  # low discrepancy, no random source
        upper = next(i for i, q in enumerate(QUANTILES) if q >= at and i)
        low, high = QUANTILES[upper - 1], QUANTILES[upper]
        share = (at - low) / (high - low)
        values.append(durations.quantiles_s[upper - 1] * (1 - share) + durations.quantiles_s[upper] * share)
    mean_s = sum(values) / count
    return [value * durations.mean_s / mean_s for value in values] if mean_s else values


def _in_order(stages: Sequence[StageProfile]) -> list[StageProfile]:
    """Parents first, else as submitted."""
    by_key: Mapping[int, StageProfile] = {stage.key: stage for stage in stages}
    done: set[int] = set()
    ordered: list[StageProfile] = []
    for stage in sorted(
        stages, key=lambda each: (each.submitted_s is None, each.submitted_s or 0.0, each.key)
    ):
        stack = [stage.key]
        while stack:
            key = stack[-1]
            if key in done:
                stack.pop()
                continue
            waiting = [p for p in by_key[key].parents if p in by_key and p not in done and p not in stack]
            if waiting:
                stack += waiting
            else:
                done.add(key)
                ordered.append(by_key[stack.pop()])
    return ordered
