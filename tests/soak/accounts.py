"""What pods take and what reservations hold, by node: from the API objects alone, with every write."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from extender.core.gangs.reservation import RESERVATION, Reservation, decode
from extender.lab.registry import POD, Change, Object, node_of, occupies, uid_of
from tests.soak.objects import OURS, annotation, app_of, cores_of, role_of


@dataclass(frozen=True, slots=True)
class Taken:
    """A pod, as far as room is concerned. `bound_s` is when it got its node."""

    uid: str
    app: str
    role: str
    node: str
    cores: int
    ours: bool
    ends: bool
    bound_s: float
    reservation: Reservation | None

    @property
    def holds(self) -> bool:
        """Whether it is a driver whose reservation counts."""
        return self.role == "driver" and bool(self.node) and not self.ends and self.reservation is not None


@dataclass
class Accounts:
    """Cores and pods by node: `used` by bound pods, `held` for slots that no executor has taken yet."""

    used: Counter[str] = field(default_factory=Counter[str])
    pods: Counter[str] = field(default_factory=Counter[str])
    held: Counter[str] = field(default_factory=Counter[str])
    taken: dict[str, Taken] = field(default_factory=dict[str, Taken])
    _by_app: dict[str, dict[str, Taken]] = field(default_factory=dict[str, dict[str, Taken]])
    _slots: dict[str, Counter[str]] = field(default_factory=dict[str, Counter[str]])

    def hear(self, change: Change, now: float) -> None:
        """A write."""
        if change.kind != POD:
            return
        made = change.object
        uid = uid_of(made)
        before = self.taken.pop(uid, None)
        if before is not None:
            self._count(before, -1)
        if change.type != "DELETED":
            self._count(self._read(made, before, now), 1)
        if app := app_of(made):
            self._settle(app)

    def _read(self, made: Object, before: Taken | None, now: float) -> Taken:
        node = node_of(made) if occupies(made) else ""
        return Taken(
            uid_of(made),
            app_of(made),
            role_of(made),
            node,
            cores_of(made),
            made["spec"].get("schedulerName") == OURS,
            bool(made["metadata"].get("deletionTimestamp")),
            before.bound_s if before is not None and before.node else now,
            decode(annotation(made, RESERVATION)) if role_of(made) == "driver" else None,
        )

    def _count(self, pod: Taken, by: int) -> None:
        if by > 0:
            self.taken[pod.uid] = pod
            if pod.app:
                self._by_app.setdefault(pod.app, {})[pod.uid] = pod
        elif pod.app:
            self._by_app[pod.app].pop(pod.uid, None)
        if pod.node:
            self.used[pod.node] += by * pod.cores
            self.pods[pod.node] += by

    def _settle(self, app: str) -> None:
        self.held -= self._slots.pop(app, Counter())
        slots = self.open_slots(self._by_app.get(app, {}))
        if slots:
            self._slots[app] = slots
            self.held += slots

    @staticmethod
    def open_slots(pods: dict[str, Taken]) -> Counter[str]:
        """Slots of an application that none of its executors has. Each holds a core.

        While an executor runs beside its slot the text is not written yet: nothing can be said then.
        """
        slots: Counter[str] = Counter()
        for pod in pods.values():
            if pod.holds and pod.reservation is not None:
                slots.update(node for node in pod.reservation.nodes if node)
        for pod in pods.values():
            if pod.role == "executor" and pod.node and slots:
                if slots[pod.node] <= 0:
                    return Counter()
                slots[pod.node] -= 1
        return +slots

    def of(self, app: str) -> dict[str, Taken]:
        """Pods of an application."""
        return self._by_app.get(app, {})

    def committed_before(self, moment_s: float, node: str, but: str) -> int:
        """Cores of a node that our pods bound before a moment take or hold; `but` is not counted."""
        total = 0
        for app, pods in [*self._by_app.items(), ("", self.taken)]:
            those = {uid: pod for uid, pod in pods.items() if pod.ours and pod.bound_s < moment_s}
            if app == but and app:
                continue
            if app:
                total += self.open_slots(those)[node]
            total += sum(pod.cores for pod in those.values() if pod.node == node and pod.app == app)
        return total
