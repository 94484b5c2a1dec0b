"""Every carbon policy by its name: a new one is a file in `start/` or `width/` and one line here."""

from __future__ import annotations

from collections.abc import Mapping

from extender.core.carbon.start import suspend_resume, threshold
from extender.core.carbon.start.by_intensity import ByIntensity
from extender.core.carbon.start.by_plan import ByPlan
from extender.core.carbon.start.cap import WithinBudget
from extender.core.carbon.start.flexibility import HoldPolicy
from extender.core.carbon.start.hold import StartPolicy
from extender.core.carbon.start.planned import PlannedStarts
from extender.core.carbon.width.budget import Budget
from extender.core.carbon.width.limit import WidthPolicy
from extender.core.carbon.width.stage_deferral import StageDeferral
from extender.core.carbon.width.suspend_resume import ChosenSteps
from extender.core.state import State


def start_policies(state: State, planned: PlannedStarts) -> Mapping[HoldPolicy, StartPolicy]:
    """When a gang may start, by the policy that it names. Of no policy nothing is asked."""
    percentile = state.policy.carbon.threshold_percentile
    return {
        HoldPolicy.PLAN: ByPlan(planned),
        HoldPolicy.BEST_START: ByPlan(planned),
        HoldPolicy.THRESHOLD: ByIntensity(state, HoldPolicy.THRESHOLD, threshold.clean_enough(percentile)),
        HoldPolicy.SUSPEND_RESUME: ByIntensity(state, HoldPolicy.SUSPEND_RESUME, suspend_resume.clean_enough),
        HoldPolicy.CAP: WithinBudget(state),
    }


def width_policies(state: State, budget: Budget, stage_deferral: StageDeferral) -> tuple[WidthPolicy, ...]:
    """How many workers a running gang may have: the least of these. The first that refuses is the reason."""
    return (
        budget,
        stage_deferral,
        ChosenSteps(state),
    )
