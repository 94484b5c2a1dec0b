"""Reads an event log as typed events: once and whole, or again and again while its driver writes.

Memory is bounded: a piece of a file, the line it ends in, and one zstd window. Nothing in a log raises:
what is no event is counted. Only a log that cannot be opened at all does (`LogUnreadable`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import msgspec
import zstandard

from extender.adapters.spark.eventlog.events import ApplicationEnd, LogEvent
from extender.adapters.spark.eventlog.files import Listing, LogFiles, LogUnreadable, Part, said
from extender.adapters.spark.eventlog.lines import GarbageLine, LineTooLong, decode_line, useless

_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_READ_BYTES = 1 << 16
# zstd can expand what it is fed some 30,000 times; small pieces bound what a hostile file makes us hold.
_FEED_BYTES = 1 << 11
_LINE_BYTES = 1 << 26
_SHORT_BYTES = 1 << 16
_WINDOW_BYTES = 1 << 27
# The start times of driver and application are within.
_HEAD_BYTES = 1 << 12


class Counts(msgspec.Struct):
    """Counts of a log's content. All but `lines`, `events` and `ignored` are worth a warning.

    `ignored`: well-formed events of kinds that we do not use. `garbage`: lines that are no event, the
    line that a killed driver left half written among them. `too_long`: lines beyond the limits.
    `broken_files`: files whose compressed data is damaged (read up to there) or that ended within a frame.
    `nonsense`: events that cannot be true; a reader does not know, a profile does.
    """

    lines: int = 0
    events: int = 0
    ignored: int = 0
    garbage: int = 0
    too_long: int = 0
    broken_files: int = 0
    nonsense: int = 0


class _Inflater:
    """Bytes of a file to bytes of the log: plain, or zstd of any number of frames."""

    def __init__(self, window_bytes: int) -> None:
        self._window_bytes = window_bytes
        self._head = b""
        self._zstd: bool | None = None
        self._frame: zstandard.ZstdDecompressionObj | None = None

    @property
    def in_frame(self) -> bool:
        """Whether what was fed so far ends within a frame."""
        return self._frame is not None

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The log's bytes. Raises `zstandard.ZstdError` on damaged data."""
        if self._zstd is None:
            self._head += data
            if len(self._head) < len(_ZSTD_MAGIC) and _ZSTD_MAGIC.startswith(self._head):
                return
            self._zstd, data, self._head = self._head.startswith(_ZSTD_MAGIC), self._head, b""
        if not self._zstd:
            yield data
            return
        for start in range(0, len(data), _FEED_BYTES):
            yield from self._inflate(data[start : start + _FEED_BYTES])

    def _inflate(self, piece: bytes) -> Iterator[bytes]:
        while piece:
            if self._frame is None:
                self._frame = zstandard.ZstdDecompressor(max_window_size=self._window_bytes).decompressobj()
            yield self._frame.decompress(piece)
            if not self._frame.eof:
                return
            piece, self._frame = self._frame.unused_data, None

    def rest(self) -> bytes:
        """Bytes too few to tell what they are; call once at the end."""
        head, self._head = self._head, b""
        return head


@dataclass(frozen=True, slots=True)
class LineLimits:
    """Limits of a line; the reader skips longer ones. Objects and values take the time of decoding.

    `stages` are those of a job that starts.
    """

    bytes: int = _LINE_BYTES
    objects: float = math.inf
    values: float = math.inf
    stages: float = math.inf

    def allow(self, line: bytes) -> bool:
        """Whether a line that is not too long is not too dense either."""
        return len(line) <= _SHORT_BYTES or (
            line.count(b"{") <= self.objects and line.count(b",") <= self.values
        )


class _Lines:
    """Cuts bytes into lines, and passes over those that are too long.

    A long line of an unused kind is no loss: it counts as ignored.
    """

    def __init__(self, limits: LineLimits, counts: Counts) -> None:
        self._limits = limits
        self._counts = counts
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._skipping = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Lines that are complete, without their end."""
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            self._hold(data[start:end])
            start = end + 1
            if line := self.rest():
                yield line
        self._hold(data[start:])

    def _hold(self, piece: bytes) -> None:
        if self._skipping or not piece:
            return
        self._pending.append(piece)
        self._pending_bytes += len(piece)
        if self._pending_bytes > self._limits.bytes:
            if useless(b"".join(self._pending)[:_SHORT_BYTES]):
                self._counts.lines += 1
                self._counts.ignored += 1
            else:
                self._counts.too_long += 1
            self._pending, self._pending_bytes, self._skipping = [], 0, True

    def rest(self) -> bytes:
        """The line that has no end yet."""
        line = b"".join(self._pending).strip()
        self._pending, self._pending_bytes, self._skipping = [], 0, False
        return line


class _Tail:
    """How far one file has been read."""

    def __init__(self, part: Part, limits: LineLimits, window_bytes: int, counts: Counts) -> None:
        self.part = part
        self.offset = 0
        self.broken = False
        self.head = b""
        self.inflater = _Inflater(window_bytes)
        self.lines = _Lines(limits, counts)

    def take(self, data: bytes) -> None:
        """So many bytes more were read; the first ones are kept, to know the file by."""
        self.offset += len(data)
        if len(self.head) < _HEAD_BYTES:
            self.head += data[: _HEAD_BYTES - len(self.head)]


class EventLog:
    """One application's log at a path or fsspec URL. Not thread-safe.

    `read()` yields what is new since the last call, so a live log is followed by calling it again, and a
    finished one is read by calling it once. `live` says whether the driver was still writing then, `behind`
    whether `read` stopped because of its limit. `restarts` counts how often another log was found in the
    place of the one that was read: the next SparkContext of the same driver, say. It is read from its
    beginning, and `counts` begin again with it. A line beyond `limits` is passed over; zstd data that needs
    a larger window than `window_bytes` is damaged data.
    """

    def __init__(
        self,
        url: str,
        *,
        limits: LineLimits | None = None,
        window_bytes: int = _WINDOW_BYTES,
        advance: Callable[[int], None] | None = None,
        **storage_options: Any,
    ) -> None:
        self._files = LogFiles(url, **storage_options)
        self._limits = limits or LineLimits()
        self._window_bytes = window_bytes
        self._advance = advance or (lambda _bytes: None)
        self._left_bytes: float = math.inf
        self.restarts = 0
        self._begin()

    def _begin(self) -> None:
        self._tail: _Tail | None = None
        self._known: _Tail | None = None  # the latest file of which anything was read
        self._done = -1
        self._app_ended = False
        self.counts = Counts()
        self.live = True
        self.behind = False

    def size_bytes(self) -> int:
        """Bytes of all files as they are now. Raises `LogUnreadable`."""
        return sum(part.size_bytes for part in self._files.list().parts)

    def replaced(self) -> bool:
        """Whether another log lies now where this one was read. Raises `LogUnreadable`."""
        return self._is_other(self._files.list())

    def read(self, most_bytes: float = math.inf) -> Iterator[LogEvent]:
        """Events since the last call. Raises `LogUnreadable` if the log cannot be opened or read on.

        With `most_bytes` it stops soon after that many bytes, counted as they are when inflated.
        Take all events of a call before the next one; all of them are of the same log.
        """
        listing = self._files.list()
        if self._is_other(listing):
            self._begin()
            self.restarts += 1
        self.live, self.behind = listing.live and not self._app_ended, False
        self._left_bytes = most_bytes
        parts = [part for part in listing.parts if part.index > self._done]
        for part in parts:
            if self._tail is None or not self._tail.part.same_file(part):
                if self._tail is not None:  # its file was compacted away
                    yield from self._close(self._tail)
                self._tail = _Tail(part, self._limits, self._window_bytes, self.counts)
            yield from self._follow(self._tail, part)
            if self._left_bytes <= 0:
                self.behind = True
                return
            if part is not parts[-1] or not listing.live:
                yield from self._close(self._tail)
                self._tail, self._done = None, part.index

    def _is_other(self, listing: Listing) -> bool:
        """Whether these are files of another log than the one read so far."""
        latest = self._done if self._tail is None else self._tail.part.index
        if latest < 0:
            return False
        if all(part.index < latest for part in listing.parts):
            return True
        if self._tail is None and listing.live and all(part.index <= latest for part in listing.parts):
            return True  # the one that was read has ended
        known = self._known
        part = next((each for each in listing.parts if known and known.part.same_file(each)), None)
        if known is None or part is None or (part.tag and part.tag == known.part.tag):
            return False
        try:
            return self._files.fs.cat_file(part.path, start=0, end=len(known.head)) != known.head
        except Exception as problem:  # as below
            raise LogUnreadable(f"{part.path}: {said(problem)}") from None

    def _follow(self, tail: _Tail, part: Part) -> Iterator[LogEvent]:
        if part.tag and part.tag == tail.part.tag and tail.offset >= part.size_bytes:
            return
        tail.part = part
        for data in self._pieces(tail.offset, part):
            tail.take(data)
            self._known = tail
            self._advance(len(data))
            if tail.broken:
                self._left_bytes -= len(data)
            else:
                yield from self._events(tail, data)

    def _pieces(self, offset: int, part: Part) -> Iterator[bytes]:
        try:
            with self._files.fs.open(part.path, "rb") as file:
                file.seek(offset)
                while self._left_bytes > 0 and (data := cast(bytes, file.read(_READ_BYTES))):
                    yield data
        except Exception as problem:  # file systems behind fsspec raise errors of their own kinds
            raise LogUnreadable(f"{part.path}: {said(problem)}") from None

    def _events(self, tail: _Tail, data: bytes) -> Iterator[LogEvent]:
        inflated = tail.inflater.feed(data)
        while True:
            try:
                piece = next(inflated)
            except StopIteration:
                return
            except zstandard.ZstdError:
                tail.broken = True
                self.counts.broken_files += 1
                return
            self._left_bytes -= len(piece)
            for line in tail.lines.feed(piece):
                yield from self._event(line)

    def _close(self, tail: _Tail) -> Iterator[LogEvent]:
        if tail.inflater.in_frame and not tail.broken:
            self.counts.broken_files += 1
        yield from (event for line in tail.lines.feed(tail.inflater.rest()) for event in self._event(line))
        if line := tail.lines.rest():
            yield from self._event(line)

    def _event(self, line: bytes) -> Iterator[LogEvent]:
        if not self._limits.allow(line):
            self.counts.too_long += 1
            return
        try:
            event = decode_line(line, self._limits.stages)
        except LineTooLong:
            self.counts.too_long += 1
            return
        except GarbageLine:
            self.counts.lines += 1
            self.counts.garbage += 1
            return
        self.counts.lines += 1
        if event is None:
            self.counts.ignored += 1
            return
        self.counts.events += 1
        if isinstance(event, ApplicationEnd):
            self._app_ended, self.live = True, False
        yield event
