"""An engine with a running application, and reports of its agent."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import msgspec

from extender.adapters.spark import SpecReader
from extender.adapters.spark.agent.wire import Reply
from extender.core.events import Instruction, PodSeen, SpecRead, Synced
from extender.core.facts import GangKey, PodFacts, Role
from extender.core.gangs.spec import GangSpec
from extender.core.policy import Switches
from extender.core.store import Store
from extender.engine import Engine
from extender.runtime.agent_reports import DriverReports, Options

KEY = GangKey("ns", "a")


ALL = Switches()


NOW = 1_000.0


class Counted:
    """What was observed."""

    def __init__(self) -> None:
        self.batches: list[str] = []
        self.lost: dict[str, int] = {}

    def batch(self, result: str) -> None:
        self.batches.append(result)

    def updates_lost(self, by: str, number: int) -> None:
        self.lost[by] = self.lost.get(by, 0) + number

    def reviewed(self, result: str) -> None:
        raise AssertionError(f"no token is reviewed here: {result}")


def perform(instructions: Iterable[Instruction]) -> None:
    assert not list(instructions)


def engine_of(store: Store) -> Engine:
    """An engine around a store that a test has filled."""
    engine = Engine(store.policy, SpecReader())
    engine.store = store
    return engine


def reports(
    store: Store, *, observe: Counted | None = None, listen: bool = True, allowed: Switches = ALL
) -> DriverReports:
    return DriverReports(
        engine_of(store),
        perform,
        lambda: NOW,
        observe or Counted(),
        Options(2.0, listen, allowed),
    )


def running(*apps: str) -> Store:
    """A store with drivers that run."""
    store = Store()
    for app in apps or ("a",):
        leader = PodFacts(
            f"uid-{app}",
            "ns",
            f"{app}-driver",
            "carbon-scheduler",
            node="n0",
            phase="Running",
            role=Role.LEADER,
            gang=GangKey("ns", app),
        )
        store.apply(PodSeen(leader), NOW)
        store.apply(SpecRead(leader, GangSpec({"cpu": 1000}, 2, 4)), NOW)
    store.apply(Synced(), NOW)
    return store


def take(taker: DriverReports, body: bytes, key: GangKey = KEY) -> Reply:
    return msgspec.json.decode(asyncio.run(taker.take(key, body)), type=Reply)
