"""The nodes offered in a request, looked at no further than a decision needs.

kube-scheduler sends thousands of names with every call. Most decisions know the node they want and only
have to see whether it is among them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from extender.core.nodes.arrays import BoolArray
from extender.core.nodes.table import NodeTable

_SINGLE_LOOKS: Final = 8
"""Looking for one name costs a scan of the request; after a few, turning all names into a mask is cheaper."""


class Offer(Protocol):
    """Names of the offered nodes."""

    def names(self) -> Sequence[str]:
        """All of them, in the order received."""
        ...

    def __contains__(self, name: str, /) -> bool:
        """Whether this node is offered."""
        ...


class Listed:
    """An offer of names that are at hand."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def names(self) -> Sequence[str]:
        """All of them."""
        return self._names

    def __contains__(self, name: str, /) -> bool:
        return name in self._names


class Everywhere:
    """An offer of all nodes: what is decided before kube-scheduler asks."""

    def __init__(self, table: NodeTable) -> None:
        self._table = table

    def names(self) -> Sequence[str]:
        """All of them."""
        return self._table.names

    def __contains__(self, name: str, /) -> bool:
        return True


class Offered:
    """An offer by row numbers of the table."""

    def __init__(self, table: NodeTable, offer: Offer) -> None:
        self._table = table
        self._offer = offer
        self._mask: BoolArray | None = None
        self._looks = 0

    @property
    def mask(self) -> BoolArray:
        """bool[n_rows]: the offered nodes that exist. Do not modify."""
        if self._mask is None:
            self._mask = self._table.mask(self._offer.names())
        return self._mask

    def has(self, row: int) -> bool:
        """Whether the node of this row exists and is offered."""
        if self._mask is None and self._looks < _SINGLE_LOOKS:
            self._looks += 1
            return self._table.alive(row) and self._table.names[row] in self._offer
        return bool(self.mask[row])
