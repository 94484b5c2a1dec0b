"""Puts gangs in order before and after each answer: workers get their slots, and slots get their room."""

from __future__ import annotations

from collections.abc import Callable

from extender.core.facts import GangKey
from extender.core.faults import Subject
from extender.core.gangs import placement
from extender.core.gangs.gang import Admission, Gang
from extender.core.state import State


class Settling:
    """Works off `state.todo`. A gang that cannot be put in order stays there, and delays no other one."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._placed_version = -1
        self._moved_version = -1

    def settle(self, now: float) -> None:
        """Match slots and workers of the gangs in which something changed.

        Not before every reservation is taken over, and all matches come before any move: until a bound
        worker has its slot its room counts twice, and a slot would move for want of room.
        """
        state, todo = self._state, self._state.todo
        if not state.synced:
            return
        # 1. Workers get their slots.
        settled: dict[GangKey, Gang] = {}
        later: list[GangKey] = []
        while todo.match:
            key = next(iter(todo.match))
            del todo.match[key]
            gang = state.gangs.get(key)
            if gang is None:
                continue
            if self._admitted(gang, "settle", now, state.settle):
                settled[key] = gang
            else:
                later.append(key)
        # 2. Slots follow what the workers are.
        later += [
            gang.key for gang in settled.values() if not self._admitted(gang, "settle", now, self._follow)
        ]
        # 3. Gangs that run come before gangs that wait: a slot without room gets new room first.
        if todo.place and self._placed_version != state.nodes.version:
            for key in list(todo.place):
                gang = state.gangs.get(key)
                del todo.place[key]
                if gang is not None and not self._admitted(gang, "slots", now, self._move):
                    todo.place[key] = None
            self._placed_version = state.nodes.version
        todo.match.update(dict.fromkeys(later))

    def move_slots(self, now: float) -> None:
        """Nodes changed: open slots move off those that cannot have them any more."""
        if self._state.nodes.version != self._moved_version:
            for gang in list(self._state.gangs.values()):
                self._admitted(gang, "slots", now, self._move)
            self._moved_version = self._state.nodes.version

    def match_workers_on(self, node: str) -> None:
        """A node went away or came back: workers being deleted on it count differently now."""
        for gang in self._state.gangs.values():
            if any(pod.deleting and pod.node == node for pod in gang.workers.values()):
                self._state.todo.match[gang.key] = None

    def guarded(self, gang: Gang, step: str, now: float, work: Callable[[], None]) -> bool:
        """Do something for one gang; whether it was done."""

        def done() -> bool:
            work()
            return True

        return self._state.faults.guard(Subject.gang(gang.key), step, now, done, otherwise=False)

    def _admitted(self, gang: Gang, step: str, now: float, work: Callable[[Admission], None]) -> bool:
        """Do something for a gang if it is admitted."""

        def when_admitted() -> None:
            if gang.admission is not None:
                work(gang.admission)

        return self.guarded(gang, step, now, when_admitted)

    def _follow(self, admission: Admission) -> None:
        placement.follow_workers(self._state, admission)
        self._state.widen_stages(admission)

    def _move(self, admission: Admission) -> None:
        placement.move_open_slots(self._state, admission)
