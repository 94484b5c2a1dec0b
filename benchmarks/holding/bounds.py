"""Lower bounds on the carbon of a cell: less than any schedule of the same work can emit.

Both know the future. The first lets every gang start at its best moment as if it were alone. The second
lets work be split and paused at will, but gives no more cores than there are: a linear programme. The larger
of the two holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import csr_array

from extender.lab.simulation.grid import KWH_J, Grid
from extender.lab.simulation.results import GangRun, Run


def bound_grams(
    blind: Run,
    grid: Grid,
    cores: int,
    measured: Callable[[GangRun, float], bool],
    *,
    slower: float = 1.0,
    step_s: float = 3600.0,
) -> float:
    """The larger bound on the grams of the measured gangs.

    A gang may start from its submission on until its latest start, or until its start in the blind run where
    that is later: so the blind run itself is one of the schedules. Elastic gangs may take `slower` times as
    long as in the blind run, in which they are as wide as they can be; for them only the linear programme is
    a bound.
    """
    start_s = min(gang.submitted_s for gang in blind.gangs) // 86_400 * 86_400
    counts = np.array([measured(gang, start_s) for gang in blind.gangs])
    if slower > 1.0:
        return fluid_grams(blind.gangs, grid, cores, counts, slower=slower, step_s=step_s)
    alone = math.fsum(
        best_start_grams(gang, grid) for gang, counted in zip(blind.gangs, counts, strict=True) if counted
    )
    return max(alone, fluid_grams(blind.gangs, grid, cores, counts, step_s=step_s))


def window(gang: GangRun) -> tuple[float, float]:
    """From when and until when a gang may start."""
    return gang.submitted_s, max(gang.started_s, gang.latest_start_s or -math.inf)


def best_start_grams(gang: GangRun, grid: Grid) -> float:
    """Emissions of a gang that starts at the best moment of its window.

    The mean over the run time bends only where a step begins or ends within the run, so only those starts and
    the ends of the window have to be looked at.
    """
    first_s, last_s = window(gang)
    length_s = gang.ended_s - gang.started_s
    watts = gang.kwh * KWH_J / length_s
    bends = np.arange(
        math.floor((first_s - grid.start_s) / grid.step_s),
        math.ceil((last_s + length_s - grid.start_s) / grid.step_s) + 1,
    )
    edges = grid.start_s + bends * grid.step_s
    starts = {first_s, last_s, *edges.tolist(), *(edges - length_s).tolist()}
    return min(
        grid.grams(watts, start_s, start_s + length_s) for start_s in starts if first_s <= start_s <= last_s
    )


def fluid_grams(
    gangs: Sequence[GangRun],
    grid: Grid,
    cores: int,
    counts: np.ndarray,
    *,
    slower: float = 1.0,
    step_s: float = 3600.0,
) -> float:
    """Least emissions of all where work can be split and paused, but cores are limited.

    Variables are core-seconds of a gang in a step of its window, bounded by its width. Gangs that do not
    count take room and cost nothing.
    """
    costs: list[float] = []
    limits: list[float] = []
    of_gang: list[int] = []
    of_step: list[int] = []
    for number, gang in enumerate(gangs):
        first_s, last_s = window(gang)
        end_s = last_s + slower * (gang.ended_s - gang.started_s)
        width = gang.core_s / (gang.ended_s - gang.started_s)
        g_per_core_s = gang.kwh / gang.core_s if counts[number] else 0.0
        first = math.floor((first_s - grid.start_s) / step_s)
        for step in range(first, math.ceil((end_s - grid.start_s) / step_s)):
            begins_s = grid.start_s + step * step_s
            overlap_s = min(end_s, begins_s + step_s) - max(first_s, begins_s)
            costs.append(g_per_core_s * float(grid.values[step]))
            limits.append(width * overlap_s)
            of_gang.append(number)
            of_step.append(step)
    ones, columns = np.ones(len(costs)), np.arange(len(costs))
    work = csr_array((ones, (of_gang, columns)), shape=(len(gangs), len(costs)))
    steps = max(of_step) + 1
    room = csr_array((ones, (of_step, columns)), shape=(steps, len(costs)))
    found = linprog(
        costs,
        A_eq=work,
        b_eq=[gang.core_s for gang in gangs],
        A_ub=room,
        b_ub=np.full(steps, cores * step_s),
        bounds=np.column_stack([np.zeros(len(costs)), limits]),
        method="highs",
    )
    if not found.success:
        raise RuntimeError(f"the linear programme has no solution: {found.message}")
    return float(found.fun)
