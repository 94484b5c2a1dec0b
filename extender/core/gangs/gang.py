"""The record of one gang: its members, its room, its phase, and what is kept of it between two events.

All that the core knows of a gang is in its record, or is found by its key in `stages` and `todo`.
`State.forget` lets go of all of it at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from extender.core.facts import GangKey, PodFacts
from extender.core.gangs.phases import Phase
from extender.core.gangs.spec import GangSpec, SpecProblem
from extender.core.gangs.story import Story
from extender.core.nodes.arrays import IntArray

if TYPE_CHECKING:
    from extender.core.carbon.entitlement import Width
    from extender.core.carbon.start.hold import Start
    from extender.core.carbon.width.stage_deferral import Judgement

NOWHERE: Final = -1
"""Row of a slot for which no node has room now: it is placed as soon as room appears."""


@dataclass(slots=True, eq=False)
class Slot:
    """Room for one worker on a node. `pod_uid` is empty while no pod has it.

    `reserved` is the amount reserved on the node now. It is None once the pod that has the slot is bound
    (its own request is then accounted as used), and while the slot is NOWHERE.
    """

    row: int
    reserved: IntArray | None = None
    pod_uid: str = ""

    @property
    def open(self) -> bool:
        """Whether a worker may still take it."""
        return not self.pod_uid


@dataclass(slots=True, eq=False)
class Claim:
    """Room that filter answered for a pod which is not bound yet. It expires: there is no un-reserve call.

    `slot` is the slot that the pod will use. It is None for leaders, elastic workers and single pods, whose
    room the claim itself reserves (`reserved`).
    """

    pod: PodFacts
    row: int
    expires_s: float
    reserved: IntArray | None = None
    slot: Slot | None = None
    binding: bool = False


@dataclass(slots=True, eq=False)
class Admission:
    """A gang that was admitted, or that runs: its leader, the request that counts, and its slots.

    `leader` is the pod as it was seen last. `written` is the newest text of the reservation.
    """

    gang: Gang
    leader: PodFacts
    spec: GangSpec
    slots: list[Slot]
    written: str = ""

    @property
    def key(self) -> GangKey:
        """The gang's key."""
        return self.gang.key

    @property
    def runs(self) -> bool:
        """Whether the leader is bound."""
        return bool(self.leader.node)

    def open_slots(self) -> Iterator[Slot]:
        """Slots that no pod has yet, in slot order."""
        return (slot for slot in self.slots if slot.open)

    @property
    def has_open_slot(self) -> bool:
        """Whether a worker may still take a slot."""
        return any(slot.open for slot in self.slots)


@dataclass(slots=True, eq=False)
class Gang:
    """One application: its leader pods (normally one), its workers, and its room once it is admitted.

    `phase` follows from the members and the admission (`phases.follow`); `story` says how it came about.
    `hold` is the reason for which it is held, while it is. `specs` are the requests by leader uid.
    `sequence` numbers the reservation texts, whichever replica wrote them: a text with a lower number is an
    echo of an older state. `outdated_since_s`: from then on the leader has carried an older text.
    `stages_of` is the leader whose stages are known, `stages_heard_s` when they were reported last.
    `starts` (by leader uid), `width` and `deferral` are judgements of the carbon policies, each with the
    state of things that it was made from.
    """

    key: GangKey
    leaders: dict[str, PodFacts] = field(default_factory=dict[str, PodFacts])
    specs: dict[str, GangSpec | SpecProblem] = field(default_factory=dict[str, "GangSpec | SpecProblem"])
    workers: dict[str, PodFacts] = field(default_factory=dict[str, PodFacts])
    admission: Admission | None = None
    leader_ended: bool = False
    phase: Phase = Phase.LEADERLESS
    hold: str = ""
    story: Story = field(default_factory=Story)
    sequence: int = 0
    outdated_since_s: float | None = None
    stages_of: str = ""
    stages_heard_s: float | None = None
    starts: dict[str, tuple[object, Start]] = field(default_factory=dict[str, "tuple[object, Start]"])
    width: tuple[object, Width] | None = None
    deferral: Judgement | None = None

    @property
    def owner(self) -> PodFacts | None:
        """The leader whose reservation this is: admitted or bound, not ended."""
        return None if self.admission is None else self.admission.leader

    @property
    def slots(self) -> list[Slot]:
        """The slots; none while it is not admitted."""
        return [] if self.admission is None else self.admission.slots

    @property
    def owner_uid(self) -> str:
        """Uid of the owner; empty while it is not admitted."""
        return "" if self.admission is None else self.admission.leader.uid

    def owned_by(self, uid: str) -> bool:
        """Whether the reservation is that of this leader."""
        return self.admission is not None and self.admission.leader.uid == uid

    @property
    def runs(self) -> bool:
        """Whether it has a reservation and its leader is bound."""
        return self.admission is not None and self.admission.runs

    def see_leader(self, pod: PodFacts) -> None:
        """A leader is as this says."""
        self.leaders[pod.uid] = pod
        self.leader_ended = False
        if self.admission is not None and self.admission.leader.uid == pod.uid:
            self.admission.leader = pod

    def lose_leader(self, uid: str) -> bool:
        """A leader's object is gone; whether it was one."""
        self.specs.pop(uid, None)
        self.starts.pop(uid, None)
        if self.leaders.pop(uid, None) is None:
            return False
        self.leader_ended = not self.leaders
        return True

    def first_leader(self) -> PodFacts | None:
        """The leader that matters: the owner of the reservation, else the oldest one."""
        if self.admission is not None:
            return self.admission.leader
        return min(self.leaders.values(), key=lambda pod: (pod.created_s, pod.uid), default=None)
