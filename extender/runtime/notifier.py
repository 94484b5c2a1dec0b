"""Tells the owner of a waiting driver its state: a Kubernetes Event and an annotation, on change only.

Of several replicas the leader writes. A driver that our gate keeps from kube-scheduler has no leader to wait
for, so every replica writes about it: the same Event has the same name, and the annotation the same value.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from extender.adapters.kubernetes.events import EventWriter, PodEvent
from extender.adapters.kubernetes.patching import PodPatcher
from extender.core import queries
from extender.core.explain.notices import HOLDS, STATUS, Notice, Reason, notices, released
from extender.core.store import Store

EVERY_S: Final = 2.0
AGAIN_S: Final = 60.0
"""Between two notices about one driver: the annotation makes kube-scheduler try its pod once more."""

SAME_S: Final = 300.0
"""Between two notices with the same reason: another gang is before it, or its planned start has moved."""

_AT_ONCE: Final = 20


class Notifier:
    """Compares what is to be said with what was said, and writes the difference."""

    def __init__(
        self, store: Store, events: EventWriter, patcher: PodPatcher, clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._events = events
        self._patcher = patcher
        self._clock = clock
        self._told: dict[str, tuple[Reason, str, float]] = {}

    async def run(self) -> None:
        """Look every few seconds, for ever. Ends only by cancellation."""
        while True:
            await asyncio.sleep(EVERY_S)
            self.look(self._clock())

    def look(self, now: float) -> None:
        """Write what has changed since the last look."""
        leads = self._store.leadership.leads(now)
        found = {each.pod.uid: each for each in notices(self._store, now)}
        left = _AT_ONCE
        for uid, notice in [*self._freed(found, now), *found.items()]:
            if left and (leads or notice.pod.hold_gate) and self._news(uid, notice, now):
                self._tell(notice, now)
                left -= 1
        for uid in list(self._told):
            if uid not in found and ((pod := queries.pod(self._store, uid)) is None or not pod.waiting):
                del self._told[uid]

    def _freed(self, found: dict[str, Notice], now: float) -> list[tuple[str, Notice]]:
        """Drivers that were said to be held, and are not any more."""
        held = [uid for uid, (reason, _, _) in self._told.items() if reason in HOLDS]
        free = [uid for uid in held if uid not in found or found[uid].reason not in HOLDS]
        return [(uid, notice) for uid in free if (notice := released(self._store, uid, now)) is not None]

    def _news(self, uid: str, notice: Notice, now: float) -> bool:
        told = self._told.get(uid)
        if told is None:
            if notice.written == notice.status:  # by us before a restart, or by the replica that led
                self._told[uid] = (notice.reason, notice.text, now)
                return False
            return True
        reason, text, at_s = told
        if (reason, text) == (notice.reason, notice.text):
            return False
        return notice.reason is Reason.RELEASED or now - at_s >= (
            SAME_S if reason is notice.reason else AGAIN_S
        )

    def _tell(self, notice: Notice, now: float) -> None:
        pod = notice.pod
        self._told[pod.uid] = (notice.reason, notice.text, now)
        warning = notice.reason is Reason.REFUSED
        self._events.submit(
            PodEvent(pod.namespace, pod.name, pod.uid, notice.reason.value, notice.text, now, warning)
        )
        self._patcher.submit(pod.namespace, pod.name, pod.uid, {STATUS: notice.status})
