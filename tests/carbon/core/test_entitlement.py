"""What carbon allows a gang is judged in one place, kept, and the least of all policies."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from extender.core.carbon import entitlement as entitlements
from extender.core.carbon.entitlement import Width
from extender.core.carbon.signal import Signal
from extender.core.carbon.start.flexibility import Flexibility, HoldPolicy
from extender.core.carbon.start.hold import Asks, Hold, Start
from extender.core.carbon.width.limit import Limit
from extender.core.events import CarbonSeen
from extender.core.facts import GangKey
from extender.core.outcomes import Outcome
from extender.core.policy import CapPolicy, CarbonPolicy, Policy
from extender.core.queries import application, budget, entitlement, held, queue
from tests.gang.world import World, node, spec

KEY = GangKey("ns", "a")
DIRTY, CLEAN = 500.0, 100.0
PATIENT = Flexibility(HoldPolicy.THRESHOLD, max_delay_s=7200.0, runtime_s=600.0)


def signal(world: World, *values: float) -> None:
    seen = Signal("DE", world.now, values[0], forecast=values, forecast_start_s=world.now)
    world.tell(CarbonSeen(seen))


class _NotBefore:
    """A start policy as a newcomer would write it: it reads a plan that is kept elsewhere."""

    by_load = False

    def __init__(self, plan: dict[str, float]) -> None:
        self.plan = plan
        self.asked = 0

    def start(self, asks: Asks, now: float) -> Start:
        self.asked += 1
        at_s = self.plan.get(asks.leader.uid, now)
        if at_s <= now:
            return Start(None, math.inf)
        return Start(Hold(HoldPolicy.THRESHOLD, at_s, at_s, asks.latest_start_s), at_s)


def test_a_start_policy_that_reads_a_plan_is_one_registration(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = _NotBefore({"uid-a-driver": 1_600.0})
    monkeypatch.setattr(entitlements, "start_policies", lambda *_: {HoldPolicy.THRESHOLD: policy})
    world = World()
    world.add(node("n1"))
    world.leader("a", spec(1, flexibility=PATIENT))
    assert world.filter("a-driver").outcome is Outcome.HELD_FOR_CARBON
    for _ in range(5):
        world.tick()
        assert world.filter("a-driver").outcome is Outcome.HELD_FOR_CARBON
    assert policy.asked == 1, "what was judged is kept"
    assert [each.hold.expected_s for each in held(world.store, world.now)] == [1_600.0]
    world.tick(600)
    assert world.woken == ["a-driver"], "the hold has ended"
    assert world.filter("a-driver").outcome is Outcome.ADMITTED


def test_nothing_is_asked_of_a_policy_once_the_latest_start_has_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    policy = _NotBefore({"uid-a-driver": math.inf})
    monkeypatch.setattr(entitlements, "start_policies", lambda *_: {HoldPolicy.THRESHOLD: policy})
    world = World()
    world.add(node("n1"))
    world.leader("a", spec(1, flexibility=replace(PATIENT, max_delay_s=100.0)))
    assert world.filter("a-driver").outcome is Outcome.HELD_FOR_CARBON
    world.now += 100
    assert world.filter("a-driver").outcome is Outcome.ADMITTED


def started(world: World, workers: int) -> None:
    """The gang runs with its minimum workers."""
    assert world.schedule("a-driver").node
    for number in range(1, workers + 1):
        world.worker("a", number)
        assert world.schedule(f"a-exec-{number}").node


class _AtMost:
    def __init__(self, workers: int, outcome: Outcome, *, steers: bool) -> None:
        self.found = Limit(workers, outcome, math.inf, steers=steers)

    def limit(self, *_: object) -> Limit:
        return self.found


def test_the_width_is_the_least_that_a_policy_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    policies = (
        _AtMost(4, Outcome.OVER_CARBON_BUDGET, steers=False),
        _AtMost(3, Outcome.DEFERRED_BY_IMPORTANCE, steers=True),
    )
    monkeypatch.setattr(entitlements, "width_policies", lambda *_: policies)
    world = World()
    world.add(node("n1", 16))
    world.leader("a", spec(2, 8))
    started(world, 2)
    found = entitlement(world.store, KEY, world.now)
    assert found is not None
    assert found.start is None
    assert found.width is not None
    assert (found.width.workers, found.width.target) == (3, 3)
    assert found.width.reason is Outcome.DEFERRED_BY_IMPORTANCE
    world.worker("a", 3)
    assert world.schedule("a-exec-3").outcome is Outcome.EXTRA_ADMITTED
    world.worker("a", 4)
    assert world.schedule("a-exec-4").outcome is Outcome.DEFERRED_BY_IMPORTANCE


@pytest.mark.parametrize("coming", [0, 1, 2])
def test_what_is_on_its_way_counts(coming: int) -> None:
    own = Width(False, (Limit(4, Outcome.DEFERRED_BY_IMPORTANCE, math.inf),), math.inf)
    shared = Width(False, (Limit(4, Outcome.OVER_CARBON_BUDGET, math.inf, shared=True),), math.inf)
    assert (own.refuses(2, coming) is None) is (coming < 2)
    assert (shared.refuses(2, 0, coming) is None) is (coming < 2)


@pytest.mark.parametrize(
    ("own", "exempt"),
    [
        (Flexibility(HoldPolicy.NONE), True),
        (Flexibility(), False),
        (Flexibility(deadline_s=9_000.0), True),
        (Flexibility(max_delay_s=60.0), False),
    ],
)
def test_exemptions(own: Flexibility, exempt: bool) -> None:
    world = World(Policy(carbon=CarbonPolicy(cap=CapPolicy(enabled=True, min_executors=1))))
    world.add(node("n1", 16))
    world.leader("a", spec(1, 8, flexibility=own))
    started(world, 1)
    found = entitlement(world.store, KEY, world.now)
    assert found is not None
    assert found.width is not None
    assert found.width.exempt is exempt
    world.now += 61
    later = entitlement(world.store, KEY, world.now)
    assert later is not None
    assert later.width is not None
    assert later.width.exempt is (exempt or own.max_delay_s is not None)


def test_reading_changes_nothing() -> None:
    """Two clusters with the same life; people look at one of them all the time."""
    told: list[list[tuple[str, str]]] = []
    for looked_at in (True, False):
        cap = CapPolicy(enabled=True, min_executors=2, max_executors=6)
        carbon = CarbonPolicy(zone_by_place={"z": "DE"}, cap=cap)
        world, out = World(Policy(carbon=carbon)), list[tuple[str, str]]()
        for number in range(3):
            world.add(node(f"n{number}", 4, zone="z"))
        for number, app in enumerate("abcdef"):
            world.leader(app, spec(number % 3 + 1, 4, flexibility=PATIENT if number % 2 else Flexibility()))
        for step in range(12):
            if step % 4 == 0:
                signal(world, CLEAN if step % 8 else DIRTY, CLEAN)
            if looked_at:
                queue(world.store, world.now)
                held(world.store, world.now)
                budget(world.store)
                for app in "abcdef":
                    application(world.store, "ns", app, world.now)
                    entitlement(world.store, GangKey("ns", app), world.now)
            name = f"{'abcdef'[step % 6]}-driver"
            if not world.pods[world.uid(name)].node:
                decision = world.schedule(name)
                out.append((decision.reason, decision.node))
            world.tick()
        told.append(out)
    assert told[0] == told[1]
