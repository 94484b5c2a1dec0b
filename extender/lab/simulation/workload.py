"""Submissions in the simulation: gangs with known sizes and run times, at moments drawn from a seed."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Submission:
    """A Spark application as its user submits it at `at_s` (seconds since the epoch).

    It runs `run_s` seconds from when its `executors` run; executors above them, up to `most_executors`,
    shorten that in proportion. `estimate_s` is the run time its author states (None: none). It may wait
    `max_delay_s` for clean power (None: not at all) by `policy` (empty: the cluster's default). With `gated`
    the driver carries our scheduling gate: kube-scheduler does not try it until the extender takes that off.
    """

    at_s: float
    name: str
    executors: int
    run_s: float
    most_executors: int = 0
    cores: int = 1
    memory_mib: int = 1024
    estimate_s: float | None = None
    max_delay_s: float | None = None
    policy: str = ""
    namespace: str = "spark"
    gated: bool = False

    @property
    def most(self) -> int:
        """The most executors it asks for."""
        return max(self.executors, self.most_executors)

    @property
    def latest_start_s(self) -> float | None:
        """From then on carbon must not hold it; None if it never may."""
        return None if self.max_delay_s is None else self.at_s + self.max_delay_s


@dataclass(frozen=True, slots=True)
class DailyWave:
    """Poisson arrivals whose rate swings by `swing` (0..1) around its mean, highest at `peak_h` local time.

    `utc_offset_h` is the local clock's.
    """

    gangs_per_day: float
    swing: float = 0.6
    peak_h: float = 14.0
    utc_offset_h: float = 0.0

    def times(self, from_s: float, until_s: float, draw: random.Random) -> list[float]:
        """Arrivals in whole seconds (as Kubernetes writes them), by thinning a steady Poisson process."""
        highest = self.gangs_per_day * (1 + self.swing) / 86_400
        out: list[float] = []
        time_s = from_s
        while (time_s := time_s + draw.expovariate(highest)) < until_s:
            if draw.random() * (1 + self.swing) < self.relative(time_s):
                out.append(float(math.floor(time_s)))
        return out

    def relative(self, time_s: float) -> float:
        """The rate at a moment in parts of its mean."""
        local_h = time_s / 3600 + self.utc_offset_h
        return 1 + self.swing * math.cos(2 * math.pi * (local_h - self.peak_h) / 24)


def rigid_gangs(
    times: Sequence[float],
    draw: random.Random,
    *,
    executors: tuple[int, int] = (2, 6),
    run_h: tuple[float, float] = (1.0, 4.0),
) -> list[Submission]:
    """A gang of one-core pods for each time: its size and its run time are drawn evenly from these ranges."""
    out: list[Submission] = []
    for number, at_s in enumerate(times, 1):
        run_s = float(round(3600 * draw.uniform(*run_h)))
        out.append(Submission(at_s, f"gang-{number:05d}", draw.randint(*executors), run_s, estimate_s=run_s))
    return out


def flexible(
    gangs: Sequence[Submission], max_delay_s: float, policy: str, draw: random.Random, share: float = 1.0
) -> list[Submission]:
    """The same gangs; this share of them may wait for clean power. The draws do not depend on the policy."""
    return [
        replace(gang, max_delay_s=max_delay_s, policy=policy) if draw.random() < share else gang
        for gang in gangs
    ]
