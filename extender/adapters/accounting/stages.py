"""Duration and time of each stage's tasks: an application's energy is split by them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from extender.core.stages.events import (
    JobEnded,
    JobStarted,
    MoreTasksEnded,
    StageCompleted,
    StageEvent,
    StageInfo,
    StageSubmitted,
    TasksEnded,
)

_MOST_KNOWN: Final = 10_000
"""Stage numbers and attempts remembered of one application; the oldest go first."""

_SHORTEST_S: Final = 1e-3


class TaskTime(NamedTuple):
    """Tasks of a stage took `task_s` seconds in all, between `start_s` and `end_s` (since the epoch).

    `stage` is the id of the stage's last RDD, which all its copies and attempts have in common.
    """

    stage: str
    name: str
    start_s: float
    end_s: float
    task_s: float


@dataclass(slots=True)
class _Attempt:
    """Of each source the number of tasks that ended and the sum of their milliseconds; times in seconds."""

    totals: tuple[int, int] = (0, 0)
    added: tuple[int, int] = (0, 0)
    counted: tuple[int, int] = (0, 0)
    submitted_s: float | None = None
    completed_s: float | None = None
    heard_s: float | None = None


class StageTasks:
    """One application's task times, from events in any order. Tasks count when they have ended."""

    def __init__(self) -> None:
        self._stages: OrderedDict[int, tuple[str, str]] = OrderedDict()
        self._attempts: OrderedDict[tuple[int, int], _Attempt] = OrderedDict()

    def hear(self, events: Iterable[StageEvent], now: float) -> list[TaskTime]:
        """Take a batch of events; returns the task time that is new with it."""
        touched: dict[tuple[int, int], None] = {}
        for event in events:
            touched.update(dict.fromkeys(self._take(event)))
        new = [time for each in touched if (time := self._time(each, now)) is not None]
        for table in (self._stages, self._attempts):
            while len(table) > _MOST_KNOWN:
                table.popitem(last=False)
        return new

    def _take(self, event: StageEvent) -> Iterator[tuple[int, int]]:
        match event:
            case JobStarted(_, stages):
                for info in stages:
                    yield from self._name(info)
            case StageSubmitted(info, time_ms):
                self._attempt(info.stage_id, info.attempt).submitted_s = _seconds(time_ms)
                yield from self._name(info)
            case StageCompleted(info, time_ms):
                self._attempt(info.stage_id, info.attempt).completed_s = _seconds(time_ms)
                yield from self._name(info)
            case TasksEnded(stage_id, number, finished, task_ms):
                attempt = self._attempt(stage_id, number)
                attempt.totals = max(attempt.totals, (finished, task_ms))
                yield stage_id, number
            case MoreTasksEnded(stage_id, number, finished, task_ms):
                attempt = self._attempt(stage_id, number)
                attempt.added = (attempt.added[0] + finished, attempt.added[1] + task_ms)
                yield stage_id, number
            case JobEnded():
                pass

    def _name(self, info: StageInfo) -> Iterator[tuple[int, int]]:
        """Whose tasks they are; tasks reported before that count from now on."""
        unknown = info.stage_id not in self._stages
        self._stages[info.stage_id] = (str(info.rdd_id), info.name)
        if unknown:
            yield from [each for each in self._attempts if each[0] == info.stage_id]

    def _attempt(self, stage_id: int, number: int) -> _Attempt:
        return self._attempts.setdefault((stage_id, number), _Attempt())

    def _time(self, which: tuple[int, int], now: float) -> TaskTime | None:
        """New task time of an attempt: its tasks ended since its last report, and began that much earlier."""
        attempt, stage = self._attempts[which], self._stages.get(which[0])
        # Two sources may report the same tasks: the one with more tasks counts.
        progress = max(attempt.totals, attempt.added)
        finished, task_ms = progress[0] - attempt.counted[0], progress[1] - attempt.counted[1]
        if stage is None or task_ms <= 0:
            return None
        mean_s = task_ms / 1000 / max(1, finished)
        end_s = now if attempt.completed_s is None else min(now, attempt.completed_s)
        since_s = attempt.submitted_s if attempt.heard_s is None else attempt.heard_s - mean_s
        start_s = min(end_s - mean_s if since_s is None else since_s, end_s - _SHORTEST_S)
        if attempt.submitted_s is not None and attempt.submitted_s < end_s:
            start_s = max(start_s, attempt.submitted_s)
        attempt.counted, attempt.heard_s = progress, end_s
        return TaskTime(*stage, start_s, end_s, task_ms / 1000)


def _seconds(time_ms: int) -> float | None:
    return time_ms / 1000 if time_ms > 0 else None
