"""The nodes offered in a request, decoded no further than an answer needs.

kube-scheduler sends every node name with every call, and a refusal has to name each of them again.
For 5,000 nodes that is 180 kB in and 600 kB out, so a refusal is made from the received bytes: in
`["a","b"]` each comma becomes `:"reason",`. Any other form takes the slow path
through decoded names; both give the same answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec
import numpy as np

from extender.objects.structs import DECODE_ERRORS, KeyedObject, Projection

_QUOTE: Final = ord('"')
_COMMA: Final = ord(",")
_FIRST_PRINTABLE: Final = 32

encode: Final = msgspec.json.Encoder().encode
_decode_names: Final = msgspec.json.Decoder(list[str]).decode


Parts = tuple[bytes | memoryview, ...]
"""JSON in pieces: replies are large, so they are put together once."""


class BadRequest(ValueError):
    """A request that cannot be answered; the text says what is wrong with it."""


class _NodeItems(Projection):
    items: list[msgspec.Raw] | None = None


_decode_items: Final = msgspec.json.Decoder(_NodeItems).decode
_decode_node: Final = msgspec.json.Decoder(KeyedObject).decode


class Offered(Protocol):
    """The offered nodes of one request."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def names(self) -> Sequence[str]:
        """Their names, in the order received; made once."""
        ...

    def __contains__(self, name: str, /) -> bool:
        """Whether this node is offered."""
        ...

    def refusals(self, reason: str) -> Parts:
        """A JSON object that gives every offered node this reason, in pieces to be joined."""
        ...

    def survivor(self, name: str) -> tuple[bytes, bytes]:
        """JSON of `Nodes` and of `NodeNames` in a reply in which this one node passes."""
        ...


class OfferedNames:
    """Nodes offered by name (`nodeCacheCapable: true`).

    Raises:
        BadRequest: it is not a list of strings.
    """

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._names: list[str] | None = None
        self._plain = is_plain(raw)
        if not self._plain:
            self.names()

    def __len__(self) -> int:
        # A plain array has one comma less than strings.
        return self._raw.count(b",") + 1 if self._plain else len(self.names())

    def names(self) -> Sequence[str]:
        """The names in the order received."""
        if self._names is None:
            try:
                self._names = _decode_names(self._raw)
            except DECODE_ERRORS as problem:
                raise BadRequest(f"NodeNames must be a list of strings: {problem}") from None
        return self._names

    def __contains__(self, name: str, /) -> bool:
        # In a plain array a quoted name can only be an element: strings hold no quote.
        return encode(name) in self._raw if self._plain else name in self.names()

    def refusals(self, reason: str) -> Parts:
        """A JSON object that gives every offered node this reason. A name offered twice may come twice."""
        if not self._plain:
            return (refusals_of(self.names(), reason),)
        text = b":" + encode(reason)
        inside = memoryview(self._raw.replace(b",", text + b","))[1:-1]
        return b"{", inside, text, b"}"

    def survivor(self, name: str) -> tuple[bytes, bytes]:
        """JSON of `Nodes` and of `NodeNames`."""
        return b"null", b"[" + encode(name) + b"]"


class OfferedNodes:
    """Nodes offered as objects (`nodeCacheCapable: false`): kept raw, a chosen one goes back as it came.

    Raises:
        BadRequest: it is not a list of nodes with names.
    """

    def __init__(self, raw: bytes) -> None:
        try:
            items = _decode_items(raw).items or []
            names = [(node.metadata and node.metadata.name) or "" for node in map(_decode_node, items)]
        except DECODE_ERRORS as problem:
            raise BadRequest(f"Nodes must be a list of nodes: {problem}") from None
        if not all(names):
            raise BadRequest("Nodes: every node needs metadata.name")
        self._nodes = dict(zip(names, items, strict=True))
        self._names = names

    def __len__(self) -> int:
        return len(self._names)

    def names(self) -> Sequence[str]:
        """The names in the order received."""
        return self._names

    def __contains__(self, name: str, /) -> bool:
        return name in self._nodes

    def refusals(self, reason: str) -> Parts:
        """A JSON object that gives every offered node this reason."""
        return (refusals_of(self._names, reason),)

    def survivor(self, name: str) -> tuple[bytes, bytes]:
        """JSON of `Nodes` and of `NodeNames`."""
        return b'{"metadata":{},"items":[' + bytes(self._nodes[name]) + b"]}", b"null"


def refusals_of(names: Sequence[str], reason: str) -> bytes:
    """A JSON object that gives every name this reason."""
    return encode(dict.fromkeys(names, reason))


def is_plain(raw: bytes) -> bool:
    """Whether a JSON value is an array of strings that can be answered without decoding it.

    Such an array has at least one string, no escapes, and no comma or bracket in a string. That is so
    if it begins and ends with a string, nothing in it is nested, and there are two quotes more than
    twice the commas: every comma in a string and every element that is no string would make them fewer.
    """
    if not (raw.startswith(b'["') and raw.endswith(b'"]') and raw.isascii()):
        return False
    if b"\\" in raw or b"{" in raw or raw.find(b"[", 1) != -1:
        return False
    text = np.frombuffer(raw, dtype=np.uint8)
    if text.min() < _FIRST_PRINTABLE:
        return False
    quotes, commas = np.count_nonzero(text == _QUOTE), np.count_nonzero(text == _COMMA)
    return bool(quotes == 2 * commas + 2)
