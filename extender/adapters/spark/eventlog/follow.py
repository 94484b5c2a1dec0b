"""Event logs of running applications, followed while their drivers write.

All of this blocks (file systems do) and belongs on a thread of its own, one call at a time. Every round is
bounded in time, every log in bytes and events a step, and nothing is read twice. Nothing raises: a log that
cannot be read is a problem with a text and tried again later, one that is damaged is left.
"""

from __future__ import annotations

import re
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from extender.adapters.spark.eventlog.events import LogEvent, StageCompleted, TaskEnd
from extender.adapters.spark.eventlog.files import LogFiles, LogUnreadable, said
from extender.adapters.spark.eventlog.reader import EventLog, LineLimits
from extender.adapters.spark.patience import Patience
from extender.adapters.spark.stage_events import Nonsense, stage_event
from extender.core.stages import events as core

K = TypeVar("K")

_STEP_BYTES: Final = 8 << 20
_STEP_EVENTS: Final = 5_000
# The start of a job takes some 5 kB a stage, and decoding holds up the event loop.
_LINE: Final = LineLimits(bytes=8 << 20, objects=100_000, values=400_000, stages=5_000)
_WINDOW_BYTES: Final = 8 << 20  # what zstd asks for up to its level 19; Spark's default level needs 512 KiB
_MOST_RUNS: Final = 1_000
_MOST_GARBAGE: Final = 100
_BREATH_EVENTS: Final = 50
_LISTING_SHARE: Final = 10.0  # a listing that took a second is not repeated within ten

_CODECS: Final = (".zstd", ".lz4", ".lzf", ".snappy")
_ROLLING: Final = "eventlog_v2_"
_LIVE: Final = ".inprogress"
_ATTEMPT: Final = re.compile(r"(.+)_(\d+)")


class LogFollower:
    """The log at a URL as events of the core, from its beginning to what is written now, step by step.

    It reports finished tasks as totals, so that a log may be read again from its start. `behind` says that a
    step stopped at its limit, `ended` that nothing more will come, `problem` why the last step failed (or
    is empty), `left` that the log is damaged and not read any more. `restarted` says that the last step found
    another log in its place, and reports that one only. `breathe` is called every few events.
    """

    def __init__(
        self,
        url: str,
        breathe: Callable[[], None] = lambda: None,
        *,
        step_bytes: int = _STEP_BYTES,
        step_events: int = _STEP_EVENTS,
    ) -> None:
        self.url = url
        self.behind = False
        self.ended = False
        self.restarted = False
        self.problem = ""
        self.nonsense = 0
        self._breathe = breathe
        self._step_bytes = step_bytes
        self._step_events = step_events
        self._log: EventLog | None = None
        self._restarts = 0
        self._damage = ""
        self._reading: Iterator[LogEvent] | None = None
        self._totals: OrderedDict[tuple[int, int], tuple[int, int]] = OrderedDict()
        self._touched: dict[tuple[int, int], None] = {}

    @property
    def left(self) -> bool:
        """Whether the log is damaged and not read any further."""
        return bool(self._damage)

    def step(self) -> list[core.StageEvent]:
        """New events, up to the limits of one step."""
        told: list[core.StageEvent] = []
        self.restarted = False
        try:
            if not self._over():
                self._read(told)
            self.problem = self._damage
        except Exception as problem:  # file systems behind fsspec raise errors of their own kinds
            self.close()
            self.behind = False
            self.problem = said(problem)
        told += self._progress(list(self._touched))
        return told

    def close(self) -> None:
        """Close the file that a step may have left open at its limit."""
        reading, self._reading = self._reading, None
        if isinstance(reading, Generator):
            reading.close()

    def _over(self) -> bool:
        """Whether nothing more is read: the log has ended, or is damaged, and no other one took its place."""
        if self._log is None or not (self.ended or self.left):
            return False
        with suppress(Exception):  # as above; what was read to its end stays read
            return not self._log.replaced()
        return True

    def _read(self, told: list[core.StageEvent]) -> None:
        if self._log is None:
            self._log = EventLog(
                self.url,
                limits=_LINE,
                window_bytes=_WINDOW_BYTES,
                advance=lambda _bytes: self._breathe(),
            )
        log = self._log
        if self._reading is None:
            self._reading = log.read(self._step_bytes)
        for taken, event in enumerate(self._reading, 1):
            self._begin_anew(log)
            self._take(event, told)
            if taken % _BREATH_EVENTS == 0:
                self._breathe()
            if taken >= self._step_events:
                self.behind = True
                return
        self._reading = None
        self._begin_anew(log)
        self.behind = log.behind
        self.ended = not log.live and not log.behind
        counts = log.counts
        if counts.broken_files or counts.garbage + counts.too_long > _MOST_GARBAGE:
            self.behind = False
            self._damage = (
                f"{self.url} is damaged ({counts.broken_files} broken files, {counts.garbage} lines that are "
                f"no events, {counts.too_long} that are too long); it is not read any further"
            )

    def _begin_anew(self, log: EventLog) -> None:
        """Forget what was reported if this is another log. That shows with its first event, or at the end."""
        if log.restarts != self._restarts:
            self._restarts = log.restarts
            self._totals.clear()
            self._touched.clear()
            self._damage, self.nonsense, self.ended = "", 0, False
            self.restarted = True

    def _take(self, event: LogEvent, told: list[core.StageEvent]) -> None:
        try:
            new = stage_event(event)
        except Nonsense:
            self.nonsense += 1
            return
        if isinstance(event, TaskEnd):
            if event.succeeded:
                self._count(event)
            return
        if isinstance(event, StageCompleted):
            run = (event.stage.stage_id, event.stage.attempt)
            told += self._progress([run])
            self._totals.pop(run, None)
        if new is not None:
            told.append(new)

    def _count(self, event: TaskEnd) -> None:
        run = (event.stage_id, event.attempt)
        finished, task_ms = self._totals.get(run, (0, 0))
        self._totals[run] = (finished + 1, task_ms + event.duration_ms)
        self._touched[run] = None
        if len(self._totals) > _MOST_RUNS:
            oldest, _ = self._totals.popitem(last=False)
            self._touched.pop(oldest, None)

    def _progress(self, runs: Collection[tuple[int, int]]) -> list[core.StageEvent]:
        told: list[core.StageEvent] = []
        for run in runs:
            if run in self._touched:
                del self._touched[run]
                told.append(core.TasksEnded(*run, *self._totals[run]))
        return told


class LogDirectory:
    """A `spark.eventLog.dir`: a path or any fsspec URL.

    `prompt`, known once it was listed, says that what drivers flush there is seen at once.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.prompt = False
        self._files: LogFiles | None = None

    def find(self, app_ids: Collection[str]) -> dict[str, str]:
        """URLs of the logs of those applications that have one; of several attempts, the latest.

        Raises:
            LogUnreadable: the directory cannot be listed.
        """
        if self._files is None:
            files = LogFiles(self.url)
            self.prompt, self._files = files.prompt, files
        files = self._files
        files.fs.invalidate_cache()
        try:
            paths: list[Any] = files.fs.ls(files.path, detail=False)
        except FileNotFoundError:
            raise LogUnreadable(f"{self.url}: no such directory") from None
        wanted = {_spelled(app_id): app_id for app_id in app_ids}
        found: dict[str, tuple[tuple[int, bool, bool], str]] = {}
        for path in paths:
            name = str(path).rstrip("/").rsplit("/", 1)[-1]
            base, attempt = _application(name, wanted)
            app_id = wanted.get(base)
            if app_id is None:
                continue
            rank = (attempt, name.endswith(_LIVE), name.startswith(_ROLLING))
            if app_id not in found or rank > found[app_id][0]:
                found[app_id] = (rank, f"{self.url.rstrip('/')}/{name}")
        return {app_id: url for app_id, (_, url) in found.items()}


def _spelled(app_id: str) -> str:
    """An application's id as Spark spells it in names of files (`Utils.sanitizeDirName`)."""
    return re.sub(r"[.${}'\"]", "_", re.sub(r"[ :/]", "-", app_id)).lower()


def _application(name: str, wanted: Mapping[str, str]) -> tuple[str, int]:
    """The application's id and attempt (0: none) in the name of a log."""
    base = name.removeprefix(_ROLLING).removesuffix(_LIVE)
    for codec in _CODECS:
        base = base.removesuffix(codec)
    if base not in wanted and (matched := _ATTEMPT.fullmatch(base)):
        return matched[1], int(matched[2])
    return base, 0


def _while_live(url: str) -> str:
    """The name that a log has while it is written: it is looked for first, so that the next one is found."""
    rolling = url.rsplit("/", 1)[-1].startswith(_ROLLING)
    return url if rolling or url.endswith(_LIVE) else url + _LIVE


@dataclass(frozen=True, slots=True)
class Portion(Generic[K]):
    """New events of one application. `restarted`: they come from another log, read from its beginning."""

    key: K
    events: list[core.StageEvent]
    restarted: bool = False


@dataclass(slots=True)
class Round(Generic[K]):
    """Results of one round.

    `portions` are in the order in which they were read. `behind`: more can be read at once. `followed` are
    applications whose logs are read (or were, to their end), `ended` those of them whose logs have ended,
    `problems` say of others why not. `calm` are those of which it is certain that nothing happened: their
    logs were read to the end, nothing new is in them, and what drivers flush is seen at once.
    `directory_problem` is why no logs can be looked for, empty while they can. `nonsense` counts events that
    cannot be true.
    """

    portions: list[Portion[K]] = field(default_factory=list[Any])
    behind: bool = False
    followed: frozenset[K] = frozenset()
    ended: frozenset[K] = frozenset()
    calm: frozenset[K] = frozenset()
    problems: dict[K, str] = field(default_factory=dict[Any, str])
    directory_problem: str = ""
    nonsense: int = 0


class LogsFollower(Generic[K]):
    """The logs of many applications in one directory. `clock` gives seconds that never go back.

    A log that is not there is looked for every five seconds, after two minutes less and less often, at last
    every five minutes. One that cannot be read is tried in the same way.
    """

    def __init__(
        self,
        directory: LogDirectory,
        clock: Callable[[], float],
        breathe: Callable[[], None] = lambda: None,
        *,
        round_s: float = 2.0,
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._breathe = breathe
        self._round_s = round_s
        self._followers: dict[K, LogFollower] = {}
        self._wanted: Mapping[K, str] = {}
        self._searches: dict[K, Patience] = {}
        self._failing: dict[K, Patience] = {}
        self._problem = ""
        self._listed_s = -1e9
        self._listing_s = 0.0

    def round(self, wanted: Mapping[K, str]) -> Round[K]:
        """Read on in the logs of these applications (Spark's ids by key), and in no others from now on."""
        end_s = self._clock() + self._round_s
        for key in [key for key in self._followers if self._wanted[key] != wanted.get(key)]:
            self._followers.pop(key).close()
            self._failing.pop(key, None)
        self._wanted = dict(wanted)
        self._searches = {
            key: self._searches.get(key) or Patience(self._clock())
            for key in wanted
            if key not in self._followers
        }
        self._look({key: wanted[key] for key in self._searches})
        done: Round[K] = Round(directory_problem=self._problem)
        turn = deque(self._followers)
        while turn and self._clock() < end_s:
            key = turn.popleft()
            follower = self._followers.pop(key)
            self._followers[key] = follower  # last in the next round, whose turn begins where this one ends
            events = self._step(key, follower)
            if events or follower.restarted:
                done.portions.append(Portion(key, events, follower.restarted))
            if follower.behind:
                turn.append(key)
        done.behind = bool(turn)
        done.followed = frozenset(key for key, each in self._followers.items() if not each.problem)
        done.ended = frozenset(key for key in done.followed if self._followers[key].ended)
        if self._directory.prompt:
            done.calm = done.followed.difference(turn, (portion.key for portion in done.portions))
        done.problems = {key: each.problem for key, each in self._followers.items() if each.problem}
        done.nonsense = sum(each.nonsense for each in self._followers.values())
        return done

    def close(self) -> None:
        """Close all files."""
        for follower in self._followers.values():
            follower.close()

    def _step(self, key: K, follower: LogFollower) -> list[core.StageEvent]:
        failing = self._failing.get(key)
        if failing is not None and self._clock() < failing.due_s:
            follower.restarted = False
            return []
        events = follower.step()
        if not follower.problem:
            self._failing.pop(key, None)
        else:
            now_s = self._clock()
            self._failing.setdefault(key, Patience(now_s)).failed(now_s)
        return events

    def _look(self, missing: Mapping[K, str]) -> None:
        now_s = self._clock()
        if not any(self._searches[key].due_s <= now_s for key in missing):
            return
        if now_s < self._listed_s + _LISTING_SHARE * self._listing_s:
            return
        try:
            found = self._directory.find(set(missing.values()))
            self._problem = ""
        except Exception as problem:  # as above: any kind of error
            found, self._problem = {}, said(problem)
        self._listed_s = self._clock()
        self._listing_s = self._listed_s - now_s
        for key, app_id in missing.items():
            if app_id in found:
                del self._searches[key]
                self._followers[key] = LogFollower(_while_live(found[app_id]), self._breathe)
            elif self._searches[key].due_s <= now_s:
                self._searches[key].failed(now_s)
