"""The account of a controller: supersteps, one after the other, and a penalty for each change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from extender.bsp.core.rules import Levels, Rules
from extender.bsp.core.surfaces import Surface

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Choice:
    """A configuration to begin with now, and for how many supersteps the controller means to keep it."""

    window: int
    levels: Levels


class Controller(Protocol):
    """Asked before every superstep; nothing forces it to honour a window that it chose before."""

    def choose(self, step: int, running: Levels) -> Choice | None:
        """The configuration to change to before this superstep; None keeps the running one."""
        ...


@dataclass(frozen=True, slots=True)
class Run:
    """The account of one simulated job.

    `step_s[step]` are durations without penalties, `penalties_s[step]` what the change before the superstep
    cost; `windows[step]` is 0 where the configuration was kept. The first configuration starts the job and is
    no reconfiguration.
    """

    step_s: Floats
    windows: NDArray[np.int64]
    millicores: NDArray[np.int64]
    busy_core_s: float
    penalties_s: Floats

    @property
    def duration_s(self) -> float:
        """All supersteps, without penalties."""
        return float(self.step_s.sum())

    @property
    def reconfigurations(self) -> int:
        """Changes of the configuration after the start."""
        return int(np.count_nonzero(self.windows[1:]))

    @property
    def total_s(self) -> float:
        """Supersteps and penalties."""
        return self.duration_s + float(self.penalties_s.sum())

    @property
    def allocated_core_s(self) -> float:
        """CPU that the members held, in core-seconds; they hold it during penalties too."""
        held = self.millicores.sum(axis=1) / 1000
        return float((held * (self.step_s + self.penalties_s)).sum())


def simulate(controller: Controller, surface: Surface, sizes: Floats, rules: Rules) -> Run:
    """Play one superstep for each row of `sizes[step, member]`, which the controller does not see.

    A superstep lasts as long as its slowest member; the others hold their CPU and wait.
    """
    steps, members = sizes.shape
    running: Levels = np.zeros(members, dtype=np.int64)
    step_s, penalties_s, windows = np.empty(steps), np.zeros(steps), np.zeros(steps, dtype=np.int64)
    millicores, busy = np.empty((steps, members), dtype=np.int64), 0.0
    for step in range(steps):
        choice = controller.choose(step, running)
        if choice is not None:
            if step > 0:
                penalties_s[step] = rules.reconfiguration_s(running, choice.levels)
            running, windows[step] = choice.levels, choice.window
        millicores[step] = rules.millicores(running)
        durations = surface.points(sizes[step], millicores[step].astype(np.float64))
        step_s[step] = durations.max()
        busy += float((durations * millicores[step]).sum()) / 1000
    return Run(step_s, windows, millicores, busy, penalties_s)
