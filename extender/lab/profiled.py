"""Applications like those of a profile: what `carbon-scheduler profile` learned of logs, played again."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from extender.adapters.spark.eventlog.workload import Profile, Workload
from extender.lab.spark import SparkApplication
from extender.lab.workload import Submission

LONGEST_S: Final = 20.0
"""Simulated seconds that the longest application takes: the others keep their proportion to it."""

_LEAST_S: Final = 1.0
_MOST_CORES: Final = 7  # of a node's 8, beside a driver
_NOT_IN_NAMES: Final = re.compile(r"[^a-z0-9]+")
_MOST_CORES_IN_ALL: Final = 56  # of the cluster's 96, some of which belong to a pool


class ProfileUnusable(ValueError):
    """A profile that cannot be played; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Described:
    """One application of the profile: executors, task slots of each, task-seconds, seconds it took."""

    name: str
    executors: int
    slots: int
    work_s: float

    @property
    def lasts_s(self) -> float:
        """Shortest time with all its slots busy."""
        return self.work_s / (self.executors * self.slots)


def read_profile(path: Path) -> list[Described]:
    """The applications of a profile that have any work. Raises `ProfileUnusable`."""
    try:
        profile = msgspec.json.decode(path.read_bytes(), type=Profile)
    except OSError as problem:
        raise ProfileUnusable(f"{path}: {problem.strerror}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as problem:
        raise ProfileUnusable(f"{path} is not what `carbon-scheduler profile` writes: {problem}") from None
    described = [_describe(each) for each in profile.workloads]
    usable = [each for each in described if each.work_s > 0]
    if not usable:
        raise ProfileUnusable(f"{path}: no application in it ran any task; profile other logs")
    return usable


def _describe(workload: Workload) -> Described:
    work_s = sum(
        waves.count * waves.mean_s
        for stage in workload.stages
        for waves in (stage.first_wave, stage.later_waves)
    )
    widths = [each.executors for each in workload.observed_width] or [len(workload.executors)]
    return Described(workload.name, max(1, *widths), max(1, workload.slots_per_executor), work_s)


def applications_like(
    described: Sequence[Described], number: int, gap_s: float, draw: random.Random
) -> list[Submission]:
    """A stream of `number` applications drawn from those described, on average `gap_s` seconds apart.

    Times are scaled so that the longest takes `LONGEST_S`, and widths cut to what the demo's cluster holds;
    the work of one that was cut stays what it was.
    """
    scale = LONGEST_S / max(each.lasts_s for each in described)
    out: list[Submission] = []
    at_s = 0.0
    for index in range(number):
        at_s += draw.expovariate(1 / gap_s) if index else 0.0
        out.append(Submission(at_s, _application(draw.choice(described), index, scale, draw)))
    return out


def _application(each: Described, index: int, scale: float, draw: random.Random) -> SparkApplication:
    cores = min(each.slots, _MOST_CORES)
    executors = max(1, min(each.executors, _MOST_CORES_IN_ALL // cores))
    name = _NOT_IN_NAMES.sub("-", each.name.lower())[:20].strip("-") or "app"
    return SparkApplication(
        name=f"{name}-{index + 1:02d}",
        app_id=f"spark-{draw.getrandbits(128):032x}",
        executors=executors,
        cores=cores,
        kind="profile",
        work_s=max(_LEAST_S, each.work_s / each.slots * scale),
    )
