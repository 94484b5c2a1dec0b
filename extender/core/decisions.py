"""Answers of the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from extender.core.outcomes import BROKEN, Outcome, reason


@dataclass(frozen=True, slots=True)
class FilterDecision:
    """Answer to filter: one node, or the reason why there is none.

    `node` is empty when nothing is offered. `detail` is what the user reads after the outcome word.
    """

    outcome: Outcome
    node: str = ""
    detail: str = ""

    @property
    def reason(self) -> str:
        """Stable text for kube-scheduler."""
        return reason(self.outcome, self.detail)

    @property
    def broken(self) -> bool:
        """Whether this must be sent as `Error` (kube-scheduler then retries by itself)."""
        return self.outcome in BROKEN


@dataclass(frozen=True, slots=True)
class BindDecision:
    """Answer to bind: the annotations the Binding carries, or an error and no Binding."""

    annotations: Mapping[str, str] = field(default_factory=dict[str, str])
    error: str = ""
    already_bound: bool = False
