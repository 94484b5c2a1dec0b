"""The states that are measured are what they are said to be, in every packer."""

from __future__ import annotations

import json
import time

import pytest

from benchmarks import bodies
from benchmarks.apiserver import GANG_PODS, Templates
from benchmarks.worlds import GANG_EXECUTORS, Queue, Scenario, World, nothing
from extender.adapters.spark.identify import identify
from extender.adapters.spark.reader import SpecReader
from extender.core.gangs.reservation import decode
from extender.core.offers import Listed
from extender.core.outcomes import Outcome
from extender.core.policy import FifoMode
from extender.core.queue.packing import PACKERS
from extender.engine import Engine
from extender.objects.projection import PodProjector
from extender.objects.structs import decode_pod
from extender.runtime.watch_sinks import WatchSinks
from extender.settings.loading import load

LATEST = "2026-11-24T09:00:00Z"


def filled(scenario: Scenario) -> World:
    engine = Engine(load(None, scenario.settings()).to_policy(), SpecReader())
    world = World(WatchSinks(engine, nothing, time.time, lambda: None), PodProjector(identify), scenario)
    world.fill()
    return world


def asked(world: World, made: bodies.Object) -> Outcome:
    return world.store.filter(world.see(made), Listed(world.names), time.time()).outcome


@pytest.mark.parametrize("queue", Queue)
@pytest.mark.parametrize("packer", PACKERS)
def test_one_driver_is_admitted_and_the_other_has_no_room(packer: str, queue: Queue) -> None:
    scenario = Scenario(60, 20, 5, queue, packer, FifoMode.BACKFILL)
    world = filled(scenario)
    waiting = [asked(world, World.waiting_driver(scenario, number)) for number in range(5)]
    expected = Outcome.ADMITTED if queue is Queue.FITS else Outcome.NO_ROOM
    assert waiting == [expected] * 5
    assert asked(world, bodies.driver("fits", GANG_EXECUTORS)) is Outcome.ADMITTED
    assert asked(world, World.blocked_driver(scenario, "big", created=LATEST)) is Outcome.NO_ROOM


def test_the_driver_that_is_refused_lacks_one_place_only() -> None:
    """It is refused because its driver takes the room of an executor, not because too little is free."""
    scenario = Scenario(60, 20, 0, fifo=FifoMode.BACKFILL)
    big = World.blocked_driver(scenario, "big", created=LATEST)
    big["metadata"]["annotations"]["carbon-scheduler/executor-count"] = str(scenario.nodes - 1)
    assert asked(filled(scenario), big) is Outcome.ADMITTED


def test_drivers_that_vary_ask_for_less_and_less() -> None:
    scenario = Scenario(60, 0, 5, Queue.VARIED)
    made = [World.waiting_driver(scenario, number) for number in range(5)]
    sizes = [each["metadata"]["annotations"]["carbon-scheduler/executor-memory"] for each in made]
    amounts = [int(size.removesuffix("Mi")) for size in sizes]
    assert amounts == sorted(set(amounts), reverse=True)


def test_a_scenario_survives_the_command_line() -> None:
    scenario = Scenario(100, 1, 2, Queue.BLOCKED, "tightly-pack", FifoMode.BACKFILL)
    assert Scenario.from_json(scenario.to_json()) == scenario


def test_a_driver_has_the_size_of_a_real_one() -> None:
    assert 4_000 < len(bodies.encoded(bodies.driver("app", 8))) < 5_000


def test_pages_of_the_api_server_hold_every_pod_once_and_gangs_with_reservations() -> None:
    templates = Templates(nodes=3, pods=50)
    pages = [json.loads(b"".join(templates.page("pods", start, 20))) for start in (0, 20, 40)]
    assert [page["metadata"].get("continue") for page in pages] == ["20", "40", None]
    pods = [item for page in pages for item in page["items"]]
    assert len({item["metadata"]["uid"] for item in pods}) == 50
    facts = [PodProjector(identify).facts(decode_pod(bodies.encoded(item))) for item in pods]
    leader, *workers = facts[:GANG_PODS]
    reservation = decode(leader.annotations["carbon-scheduler/reservation"])
    assert reservation is not None
    assert reservation.nodes == (leader.node,) * (GANG_PODS - 1)
    assert {worker.gang for worker in workers} == {leader.gang}
    assert {each.gang for each in facts[GANG_PODS : 2 * GANG_PODS]} == {None}
