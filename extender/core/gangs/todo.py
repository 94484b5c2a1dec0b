"""Gangs that are not in order yet, each list in the order in which the gangs came to it."""

from __future__ import annotations

from dataclasses import dataclass, field

from extender.core.facts import GangKey


@dataclass(slots=True)
class Todo:
    """Work that is left to do with gangs before or after the next answer.

    `match`: slots and workers must be matched again. `place`: no node has room for an open slot. `write`: the
    reservation that the leader carries may be out of date.
    """

    match: dict[GangKey, None] = field(default_factory=dict[GangKey, None])
    place: dict[GangKey, None] = field(default_factory=dict[GangKey, None])
    write: dict[GangKey, None] = field(default_factory=dict[GangKey, None])

    def forget(self, key: GangKey) -> None:
        """A gang is gone."""
        for work in (self.match, self.place, self.write):
            work.pop(key, None)
