"""Stages of an application: how important each is, what is left, and what is withheld for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from extender.core import queries
from extender.core.facts import GangKey
from extender.core.outcomes import EXPLANATIONS
from extender.core.policy import Switches
from extender.core.stages.stage import StageState
from extender.core.stages.store import Priorities
from extender.core.store import Store

_MOST_KEPT: Final = 4_000


class Stage(BaseModel):
    """A stage under the id of its last RDD, which all its copies have in common."""

    model_config = ConfigDict(from_attributes=True)

    key: int = Field(description="Id of its last RDD.")
    stage_id: int = Field(description="Its present number in Spark.")
    attempt: int
    name: str
    jobs: list[int] = Field(description="Jobs that list it.")
    parents: list[int] = Field(description="Keys of the stages it reads from.")
    state: StageState
    resource_profile: int
    tasks: int
    finished: int
    skipped: int = Field(description="Numbers under which it was listed and never ran.")
    task_s: float = Field(description="Time of one task, measured or guessed.")
    duration_s: float | None = Field(description="Of the latest attempt, once it ended.")
    remaining_s: float = Field(description="Work left, in task-seconds.")
    slack_s: float = Field(description="How much longer it could take before the application does.")
    importance: float = Field(description="0..1; 0 where nothing is open.")


class Withheld(BaseModel):
    """A worker that waits for cleaner power."""

    pod: str
    outcome: str = Field(description="Of the closed list.")
    reason: str


class Deferral(BaseModel):
    """The executors that PCAPS lets start at the present intensity."""

    model_config = ConfigDict(from_attributes=True)

    wanted: int = Field(description="Workers that the stages which could run would use.")
    let_in: int = Field(description="How many of them may start.")
    least_important: float = Field(description="Importance from which on a stage is served now.")
    deferred: list[int] = Field(description="Numbers of the stages that are not.")


class Progress(BaseModel):
    """The known stages of an application. All but `withheld` and `target` comes from its driver."""

    stages: list[Stage] = []
    importance: float | None = Field(
        default=None,
        description="The application's own: its ready stages, weighted by work. Null without any.",
    )
    remaining_s: float | None = Field(default=None, description="Work left in known stages, in task-seconds.")
    critical_path_s: float | None = Field(default=None, description="Shortest time to their end.")
    heard_age_s: float | None = Field(default=None, description="Since the driver last said something.")
    target: int | None = Field(
        default=None, description="Workers it is to have now; null while nothing limits it."
    )
    deferral: Deferral | None = Field(default=None, description="Null while nothing is deferred.")
    withheld: list[Withheld] = []
    left_out: int = Field(
        default=0,
        description="Stages and references to parents that are not in `stages`: too many, or in a circle.",
    )


class OnOff(BaseModel):
    """Features that the settings turn on and no switch turned off."""

    pcaps: bool
    stage_order: bool
    executor_target: bool


def progress(store: Store, key: GangKey, now: float) -> Progress:
    """Progress of a known gang, computed from its stages; without the stages themselves."""
    found = Progress(target=queries.target(store, key, now), withheld=_withheld(store, key))
    deferral = queries.deferral(store, key, now)
    if deferral is not None:
        found.deferral = Deferral.model_validate(deferral)
    known = queries.stage_progress(store, key, now)
    if known is None:
        return found
    priorities = queries.priorities(store, key)
    found.left_out, found.heard_age_s = known.left_out, known.heard_age_s
    found.importance = priorities.importance if priorities.ready else None
    found.remaining_s, found.critical_path_s = priorities.remaining_s, priorities.critical_path_s
    return found


def _withheld(store: Store, key: GangKey) -> list[Withheld]:
    return [
        Withheld(pod=pod.name, outcome=outcome, reason=EXPLANATIONS[outcome])
        for pod, outcome in queries.withheld(store, key)
    ]


class StagePriorities:
    """Answers to `.../stages/priority`, written once for each change of an application's stages."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._written: dict[GangKey, tuple[Priorities, bytes]] = {}

    def answer(self, key: GangKey) -> bytes | None:
        """JSON, or None if no such gang is known."""
        if not queries.gang_is_known(self._store, key):
            self._written.pop(key, None)
            return None
        priorities = queries.priorities(self._store, key)
        written = self._written.get(key)
        if written is None or written[0] is not priorities:
            most = min(_MOST_KEPT, queries.counts(self._store).gangs)
            if key not in self._written and len(self._written) >= most:
                self._forget()
            written = self._written[key] = (priorities, msgspec.json.encode(_document(priorities)))
        return written[1]

    def _forget(self) -> None:
        """Keep what was written for known gangs, or nothing if that is too much."""
        self._written = {
            key: each for key, each in self._written.items() if queries.gang_is_known(self._store, key)
        }
        if len(self._written) >= _MOST_KEPT:
            self._written.clear()


def _document(priorities: Priorities) -> Mapping[str, Any]:
    return {
        "importance": priorities.importance,
        "remaining_s": priorities.remaining_s,
        "critical_path_s": priorities.critical_path_s,
        "stages": dict(priorities.by_stage),
        "ready": priorities.ready,
    }


def in_force(allowed: Switches, switches: Switches) -> OnOff:
    """Both the settings and the switches must say yes."""
    return OnOff(
        pcaps=allowed.pcaps and switches.pcaps,
        stage_order=allowed.stage_order and switches.stage_order,
        executor_target=allowed.executor_target and switches.executor_target,
    )
