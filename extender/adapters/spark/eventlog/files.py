"""Where event logs lie: one file (Spark 3.5) or a rolling directory (4.x), here or behind any fsspec URL."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import fsspec
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

_ROLLING = re.compile(r"eventlog_v2_.+")
_PART = re.compile(r"events_(\d+)_.*?(\.compact)?")
_SINGLE = re.compile(r"(app|local|spark)-[^/]+")
_IN_PROGRESS = ".inprogress"
_OTHER_CODECS = (".lz4", ".lzf", ".snappy")
_MOUNTS = Path("/proc/self/mounts")


class LogUnreadable(ValueError):
    """A log that cannot be opened; the text says why and what to do."""


def said(problem: Exception) -> str:
    """The text of an error, or its name if it has none."""
    return str(problem) or type(problem).__name__


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a log. `name` stays when the driver takes the `.inprogress` off; size in bytes.

    `tag` is an object store's for this very content (its ETag), empty where there is none.
    """

    path: str
    name: str
    index: int
    compacted: bool
    size_bytes: int
    tag: str = ""

    def same_file(self, other: Part) -> bool:
        """Whether both are the same file of a log, perhaps at different times."""
        return (self.index, self.compacted) == (other.index, other.compacted)


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of one log in reading order, and whether its driver still writes."""

    parts: tuple[Part, ...]
    live: bool


class LogFiles:
    """The files of the log at a path or fsspec URL (`s3://...`, `hdfs://...`, `memory://...`)."""

    def __init__(self, url: str, **storage_options: Any) -> None:
        self.url = url
        try:
            fs, path = url_to_fs(url, use_listings_cache=False, **storage_options)
        except Exception as problem:  # file systems behind fsspec raise errors of their own kinds
            raise LogUnreadable(f"{url}: {said(problem)}") from None
        self.fs: fsspec.AbstractFileSystem = fs
        self.path = cast(str, path).rstrip("/") or "/"

    @property
    def prompt(self) -> bool:
        """Whether what a driver flushes there is seen at once: of local file systems only one can be sure.

        Volumes by FUSE look local, and many are object stores, which show a file when it is closed.
        """
        if not isinstance(self.fs, LocalFileSystem):
            return False
        try:
            mounts = _MOUNTS.read_text()
        except OSError:  # no Linux
            return True
        return not _mounted_as(os.path.realpath(self.path), mounts).startswith("fuse")

    def list(self) -> Listing:
        """The parts there are now. Raises `LogUnreadable` if nothing is there or it cannot be read."""
        try:
            return self._list()
        except FileNotFoundError:
            raise LogUnreadable(f"{self.url}: no such event log") from None
        except LogUnreadable:
            raise
        except Exception as problem:  # as above
            raise LogUnreadable(f"{self.url}: {said(problem)}") from None

    def _list(self) -> Listing:
        self.fs.invalidate_cache()
        if self.fs.isdir(self.path):
            return self._rolling()
        path = self.path
        if not self.fs.exists(path):  # a live log loses its suffix when the application ends, or has it still
            path = path.removesuffix(_IN_PROGRESS) if path.endswith(_IN_PROGRESS) else path + _IN_PROGRESS
        info = self.fs.info(path)
        if info.get("type") != "file":  # opening a pipe would wait for ever
            raise LogUnreadable(f"{self.url}: neither a file nor a directory")
        name = _name(path).removesuffix(_IN_PROGRESS)
        return Listing((self._part(path, name, 0, False, info),), path.endswith(_IN_PROGRESS))

    def _rolling(self) -> Listing:
        live, parts = False, list[Part]()
        for entry in self.fs.ls(self.path, detail=True):
            path = str(entry["name"]).rstrip("/")
            name = _name(path)
            if name.startswith("appstatus_"):
                live = live or name.endswith(_IN_PROGRESS)
            elif (matched := _PART.fullmatch(name)) and entry.get("type") == "file":
                parts.append(self._part(path, name, int(matched[1]), matched[2] is not None, entry))
        if not parts and not live:
            raise LogUnreadable(
                f"{self.url}: a directory without events_* files; give one log, not its parent"
            )
        # A compacted file stands for all files up to its own number.
        start = max((part.index for part in parts if part.compacted), default=-1)
        kept = (part for part in parts if part.index > start or (part.compacted and part.index == start))
        return Listing(tuple(sorted(kept, key=lambda part: part.index)), live)

    def _part(self, path: str, name: str, index: int, compacted: bool, info: Mapping[str, Any]) -> Part:
        if name.endswith(_OTHER_CODECS):
            raise LogUnreadable(
                f"{self.url}: compressed with {name.rsplit('.', 1)[1]}, which only Spark reads; "
                "set spark.eventLog.compression.codec=zstd"
            )
        tag = str(info.get("ETag") or info.get("etag") or "")
        return Part(path, name, index, compacted, int(info.get("size") or 0), tag)


def find_logs(url: str, **storage_options: Any) -> list[str]:
    """The logs meant by a URL: itself, or every log in a `spark.eventLog.dir`, sorted by name.

    Raises `LogUnreadable` if there is none.
    """
    files = LogFiles(url, **storage_options)
    try:
        if not files.fs.isdir(files.path) or _ROLLING.fullmatch(_name(files.path)):
            return [url]
        names = [_name(str(path).rstrip("/")) for path in files.fs.ls(files.path, detail=False)]
    except Exception as problem:  # as above
        raise LogUnreadable(f"{url}: {said(problem)}") from None
    if any(_PART.fullmatch(name) for name in names):
        return [url]
    logs = sorted(name for name in names if _ROLLING.fullmatch(name) or _SINGLE.fullmatch(name))
    if not logs:
        raise LogUnreadable(
            f"{url}: no event logs in this directory (app-*, local-*, spark-*, eventlog_v2_*)"
        )
    return [f"{url.rstrip('/')}/{name}" for name in logs]


def _mounted_as(path: str, mounts: str) -> str:
    """The type of the file system that a path is on, as `/proc/self/mounts` names it; empty if not found."""
    found, kind = "", ""
    for line in mounts.splitlines():
        escaped, fs_type = line.split(" ")[1:3]
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), escaped).rstrip("/")
        if len(point) >= len(found) and (path == point or path.startswith(f"{point}/")):
            found, kind = point, fs_type
    return kind


def _name(path: str) -> str:
    return path.rsplit("/", 1)[-1]
