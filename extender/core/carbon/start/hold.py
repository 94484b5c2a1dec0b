"""What a start policy says of a gang: it may start now, or it is held."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from extender.core.carbon.start.flexibility import Flexibility, HoldPolicy
from extender.core.facts import PodFacts
from extender.core.gangs.spec import GangSpec
from extender.core.nodes.table import NodeTable
from extender.core.queue.packing import Packing


@dataclass(frozen=True, slots=True)
class Hold:
    """A gang is kept waiting. Nothing changes before `until_s`, unless the signal does.

    `expected_s` is when it starts if the forecast comes true and there is room. `latest_start_s` is the
    moment from which it is not held whatever the grid does. `zones` are numbers of the carbon zones that are
    clean enough for it: there it may start all the same, and nowhere else. `whole` are those of them that
    hold all of it when they are empty.
    """

    policy: HoldPolicy
    until_s: float
    expected_s: float
    latest_start_s: float
    zones: frozenset[int] = frozenset()
    whole: frozenset[int] = frozenset()
    text: str = ""

    def allows(self, table: NodeTable, packing: Packing) -> bool:
        """Whether the gang may start like this: with all workers (without any: its leader) in clean zones."""
        rows = packing.worker_rows if len(packing.worker_rows) else [packing.leader_row]
        return self.zones.issuperset(table.carbon_zone[rows].tolist())

    @property
    def detail(self) -> str:
        """What the user reads: the same until the gang is released or the forecast moves its start.

        With clean zones only the want of room there keeps it, and when that ends is not known.
        """
        latest = _clock(self.latest_start_s)
        if self.text:
            said = self.text
        elif self.zones:
            said = f"it starts in a clean carbon zone as soon as one has room, at the latest {latest}"
        elif self.expected_s < self.latest_start_s:
            said = f"expected to start at {_clock(self.expected_s)}, at the latest {latest}"
        else:
            said = f"no earlier start is forecast than its latest, {latest}"
        return f"carbon policy {self.policy.value} holds it; {said}"


def _clock(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M UTC")


@dataclass(frozen=True, slots=True)
class Asks:
    """A waiting gang as a start policy sees it.

    `spec` is None while its request is not known. `flexibility` has the defaults in it, `latest_start_s` is
    seconds since the epoch.
    """

    leader: PodFacts
    spec: GangSpec | None
    flexibility: Flexibility
    latest_start_s: float


@dataclass(frozen=True, slots=True)
class Start:
    """When a gang may start: now and anywhere (`hold` None), or as the hold says; good until then."""

    hold: Hold | None
    valid_until_s: float


class StartPolicy(Protocol):
    """Decides when flexible gangs start. Register it in `carbon/policies.py`.

    It is asked only before the gang's latest start, and its answer is kept until that is not valid any more.
    `by_load` says that the answer also depends on what runs now, and not on nodes and carbon alone.
    """

    by_load: bool

    def start(self, asks: Asks, now: float) -> Start:
        """When this gang may start. Unknown carbon never holds."""
        ...
