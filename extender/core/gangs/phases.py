"""The phases of a gang, and the one table of the transitions between them.

```
LEADERLESS ──► WAITING ◄──► HELD          its leader waits for a place, or for cleaner power
                  │ ▲         │
                  ▼ │         ▼
               ADMITTED ◄─────┘           room is reserved for the leader and all minimum workers
                  │
                  ▼
               RUNNING ──► ENDING ──► GONE
```

A leader that is found bound (after a restart, or bound by another replica) leads to RUNNING at once, or to
UNRESERVED while nothing says which room its gang needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from extender.core.outcomes import EXPLANATIONS, Outcome

if TYPE_CHECKING:
    from extender.core.decisions import FilterDecision
    from extender.core.gangs.gang import Gang


class Phase(StrEnum):
    """Part of a gang's life."""

    LEADERLESS = "leaderless"
    """Workers are known, and no leader yet."""
    WAITING = "waiting"
    """A leader waits for a node."""
    HELD = "held"
    """A leader waits on purpose, for cleaner power."""
    ADMITTED = "admitted"
    """Room is reserved; the leader is not bound yet."""
    RUNNING = "running"
    """The leader is bound, and its reservation is kept."""
    UNRESERVED = "unreserved"
    """A leader runs, and nothing says yet which room its gang needs."""
    ENDING = "ending"
    """The leaders have ended or are being deleted; pods of the gang are still there."""
    GONE = "gone"
    """No pod of the gang is left, and the gang is forgotten."""


_LEFT_BY_ANY: Final = frozenset({Phase.RUNNING, Phase.UNRESERVED, Phase.ENDING, Phase.GONE})

TRANSITIONS: Final[Mapping[Phase, frozenset[Phase]]] = {
    Phase.LEADERLESS: _LEFT_BY_ANY | {Phase.WAITING},
    Phase.WAITING: _LEFT_BY_ANY | {Phase.HELD, Phase.ADMITTED},
    Phase.HELD: _LEFT_BY_ANY | {Phase.WAITING, Phase.ADMITTED},
    Phase.ADMITTED: _LEFT_BY_ANY | {Phase.WAITING},
    Phase.RUNNING: frozenset({Phase.WAITING, Phase.UNRESERVED, Phase.ENDING, Phase.GONE}),
    Phase.UNRESERVED: frozenset({Phase.WAITING, Phase.RUNNING, Phase.ENDING, Phase.GONE}),
    Phase.ENDING: frozenset({Phase.WAITING, Phase.RUNNING, Phase.UNRESERVED, Phase.GONE}),
    Phase.GONE: frozenset(),
}
"""The phases that may follow each phase.

Two leaders may name one gang. So a gang whose first leader ends may wait for the second one, or find it
running.
"""


class IllegalTransition(Exception):
    """A gang was to enter a phase that cannot follow its present one: a defect of the core."""


def phase_of(gang: Gang) -> Phase:
    """The phase that the members, the admission and the hold of a gang amount to."""
    if gang.admission is not None:
        return Phase.RUNNING if gang.admission.runs else Phase.ADMITTED
    leaders = gang.leaders.values()
    if any(leader.waiting for leader in leaders):
        return Phase.HELD if gang.hold else Phase.WAITING
    if any(leader.occupies and not leader.deleting for leader in leaders):
        return Phase.UNRESERVED
    return Phase.ENDING if gang.leaders or gang.leader_ended else Phase.LEADERLESS


def follow(gang: Gang, now: float, why: str) -> None:
    """Bring the phase of a gang in line with its members, and write down why it changed."""
    phase = phase_of(gang)
    if phase is not gang.phase:
        enter(gang, phase, now, why)


def refused(gang: Gang, decision: FilterDecision, now: float) -> None:
    """kube-scheduler was answered that the leader cannot start now: the gang waits, or is held."""
    if gang.phase not in (Phase.WAITING, Phase.HELD):
        return
    if decision.outcome is Outcome.HELD_FOR_CARBON:
        gang.hold = decision.detail
        follow(gang, now, decision.detail)
        return
    gang.hold = ""
    follow(gang, now, "it is not held any more")
    detail = decision.detail or EXPLANATIONS[decision.outcome]
    gang.story.add(now, gang.phase, f"refused: {decision.outcome}: {detail}")


def enter(gang: Gang, phase: Phase, now: float, why: str) -> None:
    """Let a gang enter a phase. Raises `IllegalTransition` where the table does not allow that."""
    if phase not in TRANSITIONS[gang.phase]:
        raise IllegalTransition(f"gang {gang.key} cannot go from {gang.phase} to {phase} ({why})")
    _set(gang, phase, now, why)


def restore(gang: Gang, now: float) -> None:
    """Let the phase follow from the members after an error half-way, whatever it was."""
    phase = phase_of(gang)
    if phase is not gang.phase:
        _set(gang, phase, now, "put in order after an error")


def _set(gang: Gang, phase: Phase, now: float, why: str) -> None:
    gang.phase = phase
    if phase is not Phase.HELD:
        gang.hold = ""
    gang.story.add(now, phase, why)
