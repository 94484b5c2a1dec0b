"""Invariants of the cluster, checked from outside: on what the API server says, not on what we think.

The checks know every submitted application and see every write. They read the extender's view only to
compare it. A check that finds nothing to check is visible: every one counts how often it was made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Any, Final

from extender.core.nodes.resources import one_pod
from extender.core.outcomes import Outcome
from extender.lab.records import Amounts, GangRecord, fits
from extender.lab.registry import (
    ENDED,
    NODE,
    POD,
    Change,
    Object,
    Registry,
    node_of,
    occupies,
    phase_of,
    uid_of,
)
from extender.lab.scheduler import Attempt, ClusterView, project_pod
from extender.lab.spark import NAMESPACE, OUR_SCHEDULER, SparkApplication

MOVE_WITHIN_S: Final = 5.0
"""How long a slot may take to move, and to be written down, after a foreign pod took its room."""

IN_FLIGHT_S: Final = 1.0
"""How long a Binding decided before a foreign pod was seen may still be on its way."""

LET_GO_S: Final = 5.0
"""How long after a driver's end the extender may still show something held for it."""

KNOWN_AFTER_S: Final = 2.0
"""Age from which a gang that kube-scheduler has not tried counts as known to the extender."""


class Invariant(StrEnum):
    """The invariants."""

    NODE_NOT_OVERCOMMITTED = "node-not-overcommitted"
    ROOM_FOR_MINIMUM = "driver-has-room-for-minimum"
    EXECUTOR_ON_ELIGIBLE_NODE = "executor-on-eligible-node"
    FIRST_IN_FIRST_OUT = "first-in-first-out"
    INADMISSIBLE_NEVER_STARTS = "inadmissible-never-starts"
    ENDED_GANG_HOLDS_NOTHING = "ended-gang-holds-nothing"
    EXTENDER_AGREES = "extender-agrees-with-api-server"
    NOT_HELD_PAST_LATEST_START = "not-held-past-latest-start"
    ADMISSIBLE_IS_ADMITTED = "admissible-is-admitted"


Finding = tuple[Invariant, bool, str]
"""The invariant, whether it is true, and the text if it is not."""


class Checker:
    """Watches a registry and the schedulers' attempts, and notes what breaks.

    `clock` gives seconds since the epoch. `checked` counts by invariant how often it was looked at,
    `broken` are the findings in words (at most `most_kept` of each), `displaced` how often a pod of
    another scheduler took reserved room (no API prevents that; slots then move).
    """

    def __init__(self, registry: Registry, clock: Callable[[], float], *, most_kept: int = 20) -> None:
        self.gangs: dict[str, GangRecord] = {}
        self.checked: Counter[Invariant] = Counter()
        self.broken: dict[Invariant, list[str]] = {}
        self.displaced = 0
        self._clock = clock
        self._most_kept = most_kept
        self._view = ClusterView(registry)
        self._used: dict[str, Counter[str]] = {}
        self._unsettled_until_s: dict[str, float] = {}
        self._pods: dict[str, Object] = {}
        self._bound_s: dict[str, float] = {}
        self._by_app: dict[str, GangRecord] = {}
        self._unsubscribe = registry.subscribe(self._hear)

    def close(self) -> None:
        """Stop watching."""
        self._unsubscribe()

    @property
    def broken_count(self) -> int:
        """Findings in all."""
        return sum(len(each) for each in self.broken.values())

    def submitted(self, app: SparkApplication, driver: Object) -> None:
        """An application's driver pod was created."""
        record = GangRecord(app, driver, self._clock())
        self.gangs[uid_of(driver)] = self._by_app[app.app_id] = record

    def _check(self, invariant: Invariant, holds: bool, finding: str) -> None:
        self.checked[invariant] += 1
        if not holds:
            kept = self.broken.setdefault(invariant, [])
            if len(kept) < self._most_kept and finding not in kept:
                kept.append(finding)

    # -- every write -------------------------------------------------------------------------------

    def _hear(self, change: Change) -> None:
        if change.kind == NODE:
            if change.type == "DELETED":
                self._view.forget_node(change.object["metadata"]["name"])
            else:
                self._view.see_node(change.object)
            return
        if change.kind != POD:
            return
        pod, uid = change.object, uid_of(change.object)
        was_bound = uid in self._pods
        is_bound = occupies(pod) and change.type != "DELETED"
        if was_bound and not is_bound:
            self._unuse(self._pods.pop(uid))
            del self._bound_s[uid]
        elif is_bound and not was_bound:
            self._use(pod)
            self._bound_s[uid] = self._clock()
        if is_bound:
            self._pods[uid] = pod
        self._note(change)
        if is_bound and not was_bound:
            self._check_bound(pod)

    def _use(self, pod: Object) -> None:
        self._used.setdefault(node_of(pod), Counter()).update(one_pod(project_pod(pod).requests))

    def _unuse(self, pod: Object) -> None:
        self._used[node_of(pod)].subtract(one_pod(project_pod(pod).requests))

    def _note(self, change: Change) -> None:
        """Keep the records of gangs up to date."""
        pod, uid = change.object, uid_of(change.object)
        record = self.gangs.get(uid)
        if record is not None:
            record.driver = pod
            if node_of(pod) and record.bound_s is None:
                record.bound_s = self._clock()
            if record.ended_s is None and (change.type == "DELETED" or phase_of(pod) in ENDED):
                record.ended_s = self._clock()
            return
        record = self._record_of(pod)
        if record is None:
            return
        if occupies(pod) and change.type != "DELETED":
            record.executors[uid] = pod
        else:
            record.executors.pop(uid, None)

    def _record_of(self, pod: Object) -> GangRecord | None:
        labels = pod["metadata"].get("labels") or {}
        return self._by_app.get(labels.get("spark-app-selector", ""))

    def _check_bound(self, pod: Object) -> None:
        """A pod was bound a moment ago."""
        name = node_of(pod)
        over = self._excess(name, {})
        self._check(
            Invariant.NODE_NOT_OVERCOMMITTED,
            not over,
            f"node {name} has {over} too much when {pod['metadata']['name']} is bound",
        )
        if pod["spec"].get("schedulerName") != OUR_SCHEDULER:
            self._check_displacement(name)
            return
        record = self.gangs.get(uid_of(pod))
        if record is not None:
            self._check_driver(record, pod)
        else:
            self._check_executor(pod)
        self._check_held_room({name, *record.slots()} if record is not None else {name})

    def _check_driver(self, record: GangRecord, pod: Object) -> None:
        app = record.app
        self._check(
            Invariant.INADMISSIBLE_NEVER_STARTS, app.admissible, f"{app.name} ({app.kind}) was started"
        )
        reserved = record.slots().total()
        enough = reserved + len(record.executors) >= app.executors
        self._check(
            Invariant.ROOM_FOR_MINIMUM,
            enough,
            f"driver of {app.name} is bound with {reserved} of {app.executors} executors reserved",
        )
        self._check_order(record)
        terms = project_pod(pod).terms
        wrong = sorted(name for name in record.slots() if not self._eligible(name, terms))
        self._check(
            Invariant.EXECUTOR_ON_ELIGIBLE_NODE, not wrong, f"slots of {app.name} on {wrong}: not eligible"
        )

    def _check_executor(self, pod: Object) -> None:
        name = node_of(pod)
        self._check(
            Invariant.EXECUTOR_ON_ELIGIBLE_NODE,
            self._eligible(name, project_pod(pod).terms),
            f"{pod['metadata']['name']} is bound to {name}, where it may not run",
        )

    def _eligible(self, name: str, terms: Any) -> bool:
        node = self._view.nodes.get(name)
        if node is None or not node.ready or node.unschedulable:
            return False
        return terms.accept_labels(node.labels, name) and terms.accept_taints(node.taints)

    def _check_held_room(self, names: Iterable[str]) -> None:
        """On these nodes: what is bound and what is owed to minimum executors fits together."""
        owed = self._owed()
        now_s = self._clock()
        for name in names:
            if now_s < self._unsettled_until_s.get(name, 0.0):
                continue
            over = self._excess(name, owed.get(name, {}))
            self._check(
                Invariant.ROOM_FOR_MINIMUM,
                not over,
                f"node {name} lacks {over} for the minimum executors reserved on it",
            )

    def _check_displacement(self, name: str) -> None:
        """A foreign pod was bound: reserved room may be gone, until the slots have moved."""
        taken = bool(self._excess(name, self._owed().get(name, {})))
        self.displaced += taken
        until_s = self._clock() + (MOVE_WITHIN_S if taken else IN_FLIGHT_S)
        self._unsettled_until_s[name] = max(until_s, self._unsettled_until_s.get(name, 0.0))

    def _owed(self) -> dict[str, Counter[str]]:
        owed: dict[str, Counter[str]] = {}
        for record in self.gangs.values():
            for name, number in record.owed().items():
                sums = owed.setdefault(name, Counter())
                for resource, amount in one_pod(record.app.executor_requests).items():
                    sums[resource] += amount * number
        return owed

    def _excess(self, name: str, owed: Amounts) -> dict[str, int]:
        """By resource, how much more is used and owed than the node offers."""
        node, used = self._view.nodes.get(name), self._used.get(name, Counter())
        offered: Amounts = node.allocatable if node is not None else {}
        sums = {each: used[each] + owed.get(each, 0) for each in {*used, *owed}}
        return {each: sums[each] - offered.get(each, 0) for each in sums if sums[each] > offered.get(each, 0)}

    # -- every attempt -----------------------------------------------------------------------------

    def attempted(self, attempt: Attempt) -> None:
        """A scheduler tried a pod."""
        record = self.gangs.get(uid_of(attempt.pod))
        if record is None:
            return
        record.refused = record.refused or (attempt.by_extender and not attempt.node)
        self._check_hold(record, Outcome.HELD_FOR_CARBON.value in attempt.reason, bool(attempt.node))
        record.placed = bool(attempt.node)
        record.placed_s = self._clock()

    def _check_hold(self, record: GangRecord, held: bool, placed: bool) -> None:
        """An attempt that ended, or not, in a refusal because of carbon."""
        now_s = self._clock()
        if held:
            record.last_held_s, record.refused_since_hold = now_s, False
            latest_s = record.latest_start_s
            late_s = now_s - latest_s if latest_s is not None else float("inf")
            self._check(
                Invariant.NOT_HELD_PAST_LATEST_START,
                late_s <= IN_FLIGHT_S,
                f"{record.app.name} is held for carbon {late_s:.1f} s after its latest start",
            )
        elif record.last_held_s is not None and not placed:
            record.refused_since_hold = True
        record.held = held

    def _check_order(self, record: GangRecord) -> None:
        """A gang was admitted: every earlier one of its pool that waits must still have its room.

        (Asked for first, a younger gang may well be admitted first, if the older one fits beside it.)
        """
        now_s = self._clock()
        for each in self.gangs.values():
            known = each.refused or now_s - each.created_s >= KNOWN_AFTER_S
            if each.latest_start_s is not None and record.placed_s < each.latest_start_s + IN_FLIGHT_S:
                continue  # until then carbon may hold it, and whoever is held lets others pass
            if not (each.waits and known and each.rank < record.rank and each.app.pool == record.app.pool):
                continue
            self._check(
                Invariant.FIRST_IN_FIRST_OUT,
                self._fits_beside(each, record),
                f"{record.app.name} was admitted before {each.app.name}, which now has no room",
            )

    def _fits_beside(self, waiting: GangRecord, admitted: GangRecord) -> bool:
        """Whether all of a waiting gang fits into what was free when `admitted` was decided, beside it.

        Pods that the extender may not have seen by then count as free room: those bound since, and those
        that other schedulers bound a moment before.
        """
        owed = self._owed()
        free: dict[str, dict[str, int]] = {}
        terms = project_pod(waiting.driver).terms
        for name, node in self._view.nodes.items():
            if self._eligible(name, terms):
                taken = owed.get(name, {})
                free[name] = {each: sum_ - taken.get(each, 0) for each, sum_ in node.allocatable.items()}
        for uid, pod in self._pods.items():
            ours = pod["spec"].get("schedulerName") == OUR_SCHEDULER
            seen_s = admitted.placed_s - (0.0 if ours else IN_FLIGHT_S)
            if node_of(pod) in free and (self._bound_s[uid] <= seen_s or uid == uid_of(admitted.driver)):
                for resource, amount in one_pod(project_pod(pod).requests).items():
                    free[node_of(pod)][resource] -= amount
        return fits(free.values(), waiting.app)

    # -- the extender's own view -------------------------------------------------------------------

    def saw_applications(self, summaries: Iterable[Mapping[str, Any]], asked_s: float) -> None:
        """Check the answer of the extender's /v1/applications to a request at `asked_s`."""
        slots = _slots_of(summaries)
        for record in self.gangs.values():
            if record.ended_s is None or record.let_go or asked_s - record.ended_s < LET_GO_S:
                continue
            self._check(*_let_go(record, slots))
            record.let_go = True

    def saw_held(self, held: Container[str]) -> None:
        """Ids of the applications that the extender's /v1/carbon calls held now."""
        for record in self.gangs.values():
            if record.app.app_id in held and record.bound_s is None:
                record.last_held_s, record.refused_since_hold = self._clock(), False

    def agrees(self, nodes: Iterable[Mapping[str, Any]], summaries: Iterable[Mapping[str, Any]]) -> bool:
        """Whether the extender's accounts are those of the API server by now, with nothing left held."""
        return all(holds for _, holds, _ in self._last_findings(nodes, summaries))

    def saw_last(self, nodes: Iterable[Mapping[str, Any]], summaries: Iterable[Mapping[str, Any]]) -> None:
        """The extender's view after everything has come to rest: nothing is held, usage is as it is."""
        for invariant, holds, finding in self._last_findings(nodes, summaries):
            self._check(invariant, holds, finding)

    def _last_findings(
        self, nodes: Iterable[Mapping[str, Any]], summaries: Iterable[Mapping[str, Any]]
    ) -> Iterator[Finding]:
        slots = _slots_of(summaries)
        yield from (_let_go(each, slots) for each in self.gangs.values() if each.ended_s is not None)
        running = any(each.bound_s is not None and each.ended_s is None for each in self.gangs.values())
        for node in nodes:
            name = node["name"]
            used = {each: amount for each, amount in self._used.get(name, {}).items() if amount}
            seen = {each: amount for each, amount in node["used"].items() if amount}
            reserved = {each: amount for each, amount in node["reserved"].items() if amount}
            text = f"node {name}: the extender counts {seen}, the API server's pods ask for {used}"
            yield Invariant.EXTENDER_AGREES, used == seen, text
            if not running:
                text = f"room is reserved on node {name} although no gang runs: {reserved}"
                yield Invariant.ENDED_GANG_HOLDS_NOTHING, not reserved, text

    def came_to_rest(self, idle_s: float, patience_s: float) -> None:
        """Nothing has run for `idle_s`: then no gang that fits the cluster may be waiting still."""
        waiting = [each.app.name for each in self.gangs.values() if each.waits]
        if idle_s >= patience_s or not waiting:
            self._check(
                Invariant.ADMISSIBLE_IS_ADMITTED,
                not waiting,
                f"nothing runs for {idle_s:.0f} s, and these wait: {', '.join(waiting)}",
            )


def _slots_of(summaries: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], int]:
    return {(each["namespace"], each["app_id"]): each["slots"] for each in summaries}


def _let_go(record: GangRecord, slots: Mapping[tuple[str, str], int]) -> Finding:
    number = slots.get((NAMESPACE, record.app.app_id), 0)
    text = f"{record.app.name} has ended and holds {number} slots"
    return Invariant.ENDED_GANG_HOLDS_NOTHING, number == 0, text
