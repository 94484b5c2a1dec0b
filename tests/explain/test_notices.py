"""Events and the status annotation of drivers that wait: written on change only, by the leading replica."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from extender.adapters.kubernetes.events import EventWriter, PodEvent
from extender.core.carbon.signal import Signal
from extender.core.carbon.start.flexibility import Flexibility, HoldPolicy
from extender.core.events import CarbonSeen
from extender.core.explain.notices import STATUS
from extender.core.policy import CarbonPolicy, Policy
from extender.runtime.notifier import AGAIN_S, Notifier
from tests.gang.world import World, node, size, spec
from tests.service.cluster import Cluster, driver, driver_config_map, ready

HOUR = 3600.0


@dataclass
class Written:
    """Stands for the writers: Events and annotations in order."""

    events: list[PodEvent] = field(default_factory=list)
    status: dict[str, str] = field(default_factory=dict)

    def submit(self, *args: Any) -> None:
        if len(args) == 1:
            self.events.append(args[0])
        else:
            self.status[args[1]] = args[3][STATUS]

    @property
    def news(self) -> list[tuple[str, str]]:
        found = [(each.pod, each.reason) for each in self.events]
        self.events.clear()
        return found


def notifier(world: World, written: Written) -> Notifier:
    return Notifier(world.store, written, written, lambda: world.now)  # type: ignore[arg-type]


def carbon_world(*grams: float) -> World:
    world = World(Policy(carbon=CarbonPolicy(zone_label="grid")), now=100 * HOUR)
    world.add(node("n0", 16, labels={"grid": "DE"}))
    world.tell(CarbonSeen(Signal("DE", world.now, grams[0], forecast=grams, forecast_start_s=world.now)))
    return world


def test_a_hold_is_told_once_and_then_its_release():
    world, written = carbon_world(400, 400, 100, 400, 400, 400), Written()
    notify = notifier(world, written)
    flexible = Flexibility(HoldPolicy.THRESHOLD, max_delay_s=5 * HOUR, runtime_s=HOUR)
    world.leader("a", spec(3, flexibility=flexible))
    world.filter("a-driver")
    notify.look(world.now)
    assert written.events[0].note == (
        "carbon policy threshold holds it; expected to start at 1970-01-05 06:00 UTC, at the latest "
        "1970-01-05 09:00 UTC"
    )
    assert written.news == [("a-driver", "HeldForCarbon")]
    assert written.status["a-driver"].startswith("HeldForCarbon: carbon policy threshold")
    for _ in range(3):
        world.tick(10)
        world.filter("a-driver")
        notify.look(world.now)
    assert written.news == []
    world.now = 102 * HOUR + 1
    signal = Signal("DE", world.now, 100.0, forecast=(100.0, 400.0), forecast_start_s=world.now)
    world.tell(CarbonSeen(signal))
    assert world.schedule("a-driver").node
    notify.look(world.now)
    assert written.news == [("a-driver", "Released")]
    notify.look(world.now)
    assert written.news == []


def test_a_planned_start_names_the_plan():
    world, written = carbon_world(400, 400, 100, 400, 400, 400), Written()
    world.leader("a", spec(3, flexibility=Flexibility(HoldPolicy.PLAN, max_delay_s=5 * HOUR, runtime_s=HOUR)))
    world.filter("a-driver")
    notifier(world, written).look(world.now)
    assert "planned to start 1970-01-05 06:00" in written.events[0].note
    assert written.news == [("a-driver", "PlannedStart")]


def test_the_blocker_is_named_and_a_refusal_is_a_warning():
    world, written = World(), Written()
    world.add(node("n0", 8))
    world.foreign("other", "n0", requests=size(4))
    for name, workers in (("first", 6), ("second", 1), ("huge", 50)):
        world.leader(name, spec(workers))
        world.filter(f"{name}-driver")
        world.now += 1
    notify = notifier(world, written)
    notify.look(world.now)
    by_pod = {each.pod: each for each in written.events}
    assert by_pod["second-driver"].note == "ns/first is before it in its pool, and waits"
    assert [by_pod[f"{each}-driver"].warning for each in ("first", "second", "huge")] == [False, False, True]
    assert "the gang requests 51 of cpu" in by_pod["huge-driver"].note
    written.events.clear()
    # The state changes: not told again at once, but a minute later.
    world.end("other")
    assert world.schedule("first-driver").node
    world.filter("second-driver")
    notify.look(world.now)
    assert written.news == []
    world.tick(AGAIN_S)
    world.filter("second-driver")
    notify.look(world.now)
    assert written.news == [("second-driver", "WaitsForRoom")]


def test_a_replica_that_does_not_lead_writes_nothing_and_a_new_leader_repeats_nothing():
    world, written = World(), Written()
    world.add(node("n0", 2))
    world.foreign("other", "n0", requests=size(2))
    world.leader("a", spec(1))
    world.filter("a-driver")
    notifier(world, written).look(world.now + HOUR)  # kube-scheduler has not called for an hour
    assert written.news == []
    notifier(world, written).look(world.now)
    assert written.news == [("a-driver", "WaitsForRoom")]
    world.change("a-driver", annotations={STATUS: written.status["a-driver"]})
    world.filter("a-driver")
    notifier(world, written).look(world.now)
    assert written.news == []


async def test_the_service_writes_them_to_the_api_server():
    async with Cluster() as cluster:
        cluster.put("nodes", node_object("n0"))
        cluster.put("configmaps", driver_config_map("a", 50))
        cluster.put("pods", driver("a"))
        async with ready(cluster) as (service, client):
            await client.filter(driver("a"), ["n0"])
            service.notifier.look(service._clock())
            await cluster.until(lambda: STATUS in cluster.pod("a-driver")["metadata"].get("annotations", {}))
            await service.events.idle()
            (event,) = cluster.events.values()
            assert event["reason"] == "Refused"
            assert event["regarding"]["name"] == "a-driver"
            assert event["type"] == "Warning"
            # The annotation is one that the driver may carry: it is not refused for it.
            again = cluster.pod("a-driver")
            found = await client.filter(again, ["n0"])
            assert "unknown key" not in str(found)


async def test_an_event_that_is_there_already_is_no_problem():
    async with Cluster() as cluster, await cluster.client() as api:
        writers = [EventWriter(api, name) for name in ("one", "two")]
        event = PodEvent("ns", "a-driver", "uid", "Released", "x" * 3000, 100.0)
        running = [asyncio.create_task(writer.run()) for writer in writers]
        for writer in writers:
            writer.submit(event)
        for writer in writers:
            await writer.idle()
        assert [asked for asked, *_ in cluster.requests].count("event") == 2
        assert len(cluster.events) == 1
        assert len(next(iter(cluster.events.values()))["note"]) <= 1024
        for task in running:
            task.cancel()


def node_object(name: str) -> Any:
    from tests.cluster.apiserver import node as made

    return made(name)


def test_a_driver_that_our_gate_holds_has_its_reason_once():
    world, written = carbon_world(400, 400, 100, 400, 400, 400), Written()
    notify = notifier(world, written)
    flexible = Flexibility(HoldPolicy.THRESHOLD, max_delay_s=5 * HOUR, runtime_s=HOUR)
    world.leader("a", spec(3, flexibility=flexible), gated=True, hold_gate=True)
    world.tick(1)
    notify.look(world.now)
    assert "expected to start at 1970-01-05 06:00 UTC" in written.events[0].note
    assert written.news == [("a-driver", "HeldForCarbon")], "kube-scheduler sends no request for it"
    world.tick(10)
    notify.look(world.now)
    assert written.news == []
