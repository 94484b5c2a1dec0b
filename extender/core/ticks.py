"""Time passes: claims expire, values get stale, budgets and plans follow, and pods are woken."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from extender.core.carbon.entitlement import Entitlements
from extender.core.events import Instruction
from extender.core.faults import Subject
from extender.core.gangs.ownership import Ownership
from extender.core.pods import Pods
from extender.core.queue.waiting import WaitingGangs
from extender.core.settling import Settling
from extender.core.state import State
from extender.core.wakes import Wakes, wake


class Ticks:
    """All that happens by time alone."""

    def __init__(
        self,
        state: State,
        waiting: WaitingGangs,
        entitlements: Entitlements,
        ownership: Ownership,
        pods: Pods,
        settling: Settling,
        wakes: Wakes,
    ) -> None:
        self._state = state
        self._waiting = waiting
        self._entitlements = entitlements
        self._ownership = ownership
        self._pods = pods
        self._settling = settling
        self._wakes = wakes

    def tick(self, now: float, *, leads: bool) -> list[Instruction]:
        """Do what is due. `leads`: the kube-scheduler beside this replica schedules."""
        state = self._state
        out = self._pods.to_verify(now)
        # 1. Claims without a bind, and pods that only kube-scheduler has named, expire.
        give_back = self._ownership.give_back
        expired = [uid for uid, claim in state.claims.items() if not claim.binding and now >= claim.expires_s]
        for uid in expired:
            self._expire(uid, now, partial(give_back, uid, now, "kube-scheduler did not bind it in time"))
        for uid in self._pods.expired(now):
            self._expire(uid, now, partial(self._pods.lose, uid, now))
        state.faults.expire(now)
        if not state.synced:
            return out
        # 2. Gangs are put in order.
        self._settling.settle(now)
        self._settling.move_slots(now)
        # 3. Room that got free by time alone wakes who was refused.
        if expired:
            out += [
                wake(pod, now) for uid in self._wakes.refused if (pod := state.pods.get(uid)) and pod.waiting
            ]
        # 4. Only the replica whose kube-scheduler schedules writes reservations again and wakes leaders.
        if leads:
            out += self._ownership.rewrite(now)
            out += [wake(leader, now) for leader in self._waiting.to_wake(now)]
        # 5. The grid.
        self.refresh_carbon(now)
        return out + self._wakes.released(now)

    def _expire(self, uid: str, now: float, end: Callable[[], None]) -> None:
        self._state.faults.guard(Subject("pod", uid), "expiry", now, end, None, always=True)

    def refresh_carbon(self, now: float) -> None:
        """Values get stale with time: what is scored and allowed follows."""
        carbon = self._state.carbon
        values = {zone: carbon.value(zone, now) for zone in carbon.signals}
        if values != self._state.intensities:
            self._state.intensities = values
            carbon.version += 1
        if self._state.synced:
            self._part("plan", now, lambda: self._entitlements.planned.refresh(now))
        self._part("carbon budget", now, lambda: self._entitlements.budget.refresh(now))
        self._part("stage graphs", now, self._catch_up)
        self._part("entitlements", now, lambda: self._entitlements.refresh(now))

    def _catch_up(self) -> None:
        self._state.stages.widen()
        if self._state.stages.behind:
            self._state.offer_room(self._entitlements.budget.left())
            self._state.stages.catch_up()

    def _part(self, name: str, now: float, work: Callable[[], object]) -> None:
        """Something that is done for the cluster as a whole."""
        self._state.faults.guard(Subject("part", name), name, now, work, None)
