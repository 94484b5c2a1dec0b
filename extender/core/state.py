"""The shared state and the moves it allows. Every move keeps the accounts of the NodeTable right.

Nothing here decides: `handlers` and `requests` make the moves, `gangs.placement` and `queue` choose places.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from extender.core.carbon.signal import CarbonBook
from extender.core.events import AnnotatePod
from extender.core.facts import DEFAULT_PROFILE, GangKey, PodFacts
from extender.core.faults import Faults, Subject
from extender.core.gangs.gang import NOWHERE, Admission, Claim, Gang, Slot
from extender.core.gangs.membership import Bond, bond
from extender.core.gangs.other_schedulers import WorkersOfOtherSchedulers
from extender.core.gangs.phases import Phase, enter, follow
from extender.core.gangs.reservation import RESERVATION, Reservation, encode
from extender.core.gangs.spec import GangSpec
from extender.core.gangs.todo import Todo
from extender.core.nodes.arrays import IntArray
from extender.core.nodes.resources import Resources
from extender.core.nodes.table import NodeTable
from extender.core.nominations import Nominations
from extender.core.policy import Policy, Switches
from extender.core.queue.packing import Packing
from extender.core.repair import repair
from extender.core.stages.events import StageEvent
from extender.core.stages.store import StageStore

_MOST_ENDED: Final = 20_000
_MOST_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class Seat:
    """Room a bound pod uses. `uncounted` are resources that had no column."""

    row: int
    used: IntArray
    daemon: bool = False
    uncounted: Resources | None = None


class State:
    """Nodes, gangs, claims and seats.

    `pods` are the pods that this extender serves and that have not ended. Every other bound pod is a seat and
    nothing more; `other_schedulers` are workers among them that name a gang. `ended` remembers uids of pods
    that are gone, so that a late request cannot revive them. `todo` says which gangs are not in order yet.
    `budget` is how many executors the carbon intensity allows (None: no limit), `intensities` are gCO2e/kWh
    by carbon zone as scored now. `stages` are the stage graphs that drivers report. `faults` are the gangs,
    pods and nodes that could not be handled.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.nodes = NodeTable(policy.carbon.zone_of)
        self.carbon = CarbonBook(policy.carbon.stale_after_s, policy.carbon.kind)
        self.gangs: dict[GangKey, Gang] = {}
        self.pods: dict[str, PodFacts] = {}
        self.nominations = Nominations(self.nodes)
        self.other_schedulers = WorkersOfOtherSchedulers()
        self.seats: dict[str, Seat] = {}
        self._incomplete: dict[str, None] = {}
        self.claims: dict[str, Claim] = {}
        self.todo = Todo()
        self.ended: OrderedDict[str, None] = OrderedDict()
        self.budget: int | None = None
        self.intensities: dict[str, float | None] = {}
        self.stages = StageStore()
        self.switches = Switches()
        self.synced = False
        self.faults = Faults(lambda now: repair(self, now))

    # -- seats -----------------------------------------------------------------------------------

    def seat(self, pod: PodFacts) -> None:
        """A bound pod takes its room; a claim it had is fulfilled."""
        row, used = self.nodes.row(pod.node), self.nodes.accountable(pod.requests)
        seat = self.seats.get(pod.uid)
        if seat is not None:
            if seat.row == row and seat.used is used:
                return
            self.unseat(pod.uid)
            self.nodes.use(row, used)
        else:
            claim = self.claims.pop(pod.uid, None)
            if claim is None:
                self.nodes.use(row, used)
            elif claim.row == row:
                self._fulfil(claim, used)
            else:
                self._give_back(claim)
                self.nodes.use(row, used)
        uncounted = None
        if used is not self.nodes.vector(pod.requests):
            uncounted = self.nodes.uncounted(pod.requests)
            self._incomplete[pod.uid] = None
        self.seats[pod.uid] = Seat(row, used, pod.daemon, uncounted)
        if pod.daemon:
            self.nodes.use_for_good(row, used)

    def unseat(self, uid: str) -> None:
        """A pod that was bound ended or is gone."""
        seat = self.seats.pop(uid, None)
        self._incomplete.pop(uid, None)
        if seat is not None:
            self.nodes.use(seat.row, seat.used, -1)
            if seat.daemon:
                self.nodes.use_for_good(seat.row, seat.used, -1)

    def recount(self) -> None:
        """Nodes offer a resource that none offered before: what is used and reserved of it counts now."""
        nodes = self.nodes
        for uid in list(self._incomplete):
            seat = self.seats.get(uid)
            if seat is None:
                del self._incomplete[uid]
                continue
            before = seat.uncounted or {}
            uncounted = nodes.uncounted(before)
            if len(uncounted) == len(before):
                continue
            more = nodes.amounts({name: before[name] for name in before if name not in uncounted})
            nodes.use(seat.row, more)
            if seat.daemon:
                nodes.use_for_good(seat.row, more)
            self.seats[uid] = replace(seat, used=nodes.widened(seat.used) + more, uncounted=uncounted)
            if not uncounted:
                del self._incomplete[uid]
        for claim in self.claims.values():
            if claim.slot is None and claim.reserved is not None:
                nodes.release(claim.row, claim.reserved)
                claim.reserved = nodes.accountable(claim.pod.requests)
                nodes.reserve(claim.row, claim.reserved)
        for admission in self.admissions():
            for slot in admission.slots:
                claim = self.claims.get(slot.pod_uid)
                if slot.reserved is not None:
                    size = admission.spec.worker if claim is None else claim.pod.requests
                    self.put(slot, slot.row, nodes.accountable(size))

    def remember_ended(self, uid: str) -> None:
        """Remember that a pod object is gone."""
        self.ended[uid] = None
        if len(self.ended) > _MOST_ENDED:
            self.ended.popitem(last=False)

    def _fulfil(self, claim: Claim, used: IntArray) -> None:
        if claim.slot is not None and claim.slot.reserved is not None:
            self.nodes.turn_reserved_into_used(claim.row, claim.slot.reserved, used)
            claim.slot.reserved = None
        elif claim.slot is None and claim.reserved is not None:
            self.nodes.turn_reserved_into_used(claim.row, claim.reserved, used)
        else:
            self.nodes.use(claim.row, used)

    # -- claims ----------------------------------------------------------------------------------

    def claim_room(self, pod: PodFacts, row: int, expires_s: float) -> None:
        """Reserve room for a pod that was answered a node (leader, elastic worker or single pod)."""
        assert pod.uid not in self.claims
        self.nominations.lose(pod.uid)
        reserved = self.nodes.accountable(pod.requests)
        self.nodes.reserve(row, reserved)
        self.claims[pod.uid] = Claim(pod, row, expires_s, reserved=reserved)

    def claim_slot(self, admission: Admission, pod: PodFacts, slot: Slot, row: int, expires_s: float) -> None:
        """Give an open slot to a pod, on the slot's node or moved to `row`, at the pod's real size."""
        assert slot.open
        assert pod.uid not in self.claims
        self.nominations.lose(pod.uid)
        if slot.row != row:
            self.todo.write[admission.key] = None
        self.put(slot, row, self.nodes.accountable(pod.requests))
        slot.pod_uid = pod.uid
        self.claims[pod.uid] = Claim(pod, row, expires_s, slot=slot)

    def release_claim(self, uid: str, now: float, why: str) -> None:
        """Give the room of a claim back, because it expired or was refused at bind.

        A leader's claim takes the room of its whole gang with it.
        """
        claim = self.claims.pop(uid, None)
        if claim is None:
            return
        self._give_back(claim)
        gang = self.gang_of(claim.pod)
        if gang is not None and gang.owned_by(uid):
            self.disband(gang)
            follow(gang, now, why)

    def _give_back(self, claim: Claim) -> None:
        if claim.slot is not None:
            gang = self.gang_of(claim.pod)
            self.reopen(claim.slot, None if gang is None else gang.admission)
        elif claim.reserved is not None:
            self.nodes.release(claim.row, claim.reserved)

    # -- slots -----------------------------------------------------------------------------------

    def put(self, slot: Slot, row: int, size: IntArray | None) -> None:
        """Reserve `size` on `row` for a slot, in place of its room so far. NOWHERE or None: nothing."""
        if slot.reserved is not None:
            if slot.row == row and slot.reserved is size:
                return
            self.nodes.release(slot.row, slot.reserved)
        slot.row = row
        slot.reserved = None if row == NOWHERE else size
        if slot.reserved is not None:
            self.nodes.reserve(row, slot.reserved)

    def reopen(self, slot: Slot, admission: Admission | None) -> None:
        """A slot is open again, at the size that the gang requests."""
        slot.pod_uid = ""
        if admission is not None:
            self.todo.match[admission.key] = None
            self.put(slot, slot.row, self.nodes.accountable(admission.spec.worker))

    def move_slot(self, admission: Admission, slot: Slot, row: int) -> None:
        """Reserve the room of an open slot on another node, or NOWHERE."""
        assert slot.open
        if slot.row != row:
            self.put(slot, row, self.nodes.accountable(admission.spec.worker))
            self.todo.write[admission.key] = None

    # -- gangs -----------------------------------------------------------------------------------

    def gang(self, key: GangKey) -> Gang:
        """The gang of a key, made when first seen."""
        gang = self.gangs.get(key)
        if gang is None:
            gang = self.gangs[key] = Gang(key)
        return gang

    def gang_of(self, pod: PodFacts) -> Gang | None:
        """The gang a pod belongs to, if it is known."""
        return self.gangs.get(pod.gang) if pod.gang is not None else None

    def admissions(self) -> Iterator[Admission]:
        """Gangs that are admitted or run."""
        return (gang.admission for gang in self.gangs.values() if gang.admission is not None)

    def admit(
        self, gang: Gang, leader: PodFacts, spec: GangSpec, packing: Packing, expires_s: float, now: float
    ) -> None:
        """Reserve the room of a leader and all its minimum workers; those that run take their slots."""
        self.claim_room(leader, packing.leader_row, expires_s)
        rows: list[int] = packing.worker_rows.tolist()
        self._open_slots(gang, leader, spec, rows + [NOWHERE] * (spec.min_workers - len(rows)))
        follow(gang, now, f"room is reserved: {self._places(packing.leader_row, rows)}")

    def _places(self, leader_row: int, rows: list[int]) -> str:
        names = self.nodes.names
        workers = [f"{number} on {names[row]}" for row, number in Counter(rows).items()]
        more = f" and {len(workers) - _MOST_NAMED} more nodes" if len(workers) > _MOST_NAMED else ""
        return f"leader on {names[leader_row]}, workers: {', '.join(workers[:_MOST_NAMED]) or 'none'}{more}"

    def adopt(self, gang: Gang, leader: PodFacts, reservation: Reservation) -> None:
        """Take over the reservation of a leader that was bound before this process knew it."""
        spec = GangSpec(
            worker=reservation.worker,
            min_workers=reservation.min_workers,
            max_workers=reservation.max_workers,
            packer=reservation.packer,
            source="reservation",
        )
        known = gang.specs.get(leader.uid)
        if isinstance(known, GangSpec):
            spec = with_unwritten(spec, known)
        rows = [self.nodes.row(name) if name else NOWHERE for name in reservation.nodes]
        admission = self._open_slots(gang, leader, spec, rows)
        gang.sequence = max(gang.sequence, reservation.sequence)
        admission.written = self.reservation(admission)

    def adopt_bare(self, gang: Gang, leader: PodFacts, spec: GangSpec) -> None:
        """Take over a bound leader without a reservation: its slots get room as soon as there is some."""
        self._open_slots(gang, leader, spec, [NOWHERE] * spec.min_workers)
        self.todo.write[gang.key] = None

    def _open_slots(self, gang: Gang, leader: PodFacts, spec: GangSpec, rows: list[int]) -> Admission:
        if gang.stages_of not in ("", leader.uid):
            self.forget_stages(gang)  # another run under the same name
        worker = self.nodes.accountable(spec.worker)
        for row, number in Counter(rows).items():
            if row != NOWHERE:
                self.nodes.reserve(row, worker * number)
        slots = [Slot(row, reserved=None if row == NOWHERE else worker) for row in rows]
        gang.admission = Admission(gang, leader, spec, slots)
        self.todo.match[gang.key] = None
        return gang.admission

    def disband(self, gang: Gang) -> None:
        """Give all room of a gang back: its leader ended, is ending, or was never bound."""
        for slot in gang.slots:
            claim = self.claims.get(slot.pod_uid)
            if claim is not None and claim.slot is slot:
                del self.claims[slot.pod_uid]
            if slot.reserved is not None:
                self.nodes.release(slot.row, slot.reserved)
        gang.admission = None
        self.todo.write.pop(gang.key, None)

    def forget(self, gang: Gang, now: float) -> None:
        """No pod of a gang is left: nothing is kept of it."""
        enter(gang, Phase.GONE, now, "no pod of the gang is left")
        del self.gangs[gang.key]
        self.todo.forget(gang.key)
        self.stages.forget(gang.key)
        self.faults.forget(Subject.gang(gang.key))

    def settle(self, admission: Admission) -> None:
        """Match bound workers with slots: a worker without a slot takes one, on its own node if it can.

        Afterwards a slot is open only if every bound worker has one: a lost minimum worker's place
        goes to an elastic worker before room is reserved for a replacement.
        """
        gang = admission.gang
        live = {pod.uid: pod for pod in gang.workers.values() if self.counts(gang, pod)}
        for slot in admission.slots:
            if slot.pod_uid and slot.pod_uid not in live and slot.pod_uid not in self.claims:
                self.reopen(slot, admission)
        seated = {slot.pod_uid for slot in admission.slots}
        homeless = [pod for uid, pod in live.items() if uid not in seated]
        if not homeless:
            return
        homeless.sort(key=lambda pod: (pod.created_s, pod.uid))
        away: list[PodFacts] = []
        for pod in homeless:
            row = self.nodes.row(pod.node)
            slot = next((slot for slot in admission.open_slots() if slot.row == row), None)
            if slot is None:
                away.append(pod)
            else:
                self._fill(admission, slot, pod)
        last_first = [slot for slot in reversed(admission.slots) if slot.open]
        for slot, pod in zip(last_first, away, strict=False):
            self._fill(admission, slot, pod)

    def _fill(self, admission: Admission, slot: Slot, pod: PodFacts) -> None:
        row = self.nodes.row(pod.node)
        if slot.row != row:
            self.todo.write[admission.key] = None
        self.put(slot, row, None)
        slot.pod_uid = pod.uid

    # -- stages ----------------------------------------------------------------------------------

    def hear_stages(self, admission: Admission, events: Sequence[StageEvent], now: float) -> None:
        """The leader, or its event log, reported stages; a report without events is a sign of life."""
        gang = admission.gang
        gang.stages_heard_s, gang.stages_of = now, admission.leader.uid
        if events:
            self.stages.apply(gang.key, events)
            self.widen_stages(admission)
            self.stages.widen()

    def widen_stages(self, admission: Admission) -> None:
        """Tell a gang's stage graph how many tasks run at once, if it has a graph."""
        if admission.key in self.stages:
            gang, spec = admission.gang, admission.spec
            workers = sum(1 for pod in gang.workers.values() if self.counts(gang, pod))
            self.stages.set_width(gang.key, workers, workers * spec.tasks_at_once, spec.weight)

    def offer_room(self, most: float) -> None:
        """Tell the stage graphs how many more workers of their gangs fit now, `most` at most."""
        for key in self.stages:
            gang = self.gangs.get(key)
            if gang is not None and gang.admission is not None:
                spec = gang.admission.spec
                _, room = self.nodes.rooms(self.nodes.vector(spec.worker), spec.worker_terms)
                self.stages.offer(key, int(min(room, most)))

    def forget_stages(self, gang: Gang) -> None:
        """Another run began under the same name, or the driver restarted: its stages are others."""
        self.stages.forget(gang.key)
        gang.stages_heard_s, gang.stages_of = None, ""

    # -- what is written down --------------------------------------------------------------------

    def reservation(self, admission: Admission) -> str:
        """The annotation text of a gang as it stands, under its present sequence number."""
        names = self.nodes.names
        nodes = ("" if slot.row == NOWHERE else names[slot.row] for slot in admission.slots)
        return encode(admission.spec, nodes, admission.gang.sequence)

    def write(self, admission: Admission) -> str:
        """The annotation text, under a new sequence number if it says something new."""
        if self.reservation(admission) != admission.written:
            admission.gang.sequence += 1
            admission.written = self.reservation(admission)
        return admission.written

    def unwritten(self) -> list[AnnotatePod]:
        """Reservations of bound leaders that changed since they were last written."""
        out: list[AnnotatePod] = []
        for key in list(self.todo.write):
            gang = self.gangs.get(key)
            admission = gang.admission if gang is not None else None
            if admission is None:
                del self.todo.write[key]
                continue
            if not admission.runs:
                continue  # the Binding itself will carry it
            del self.todo.write[key]
            if self.reservation(admission) != admission.written:
                owner, text = admission.leader, self.write(admission)
                out.append(AnnotatePod(owner.uid, owner.namespace, owner.name, {RESERVATION: text}))
        return out

    # -- workers ---------------------------------------------------------------------------------

    def workers_counted(self, gang: Gang, profile: str | None = None) -> int:
        """Members that run or hold a claim: of one resource profile, or (None) of all."""
        return sum(
            1
            for uid, pod in gang.workers.items()
            if (profile is None or pod.profile == profile)
            and (self.runs(pod) or uid in self.claims)
            and self.bond(pod) is Bond.MEMBER
        )

    def workers_there(self, gang: Gang) -> int:
        """Members that run while no leader does: a leader that was started again finds them."""
        return sum(1 for pod in gang.workers.values() if not pod.deleting and self.counts(gang, pod))

    def most_workers(self, admission: Admission) -> int:
        """Workers that a gang may have of all its resource profiles: Spark's maximum is for each of them."""
        profiles = {DEFAULT_PROFILE, *(pod.profile for pod in admission.gang.workers.values())}
        return admission.spec.max_workers * len(profiles)

    def runs(self, pod: PodFacts) -> bool:
        """Whether a worker is bound and counts: not one being deleted on a node that does not answer.

        Such a pod keeps its room, but its end may never be seen, and its replacement must not wait for it.
        """
        return pod.occupies and not (pod.deleting and self.nodes.lost(pod.node))

    def bond(self, worker: PodFacts) -> Bond:
        """The tie between a worker and the gang that its labels name."""
        return bond(self.gang_of(worker), worker, self._lives)

    def counts(self, gang: Gang, worker: PodFacts) -> bool:
        """Whether a worker runs as a member of this gang."""
        return self.runs(worker) and bond(gang, worker, self._lives) is Bond.MEMBER

    def _lives(self, uid: str) -> bool:
        return uid in self.seats or uid in self.pods

    def workers_promised(self) -> int:
        """Workers of all gangs that are bound, have a claim, or have a slot reserved, members or not."""
        return sum(
            sum(1 for uid, pod in gang.workers.items() if self.runs(pod) or uid in self.claims)
            + sum(1 for slot in gang.slots if slot.open)
            for gang in self.gangs.values()
        )


def with_unwritten(spec: GangSpec, known: GangSpec) -> GangSpec:
    """A spec made from a reservation, with what reservations do not carry."""
    return replace(
        spec,
        worker_terms=known.worker_terms,
        flexibility=known.flexibility,
        worker_slots=known.worker_slots,
        weight=known.weight,
    )
