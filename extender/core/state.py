"""The shared state and the moves it allows. Every move keeps the accounts of the NodeTable right.

Nothing here decides: `store` turns events into moves, `members` and `queue` choose places.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from extender.core.events import AnnotatePod
from extender.core.facts import GangKey, PodFacts, Role
from extender.core.gangs import GangSpec
from extender.core.nodes import NodeTable
from extender.core.packing import Packing
from extender.core.packing.base import IntArray
from extender.core.policy import Policy
from extender.core.reservations import RESERVATION, Claim, Gang, Reservation, Slot, encode


@dataclass(frozen=True, slots=True)
class Seat:
    """Room a bound pod uses."""

    row: int
    used: IntArray


class State:
    """Nodes, gangs, claims and seats.

    `pods` are the pods that matter to us: members of gangs and pods of our scheduler. Every other
    bound pod is a seat and nothing more. `dirty` collects gangs whose written reservation may be
    out of date.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.nodes = NodeTable()
        self.gangs: dict[GangKey, Gang] = {}
        self.pods: dict[str, PodFacts] = {}
        self.seats: dict[str, Seat] = {}
        self.claims: dict[str, Claim] = {}
        self.dirty: dict[GangKey, None] = {}
        self.synced = False

    # -- seats -----------------------------------------------------------------------------------

    def seat(self, pod: PodFacts) -> None:
        """A bound pod takes its room; a claim it had is fulfilled."""
        row, used = self.nodes.row(pod.node), self.nodes.vector(pod.requests)
        seat = self.seats.get(pod.uid)
        if seat is not None:
            if seat.row == row and seat.used is used:
                return
            self.nodes.use(seat.row, seat.used, -1)
            self.nodes.use(row, used)
        else:
            claim = self.claims.pop(pod.uid, None)
            if claim is None or claim.row != row:
                if claim is not None:
                    self._give_back(claim)
                self.nodes.use(row, used)
            else:
                self._fulfil(claim, used)
        self.seats[pod.uid] = Seat(row, used)

    def unseat(self, uid: str) -> None:
        """A pod that was bound ended or is gone."""
        seat = self.seats.pop(uid, None)
        if seat is not None:
            self.nodes.use(seat.row, seat.used, -1)

    def _fulfil(self, claim: Claim, used: IntArray) -> None:
        if claim.slot is not None and claim.slot.held is not None:
            self.nodes.turn_held_into_used(claim.row, claim.slot.held, used)
            claim.slot.held = None
        elif claim.held is not None:
            self.nodes.turn_held_into_used(claim.row, claim.held, used)

    # -- claims ----------------------------------------------------------------------------------

    def claim_room(self, pod: PodFacts, row: int, expires_s: float) -> None:
        """Hold the room of a pod that was answered a node (extra worker or single pod)."""
        held = self.nodes.vector(pod.requests)
        self.nodes.hold(row, held)
        self.claims[pod.uid] = Claim(pod, row, expires_s, held=held)

    def claim_slot(self, gang: Gang, pod: PodFacts, slot: Slot, row: int, expires_s: float) -> None:
        """Give an open slot to a pod, on the slot's node or moved to `row`, at the pod's real size."""
        assert slot.open
        assert slot.held is not None
        size = self.nodes.vector(pod.requests)
        if slot.row != row or slot.held is not size:
            self.nodes.hold(slot.row, slot.held, -1)
            self.nodes.hold(row, size)
            slot.held = size
        if slot.row != row:
            slot.row = row
            self.dirty[gang.key] = None
        slot.pod_uid = pod.uid
        self.claims[pod.uid] = Claim(pod, row, expires_s, slot=slot)

    def release_claim(self, uid: str) -> None:
        """A claim expired or was refused at bind: its room is given back (a leader's: the whole gang's)."""
        claim = self.claims.pop(uid, None)
        if claim is None:
            return
        self._give_back(claim)
        gang = self.gangs.get(claim.pod.gang) if claim.pod.gang else None
        if gang is not None and gang.owner_uid == uid:
            self.disband(gang)

    def _give_back(self, claim: Claim) -> None:
        if claim.slot is not None:
            self._reopen(claim.slot, self.gangs.get(claim.pod.gang) if claim.pod.gang else None)
        elif claim.held is not None:
            self.nodes.hold(claim.row, claim.held, -1)

    # -- gangs -----------------------------------------------------------------------------------

    def gang(self, key: GangKey) -> Gang:
        """The gang of a key, made when first seen."""
        gang = self.gangs.get(key)
        if gang is None:
            gang = self.gangs[key] = Gang(key)
        return gang

    def admit(self, gang: Gang, leader: PodFacts, spec: GangSpec, packing: Packing, expires_s: float) -> None:
        """Hold the room of a leader and all its minimum workers."""
        self.claim_room(leader, packing.leader_row, expires_s)
        self._open_slots(gang, leader, spec, packing.worker_rows.tolist())
        gang.written = ""

    def adopt(self, gang: Gang, leader: PodFacts, reservation: Reservation) -> None:
        """Take over the reservation of a leader that was bound before this process knew it."""
        known = gang.specs.get(leader.uid)
        spec = GangSpec(
            worker=reservation.worker,
            min_workers=reservation.min_workers,
            max_workers=reservation.max_workers,
            packer=reservation.packer,
            source="reservation",
        )
        if isinstance(known, GangSpec):
            spec = replace(spec, worker_terms=known.worker_terms)
        rows = [self.nodes.row(name) for name in reservation.nodes]
        self._open_slots(gang, leader, spec, rows)
        gang.written = leader.annotations.get(RESERVATION, "")

    def _open_slots(self, gang: Gang, leader: PodFacts, spec: GangSpec, rows: list[int]) -> None:
        worker = self.nodes.vector(spec.worker)
        for row, number in Counter(rows).items():
            self.nodes.hold(row, worker * number)
        gang.owner_uid = leader.uid
        gang.spec = spec
        gang.slots = [Slot(row, held=worker) for row in rows]

    def disband(self, gang: Gang) -> None:
        """The leader ended, is ending, or was never bound: nothing is held for the gang any more."""
        for slot in gang.slots:
            claim = self.claims.get(slot.pod_uid)
            if claim is not None and claim.slot is slot:
                del self.claims[slot.pod_uid]
            if slot.held is not None:
                self.nodes.hold(slot.row, slot.held, -1)
        gang.slots = []
        gang.owner_uid = ""
        gang.spec = None
        self.dirty.pop(gang.key, None)

    def _reopen(self, slot: Slot, gang: Gang | None) -> None:
        """A slot is open again, at the size the gang asks for."""
        slot.pod_uid = ""
        if gang is None or gang.spec is None:
            return
        size = self.nodes.vector(gang.spec.worker)
        if slot.held is None:
            self.nodes.hold(slot.row, size)
        elif slot.held is not size:
            self.nodes.hold(slot.row, slot.held, -1)
            self.nodes.hold(slot.row, size)
        slot.held = size

    def settle(self, gang: Gang) -> None:
        """Match bound workers with slots: a worker without a slot takes one, on its own node if it can.

        Afterwards a slot is open only if every bound worker has one: a lost minimum worker's place
        goes to an extra worker before room is held for a replacement.
        """
        live = {pod.uid: pod for pod in gang.live_workers()}
        for slot in gang.slots:
            if slot.pod_uid and slot.pod_uid not in live and slot.pod_uid not in self.claims:
                self._reopen(slot, gang)
        seated = {slot.pod_uid for slot in gang.slots}
        homeless = [pod for uid, pod in live.items() if uid not in seated]
        if not homeless:
            return
        homeless.sort(key=lambda pod: (pod.created_s, pod.uid))
        away: list[PodFacts] = []
        for pod in homeless:
            row = self.nodes.row(pod.node)
            slot = next((slot for slot in gang.open_slots() if slot.row == row), None)
            if slot is None:
                away.append(pod)
            else:
                self._fill(slot, pod)
        last_first = [slot for slot in reversed(gang.slots) if slot.open]
        for slot, pod in zip(last_first, away, strict=False):
            self._fill(slot, pod)
            slot.row = self.nodes.row(pod.node)
            self.dirty[gang.key] = None

    def _fill(self, slot: Slot, pod: PodFacts) -> None:
        assert slot.held is not None
        self.nodes.hold(slot.row, slot.held, -1)
        slot.held = None
        slot.pod_uid = pod.uid

    def move_slot(self, gang: Gang, slot: Slot, row: int) -> None:
        """Hold an open slot on another node."""
        assert slot.open
        assert slot.held is not None
        self.nodes.hold(slot.row, slot.held, -1)
        self.nodes.hold(row, slot.held)
        slot.row = row
        self.dirty[gang.key] = None

    def reservation(self, gang: Gang) -> str:
        """The annotation text of the gang as it stands."""
        assert gang.spec is not None
        return encode(gang.spec, (self.nodes.names[slot.row] for slot in gang.slots))

    def unwritten(self) -> list[AnnotatePod]:
        """Reservations of bound leaders that changed since they were last written."""
        out: list[AnnotatePod] = []
        for key in list(self.dirty):
            gang = self.gangs.get(key)
            owner = gang.owner if gang is not None else None
            if gang is None or owner is None:
                del self.dirty[key]
                continue
            if not owner.node:
                continue  # the Binding itself will carry it
            del self.dirty[key]
            text = self.reservation(gang)
            if text != gang.written:
                gang.written = text
                out.append(AnnotatePod(owner.uid, owner.namespace, owner.name, {RESERVATION: text}))
        return out

    def workers_counted(self, gang: Gang) -> int:
        """Workers that are bound or hold a claim."""
        bound = sum(1 for _ in gang.live_workers())
        claimed = sum(
            1
            for claim in self.claims.values()
            if claim.pod.gang == gang.key and claim.pod.role is Role.WORKER
        )
        return bound + claimed
