"""Run in the cleanest steps that suffice before the deadline.

The suspend-and-resume policy of the carbon-aware scheduling literature (compared in CarbonScaler,
SIGMETRICS'24, section 5): of all steps until the deadline the cleanest are chosen, as many as the work
needs. A driver cannot be suspended without losing its work, so for a gang the rule decides the start;
executors above the minimum are let in only in chosen steps.
"""

from __future__ import annotations

import math

from extender.core.carbon.signal import Outlook
from extender.core.carbon.start.hold import Asks


def chosen_steps(outlook: Outlook, deadline_s: float, runtime_s: float) -> list[int]:
    """Indices of the cleanest steps, earliest first on ties, that together last `runtime_s` seconds."""
    window = outlook.until(deadline_s)
    needed = min(len(window.values), max(1, math.ceil(runtime_s / window.step_s)))
    by_intensity = sorted(range(len(window.values)), key=lambda index: (window.values[index], index))
    return sorted(by_intensity[:needed])


def limit(outlook: Outlook, deadline_s: float, runtime_s: float) -> float:
    """Intensity of the dirtiest chosen step: the first step that is no dirtier is the first chosen one."""
    return max(outlook.values[index] for index in chosen_steps(outlook, deadline_s, runtime_s))


def runs_now(outlook: Outlook, deadline_s: float, runtime_s: float) -> bool:
    """Whether the present step is a chosen one."""
    return 0 in chosen_steps(outlook, deadline_s, runtime_s)


def clean_enough(outlook: Outlook, asks: Asks) -> float:
    """`limit` for a gang; without an estimate of its run time one step of the forecast is taken."""
    runtime_s = asks.flexibility.runtime_s or outlook.step_s
    return limit(outlook, asks.latest_start_s + runtime_s, runtime_s)
