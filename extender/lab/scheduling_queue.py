"""kube-scheduler's queue: pods to try now, pods that back off, and refused pods that wait for an event."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Protocol


class Timer(Protocol):
    """A planned call."""

    def cancel(self) -> None:
        """Let it not happen."""
        ...


class Clock(Protocol):
    """Time as the queue needs it: an asyncio event loop's, or a virtual one."""

    def time(self) -> float:
        """Seconds since an arbitrary moment."""
        ...

    def call_at(self, when: float, callback: Callable[..., object], *arguments: Any) -> Timer:
        """Plan a call."""
        ...


@dataclass(slots=True)
class _Entry:
    priority: int
    attempts: int = 0
    ready_s: float = 0.0
    """When its backoff is over, by the queue's clock."""
    timer: Timer | None = None
    active: bool = False
    parked: bool = False
    events_seen: int = 0
    woken_in_flight: bool = False


@dataclass
class SchedulingQueue:
    """Pods by uid. Backoff doubles from `first_backoff_s` to `most_backoff_s`.

    A refused pod is parked until `wake`; an event that comes while the pod is tried counts too, as it
    does in kube-scheduler. Time is that of `clock`, of the running event loop if there is none.
    `on_ready` hears that a pod is to be tried now.
    """

    first_backoff_s: float = 1.0
    most_backoff_s: float = 2.0
    clock: Clock | None = None
    on_ready: Callable[[], None] = lambda: None
    _entries: dict[str, _Entry] = field(default_factory=dict[str, _Entry])
    _active: list[tuple[int, int, str]] = field(default_factory=list[tuple[int, int, str]])
    _added: asyncio.Event = field(default_factory=asyncio.Event)
    _numbers: count[int] = field(default_factory=count)
    _events: int = 0

    def __contains__(self, uid: str) -> bool:
        return uid in self._entries

    def add(self, uid: str, priority: int) -> None:
        """A new pod: it is tried as soon as its turn comes."""
        self._entries[uid] = _Entry(priority)
        self._activate(uid)

    def remove(self, uid: str) -> None:
        """A pod that is bound, ended or gone."""
        entry = self._entries.pop(uid, None)
        if entry is not None and entry.timer is not None:
            entry.timer.cancel()

    async def pop(self) -> str:
        """The next pod to try: highest priority, then longest in line."""
        while (uid := self.take()) is None:
            self._added.clear()
            await self._added.wait()
        return uid

    def take(self) -> str | None:
        """As `pop`, without waiting: None while there is nothing to try."""
        while self._active:
            _, _, uid = heapq.heappop(self._active)
            entry = self._entries.get(uid)
            if entry is not None and entry.active:
                entry.active = False
                entry.attempts += 1
                entry.events_seen, entry.woken_in_flight = self._events, False
                return uid
        return None

    @property
    def has_ready(self) -> bool:
        """Whether a pod may be there to try now."""
        return bool(self._active)

    def refused(self, uid: str) -> None:
        """No node for the pod: it waits for an event, or, if one came meanwhile, backs off."""
        entry = self._entries.get(uid)
        if entry is None:
            return
        self._back_off_from_now(entry)
        if entry.events_seen != self._events or entry.woken_in_flight:
            self._schedule(uid, entry)
        else:
            entry.parked = True

    def failed(self, uid: str) -> None:
        """The attempt could not be made: it is repeated after the backoff."""
        entry = self._entries.get(uid)
        if entry is not None:
            self._back_off_from_now(entry)
            self._schedule(uid, entry)

    def wake(self, uid: str | None = None) -> None:
        """An event that may let a parked pod (None: every one) find a node now."""
        if uid is None:
            self._events += 1
        for each in list(self._entries) if uid is None else [uid]:
            entry = self._entries.get(each)
            if entry is None:
                continue
            if entry.parked:
                entry.parked = False
                self._schedule(each, entry)
            else:
                entry.woken_in_flight = True

    def _back_off_from_now(self, entry: _Entry) -> None:
        doublings = min(entry.attempts - 1, 16)
        wait_s = min(self.first_backoff_s * 2**doublings, self.most_backoff_s)
        entry.ready_s = self._clock().time() + wait_s

    def _schedule(self, uid: str, entry: _Entry) -> None:
        clock = self._clock()
        if clock.time() >= entry.ready_s:
            self._activate(uid)
        else:
            entry.timer = clock.call_at(entry.ready_s, self._activate, uid)

    def _clock(self) -> Clock:
        return asyncio.get_running_loop() if self.clock is None else self.clock

    def _activate(self, uid: str) -> None:
        entry = self._entries.get(uid)
        if entry is not None and not entry.active:
            entry.timer = None
            entry.active = True
            heapq.heappush(self._active, (-entry.priority, next(self._numbers), uid))
            self._added.set()
            self.on_ready()
