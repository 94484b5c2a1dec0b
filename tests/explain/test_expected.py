"""The expected start of a gang that waits: from what runs, from its hold, and never for what cannot start."""

from __future__ import annotations

import pytest

from extender.core.carbon.signal import Signal
from extender.core.carbon.start.flexibility import Flexibility, HoldPolicy
from extender.core.events import CarbonSeen
from extender.core.explain.names import Found, NotFound, find
from extender.core.outcomes import Outcome
from extender.core.policy import CarbonPolicy, Policy
from tests.explain.support import WATTS, explained
from tests.gang.world import World, node, size, spec

HOUR = 3600.0


def test_room_comes_with_the_end_of_the_gang_that_gives_it():
    world = World()
    world.add(node("n0", 8))
    world.leader("short", spec(1, flexibility=Flexibility(runtime_s=HOUR)))
    world.run("short", 1)
    world.leader("long", spec(3, flexibility=Flexibility(runtime_s=5 * HOUR)))
    world.run("long", 3)
    world.tick()
    began_s = world.now
    world.leader("a", spec(4))
    world.filter("a-driver")
    found = explained(world, "a").expected
    assert found is not None
    assert found.at_s == pytest.approx(began_s + 5 * HOUR, abs=5)
    assert found.source == "ns/long is expected to end then: 300 min as stated"
    world.leader("b", spec(1))
    assert explained(world, "b").blocker == "ns/a"


def test_earlier_runs_give_bounds():
    world = World()
    world.add(node("n0", 4))
    for number, minutes in enumerate((10, 20, 40)):
        world.leader(f"etl-000{number}", spec(2))
        world.run(f"etl-000{number}", 2)
        world.tick()
        world.tick(60 * minutes)
        world.end(f"etl-000{number}-driver")
        for worker in (1, 2):
            world.end(f"etl-000{number}-exec-{worker}")
        world.tick()
    world.leader("etl-0009", spec(2))
    world.run("etl-0009", 2)
    world.tick()
    began_s = world.now
    world.leader("a", spec(2))
    world.filter("a-driver")
    found = explained(world, "a").expected
    assert found is not None
    assert found.earliest_s is not None
    assert found.latest_s is not None
    minutes = [(each - began_s) / 60 for each in (found.earliest_s, found.at_s, found.latest_s)]
    assert minutes == pytest.approx([10, 20, 40], abs=1)
    assert "median of 3 earlier runs" in found.source


def held_world() -> World:
    carbon = CarbonPolicy(zone_label="grid")
    world = World(Policy(carbon=carbon), now=100 * HOUR)
    world.add(node("n0", 16, labels={"grid": "DE"}))
    forecast = (400.0, 400.0, 400.0, 100.0, 100.0, 400.0, 400.0, 400.0)
    world.tell(CarbonSeen(Signal("DE", world.now, 400.0, forecast=forecast, forecast_start_s=world.now)))
    return world


def test_a_hold_names_its_start_and_what_it_saves():
    world = held_world()
    flexible = Flexibility(HoldPolicy.PLAN, max_delay_s=6 * HOUR, runtime_s=HOUR)
    world.leader("a", spec(3, worker=size(2), flexibility=flexible))
    assert world.filter("a-driver").outcome is Outcome.HELD_FOR_CARBON
    found = explained(world, "a")
    assert found.blocker == "carbon"
    assert found.expected is not None
    assert found.expected.at_s == 103 * HOUR
    assert found.expected.latest_s == 106 * HOUR
    assert found.saving is not None
    assert found.saving.kwh == pytest.approx(7 * WATTS / 1000)
    assert found.saving.grams == pytest.approx(300 * 7 * WATTS / 1000)
    assert [each.change for each in found.would_help] == [
        "set carbon-scheduler/carbon-policy: none on the driver"
    ]
    assert "instead of 1970-01-05 07:00" in found.would_help[0].gives


def test_what_is_running_says_since_when():
    world = World()
    world.add(node("n0", 8))
    world.leader("a", spec(2))
    world.run("a", 2)
    world.tick()
    found = explained(world, "a-exec-1")
    assert (found.summary.state, found.since_s) == ("running", world.now)
    assert found.pod is not None
    assert (found.pod.name, found.pod.node) == ("a-exec-1", "n0")


def test_all_names_lead_to_the_application():
    world = World()
    world.add(node("n0", 8))
    world.leader("spark-1f", spec(1), name="daily-report-1f-driver", app_name="daily report")
    world.worker("spark-1f", 1, name="daily-report-1f-exec-1")
    world.leader("spark-2e", spec(1), name="other-driver", app_name="other")
    state = world.store.state
    for name in (
        "spark-1f",
        "ns/spark-1f",
        "daily-report-1f-driver",
        "daily-report-1f-exec-1",
        "daily report",
        "daily",
    ):
        found = find(state, name)
        assert isinstance(found, Found), name
        assert found.key.app_id == "spark-1f"
    ambiguous, unknown = find(state, "spark-"), find(state, "spark-3e")
    assert isinstance(ambiguous, NotFound)
    assert "ns/spark-1f, ns/spark-2e" in ambiguous.text
    assert isinstance(unknown, NotFound)
    assert "did you mean" in unknown.text
    assert isinstance(find(state, "spark-1f", "elsewhere"), NotFound)
    world.pod("lonely")
    lonely = find(state, "lonely")
    assert isinstance(lonely, NotFound)
    assert "belongs to no application" in lonely.text
