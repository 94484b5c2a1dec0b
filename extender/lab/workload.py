"""Submissions to the demo's cluster: a stream of Spark applications of many kinds, from one seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from extender.core.carbon.start.flexibility import HoldPolicy
from extender.lab.cluster import node, plain_pod
from extender.lab.registry import Object
from extender.lab.spark import MAX_DELAY, POOL_LABEL, SparkApplication

ZONES: Final = ("zone-a", "zone-b", "zone-c")
NODES_A_ZONE: Final = 4
BATCH_POOL: Final = "batch"
POLICY: Final = "carbon-scheduler/carbon-policy"
_DISK: Final = "disktype"
_NAMES: Final = ("etl", "report", "train", "join", "stats", "dedup", "index", "score")


@dataclass(frozen=True, slots=True)
class Submission:
    """An application, when it is submitted (simulated seconds), and when an executor of it fails."""

    at_s: float
    app: SparkApplication
    fails_at: float | None = None


@dataclass(frozen=True, slots=True)
class ForeignPod:
    """A pod of the default scheduler, when it comes and how long it runs (simulated seconds)."""

    at_s: float
    pod: Object
    runs_for_s: float


def demo_nodes() -> list[Object]:
    """Twelve nodes of 8 cores in three zones; the last of each zone belongs to the pool `batch`."""
    nodes: list[Object] = []
    for zone in ZONES:
        for number in range(1, NODES_A_ZONE + 1):
            labels = {_DISK: "ssd" if number <= 2 else "hdd"}
            if number == NODES_A_ZONE:
                labels[POOL_LABEL] = BATCH_POOL
            nodes.append(node(f"{zone[-1]}{number}", zone, labels))
    return nodes


def applications(number: int, gap_s: float, draw: random.Random) -> list[Submission]:
    """A stream of `number` applications, on average `gap_s` simulated seconds apart.

    Among them, always: some bound to a pool, some with a pod template, with Palantir's annotations, with
    dynamic allocation, one that no cluster of this size can run, and one that contradicts itself.
    """
    out: list[Submission] = []
    at_s = 0.0
    for index in range(number):
        at_s += draw.expovariate(1 / gap_s) if index else 0.0
        app = _plain(index, draw)
        app = _SPECIAL[index % len(_SPECIAL)](app, draw)
        # With the fourth application the cluster is busy, and losing an executor matters.
        fails_at = 0.5 if index % 9 == 4 and app.admissible else None
        out.append(Submission(at_s, app, fails_at))
    return out


def _plain(index: int, draw: random.Random) -> SparkApplication:
    executors = draw.choice((2, 3, 4, 6, 8))
    return SparkApplication(
        name=f"{draw.choice(_NAMES)}-{index + 1:02d}",
        app_id=f"spark-{draw.getrandbits(128):032x}",
        executors=executors,
        cores=draw.choice((1, 2, 2, 3)),
        heap_mib=draw.choice((1024, 2048, 4096)),
        python=draw.random() < 0.5,
        work_s=executors * draw.uniform(3.0, 7.0),
    )


def _as_it_is(app: SparkApplication, _: random.Random) -> SparkApplication:
    return app


def _in_pool(app: SparkApplication, _: random.Random) -> SparkApplication:
    return replace(
        app, kind="pool", pool=BATCH_POOL, cores=min(app.cores, 2), executors=min(app.executors, 4)
    )


def _templated(app: SparkApplication, _: random.Random) -> SparkApplication:
    return replace(app, kind="template", template={_DISK: "ssd"})


def _palantir(app: SparkApplication, _: random.Random) -> SparkApplication:
    memory_mib = app.executor_requests["memory"] >> 20
    keys = {
        "spark-driver-cpu": "1",
        "spark-driver-mem": "1408Mi",
        "spark-executor-cpu": str(app.cores),
        "spark-executor-mem": f"{memory_mib}Mi",
        "spark-executor-count": str(app.executors),
    }
    return replace(app, kind="palantir", annotations=keys)


def _dynamic(app: SparkApplication, draw: random.Random) -> SparkApplication:
    return replace(
        app,
        kind="dynamic",
        executors=2,
        most_executors=2 + draw.choice((2, 4)),
        cores=min(app.cores, 2),
        work_s=draw.uniform(18.0, 30.0),
    )


def _too_big(app: SparkApplication, _: random.Random) -> SparkApplication:
    return replace(app, kind="too-big", executors=200, cores=2, admissible=False)


def _contradictory(app: SparkApplication, _: random.Random) -> SparkApplication:
    keys = {"carbon-scheduler/executor-count": "4", "carbon-scheduler/executor-min-count": "2"}
    return replace(app, kind="contradiction", annotations=keys, admissible=False)


def _urgent(app: SparkApplication, _: random.Random) -> SparkApplication:
    return replace(app, kind="urgent", priority=1000)


_SPECIAL: Final = (
    _as_it_is,
    _as_it_is,
    _palantir,
    _as_it_is,
    _dynamic,
    _in_pool,
    _as_it_is,
    _too_big,
    _templated,
    _as_it_is,
    _in_pool,
    _contradictory,
    _as_it_is,
    _urgent,
    _dynamic,
    _as_it_is,
)


def flexible(
    apps: Sequence[Submission], delay_s: tuple[float, float], draw: random.Random
) -> list[Submission]:
    """The same stream; every third application may wait for clean power (real seconds, within `delay_s`)."""
    out: list[Submission] = []
    for index, each in enumerate(apps):
        if index % 3 == 0 and each.app.admissible:
            delay = {MAX_DELAY: f"{draw.uniform(*delay_s):.0f}", POLICY: HoldPolicy.THRESHOLD.value}
            app = replace(each.app, annotations={**each.app.annotations, **delay})
            out.append(replace(each, app=app))
        else:
            out.append(each)
    return out


def foreign_pods(until_s: float, gap_s: float, draw: random.Random) -> Sequence[ForeignPod]:
    """Small pods of the default scheduler, coming and going beside the applications."""
    out: list[ForeignPod] = []
    at_s = 0.0
    while at_s < until_s:
        pod = plain_pod(f"web-{len(out) + 1:03d}", draw.choice((250, 500)), draw.choice((256, 512)))
        out.append(ForeignPod(at_s, pod, draw.uniform(4.0, 10.0)))
        at_s += draw.expovariate(1 / gap_s)
    return out
