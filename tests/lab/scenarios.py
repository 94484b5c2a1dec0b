"""Scenarios of the simulated cluster."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np

from extender.lab.simulation.applications import Delays
from extender.lab.simulation.grid import Grid
from extender.lab.simulation.run import Scenario, node
from extender.lab.simulation.workload import DailyWave, Submission, flexible, rigid_gangs

HOUR = 3600.0


START = 1_800_000_000.0  # a whole hour


def grid(*values: float, zone: str = "z", start_s: float = START) -> Grid:
    """Hourly intensities; the last one goes on for ten days."""
    return Grid(zone, start_s, HOUR, np.array([*values, *[values[-1]] * 240], dtype=float))


def day(zone: str = "z", days: int = 6) -> Grid:
    """A grid that is clean around noon."""
    hours = np.arange(24 * days)
    return Grid(zone, START, HOUR, 300 - 150 * np.cos(2 * np.pi * (hours - 12) / 24) * -1.0)


def scenario(*submissions: Submission, nodes: int = 1, on: Grid | None = None, **more: object) -> Scenario:
    """Nodes of 16 cores; pods run as soon as they are bound unless told otherwise."""
    values: dict = {"delays": Delays(0.0, 0.0), "start_s": START, "grids": [on or grid(360.0)], **more}
    return Scenario([node(f"n{number}", zone="z") for number in range(nodes)], submissions, **values)


def busy(gangs: int, seed: int, policy: str, *, delay_h: float = 12.0, gated: bool = False) -> Scenario:
    """A day's gangs on four nodes, more than half of their cores in use."""
    times = DailyWave(gangs).times(START, START + 24 * HOUR, random.Random(seed))
    made = rigid_gangs(times, random.Random(seed + 1))
    if policy:
        made = flexible(made, delay_h * HOUR, policy, random.Random(seed + 2), share=0.7)
    made = [replace(each, gated=gated) for each in made]
    return scenario(*made, nodes=4, on=day())
