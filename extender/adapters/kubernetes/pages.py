"""Lists as they arrive: items are cut out of the body before its end is there.

An API server that serves a list from its cache ignores `limit`: all pods of a large cluster come in
one body of hundreds of megabytes. Cutting items out as chunks arrive keeps one chunk in memory
instead, and lets other tasks run in between.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from extender.objects.structs import DECODE_ERRORS, ObjectKey, ObjectList, decode_key, decode_list

_ITEMS: Final = b'"items":['
_BETWEEN: Final = b'},{"metadata":{'
"""The text between two items in the API server's compact JSON. It cannot occur within a string
(its quotes would be escaped), but it can within an item, so every cut is proved by decoding."""


class Item(NamedTuple):
    """One object of a list. `key` is None when not even its metadata can be read."""

    key: ObjectKey | None
    body: bytes


class ListSplitter:
    """Cuts the items out of a list's body. Spelled in any other way, the list is read at its end."""

    def __init__(self) -> None:
        self._head = b""
        self._rest = bytearray()
        self._searched = 0

    def feed(self, chunk: bytes) -> Iterator[Item]:
        """The items that are complete with this chunk, cut as the caller iterates; iterate over them all.

        The last item of the list is never among them: see `finish`.
        """
        self._rest += chunk
        if not self._head and not self._find_head():
            return
        start = 0
        end = self._rest.find(_BETWEEN, self._searched)
        while end >= 0:
            body = bytes(self._rest[start : end + 1])
            key = _complete(body)
            if key is not None:
                yield Item(key, body)
                start = end + 2
            self._searched = end + 1
            end = self._rest.find(_BETWEEN, self._searched)
        del self._rest[:start]
        # A separator may be cut by the end of the chunk.
        self._searched = max(0, self._searched - start, len(self._rest) - len(_BETWEEN) + 1)

    def finish(self) -> tuple[ObjectList, list[Item]]:
        """The list itself, and the items not handed out yet.

        Raises:
            msgspec.DecodeError: the body is not a list.
        """
        page = decode_list(self._head + bytes(self._rest))
        self._rest.clear()
        bodies = [bytes(raw) for raw in page.items or ()]
        return page, [Item(_complete(body), body) for body in bodies]

    def _find_head(self) -> bool:
        at = self._rest.find(_ITEMS, self._searched)
        if at < 0:
            self._searched = max(0, len(self._rest) - len(_ITEMS) + 1)
            return False
        end = at + len(_ITEMS)
        self._head = bytes(self._rest[:end])
        del self._rest[:end]
        self._searched = 0
        return True


def _complete(body: bytes) -> ObjectKey | None:
    """The key of an object, or None if `body` is no whole object or has no readable metadata."""
    try:
        return decode_key(body).metadata
    except DECODE_ERRORS:
        return None
