"""A gang that was held for clean power starts where it is clean; elsewhere only from its latest start on."""

from __future__ import annotations

from dataclasses import replace

import hypothesis.strategies as st
import pytest
from hypothesis import given

from extender.adapters.api.carbon import held
from extender.core.carbon.signal import Signal
from extender.core.carbon.start.flexibility import Flexibility, HoldPolicy
from extender.core.events import CarbonSeen
from extender.core.gangs.spec import GangSpec
from extender.core.nodes.terms import PlacementTerms
from extender.core.outcomes import Outcome
from extender.core.policy import CarbonPolicy, FifoMode, Policy
from extender.core.queue.packing import PACKERS
from tests.gang.world import World, node, size, spec

HOUR = 3600.0
DIRTY, CLEAN = 500.0, 100.0

every_packer = pytest.mark.parametrize("packer", sorted(PACKERS))


def flexible(
    workers: int = 2, delay_s: float = 4 * HOUR, policy: HoldPolicy = HoldPolicy.THRESHOLD
) -> GangSpec:
    allowed = Flexibility(policy, max_delay_s=delay_s, runtime_s=HOUR)
    return GangSpec(size(), workers, workers, flexibility=allowed)


def signal(world: World, zone: str, *grams: float) -> None:
    seen = Signal(zone, world.now, grams[0], forecast=grams, forecast_start_s=world.now)
    world.do(world.store.apply(CarbonSeen(seen), world.now))


def two_zones(packer: str = "tightly-pack", *, cpu: int = 8, fifo: FifoMode = FifoMode.STRICT) -> World:
    """Zone a is dirty now and comes first in every packer's order, zone b is clean now."""
    world = World(Policy(packer=packer, fifo=fifo, carbon=CarbonPolicy(zone_by_place={"a": "A", "b": "B"})))
    world.add(node("n-a", 8, 16, zone="a"), node("n-b", cpu, zone="b"))
    signal(world, "A", DIRTY, CLEAN, DIRTY, DIRTY, DIRTY)
    signal(world, "B", CLEAN, DIRTY, DIRTY, DIRTY, DIRTY)
    return world


def nodes_of(world: World, app: str) -> set[str]:
    return {name for name, _ in world.slots(app)} | {world.node_of(f"{app}-driver")}


@every_packer
def test_it_starts_in_the_zone_that_is_clean(packer: str) -> None:
    world = two_zones(packer)
    world.leader("plain", spec(2))
    world.schedule("plain-driver")
    assert "n-a" in nodes_of(world, "plain"), "a gang that is not flexible goes where its packer says"
    world.leader("waits", flexible())
    world.schedule("waits-driver")
    assert nodes_of(world, "waits") == {"n-b"}


@pytest.mark.parametrize("fifo", FifoMode)
def test_without_room_there_it_stays_held_and_lets_others_pass(fifo: FifoMode) -> None:
    world = two_zones(cpu=4, fifo=fifo)
    world.foreign("other", "n-b", requests=size(3))
    world.leader("waits", flexible())
    held = world.filter("waits-driver")
    assert held.outcome is Outcome.HELD_FOR_CARBON
    assert "as soon as one has room" in held.detail, "when room comes is not known"
    world.leader("young", spec(2))
    assert world.schedule("young-driver").node == "n-a"
    assert world.filter("waits-driver") == held, "the text stays the same until the release"
    world.end("other")
    world.tick()
    assert world.woken == ["waits-driver"]
    assert world.schedule("waits-driver").node == "n-b"


@pytest.mark.parametrize("fifo", [FifoMode.STRICT, FifoMode.BACKFILL])
def test_what_gets_free_in_a_clean_zone_is_for_the_first_that_waits_for_it(fifo: FifoMode) -> None:
    world = two_zones(fifo=fifo)
    world.foreign("busy", "n-b", requests=size(5))
    world.leader("waits", flexible(workers=5))
    assert world.filter("waits-driver").outcome is Outcome.HELD_FOR_CARBON
    world.now += 1
    world.leader("younger", flexible(workers=2))
    if fifo is FifoMode.BACKFILL:
        assert world.schedule("younger-driver").node == "n-b"
        return
    assert world.filter("younger-driver").outcome is Outcome.HELD_FOR_CARBON
    world.end("busy")
    assert world.schedule("waits-driver").node == "n-b"


def test_nobody_is_late_because_others_wait_by_choice() -> None:
    """Neither a gang that cannot wait any longer nor one that never could makes way for one that is held."""
    world = two_zones()
    world.foreign("half", "n-b", requests=size(4))
    world.leader("waits", flexible(workers=5, delay_s=8 * HOUR))
    assert world.filter("waits-driver").outcome is Outcome.HELD_FOR_CARBON
    world.now += 1
    only_b = PlacementTerms(node_selector=(("topology.kubernetes.io/zone", "b"),))
    world.leader("bound", replace(flexible(workers=2, delay_s=HOUR), worker_terms=only_b), terms=only_b)
    world.leader("plain", spec(2))
    assert world.schedule("plain-driver").node
    world.tick(HOUR + 1)
    assert world.schedule("bound-driver").node == "n-b"


def test_a_plan_made_in_a_clean_hour_does_not_outlive_it() -> None:
    world = two_zones()
    for zone in "AB":
        signal(world, zone, CLEAN, *[DIRTY] * 3, *[CLEAN] * 4)
    for name in ("n-a", "n-b"):
        world.foreign(f"busy-{name}", name, requests=size(8 if name == "n-a" else 6))
    world.leader("waits", flexible(workers=4, delay_s=8 * HOUR))
    world.now += 1
    world.leader("plain", spec(1))
    assert world.filter("waits-driver").outcome is Outcome.NO_ROOM, "its hour has come"
    assert world.filter("plain-driver").outcome is Outcome.EARLIER_GANG_WAITS
    world.now += HOUR  # nothing else happens
    assert world.filter("waits-driver").outcome is Outcome.HELD_FOR_CARBON
    assert world.filter("plain-driver").node


def test_what_is_clean_enough_is_the_same_everywhere() -> None:
    """The best hour of a dirty grid is no reason to start while a clean one is ahead elsewhere."""
    world = two_zones()
    signal(world, "A", 700, 900, 900, 900)
    signal(world, "B", 400, 300, 120, 110)
    world.leader("waits", flexible())
    for hour in range(3):
        assert world.filter("waits-driver").outcome is Outcome.HELD_FOR_CARBON, hour
        world.tick(HOUR)
    assert world.woken == ["waits-driver"]
    world.schedule("waits-driver")
    assert nodes_of(world, "waits") == {"n-b"}


def test_a_gang_too_wide_for_one_zone_looks_at_the_mean_of_all() -> None:
    world = two_zones()
    signal(world, "A", DIRTY, CLEAN, CLEAN, CLEAN)
    signal(world, "B", CLEAN, DIRTY, 2 * CLEAN, CLEAN)
    world.leader("wide", flexible(workers=12, delay_s=4 * HOUR))
    for hour in range(3):
        assert world.filter("wide-driver").outcome is Outcome.HELD_FOR_CARBON, hour
        world.tick(HOUR)
    assert world.woken == ["wide-driver"]
    assert world.schedule("wide-driver").node
    assert nodes_of(world, "wide") == {"n-a", "n-b"}


def test_a_gang_that_fits_an_unknown_zone_only_is_not_held() -> None:
    world = two_zones(cpu=2)
    world.add(node("n-c", 20, zone="c"))
    world.leader("large", flexible(workers=12, delay_s=2 * HOUR))
    assert world.schedule("large-driver").node
    assert "n-c" in nodes_of(world, "large")


def test_an_unknown_zone_is_not_clean_but_good_enough_from_the_latest_start_on() -> None:
    world = two_zones(cpu=2)
    world.add(node("n-c", 20, zone="c"))
    signal(world, "B", CLEAN, *[DIRTY] * 9)
    world.foreign("busy", "n-a", requests=size(8))
    world.leader("waits", flexible(workers=4, delay_s=2 * HOUR))
    for _ in range(4):
        assert world.filter("waits-driver").outcome is Outcome.HELD_FOR_CARBON
        world.tick(HOUR / 2)
    assert world.woken == ["waits-driver"]
    assert world.schedule("waits-driver").node
    assert "n-c" in nodes_of(world, "waits")


def test_while_no_zone_is_known_nothing_is_held() -> None:
    world = two_zones(cpu=2)
    world.leader("waits", flexible(delay_s=9 * HOUR))
    assert world.filter("waits-driver").outcome is Outcome.HELD_FOR_CARBON
    for zone in "AB":
        world.do(
            world.store.apply(CarbonSeen(Signal(zone, world.now, None, reason="source-down")), world.now)
        )
    assert world.filter("waits-driver").outcome is Outcome.HELD_FOR_CARBON, "the last good values count"
    world.tick(world.policy.carbon.stale_after_s + 1)
    assert world.woken == ["waits-driver"]
    assert world.filter("waits-driver").outcome is Outcome.ADMITTED


def test_a_plan_does_not_outlive_the_hour_it_was_made_for() -> None:
    world = two_zones()
    world.leader("waits", flexible())
    verdict = world.store.waiting.verdict(world.uid("waits-driver"), world.now)
    assert verdict is not None
    assert verdict.packing is not None
    assert world.store.state.nodes.names[verdict.packing.leader_row] == "n-b"
    world.now += HOUR  # nothing is heard of the grid meanwhile
    assert world.filter("waits-driver").node == "n-a"


def test_what_can_never_start_is_told_at_once() -> None:
    world = two_zones()
    world.leader("huge", flexible(workers=50))
    assert world.filter("huge-driver").outcome is Outcome.EXCEEDS_CLUSTER


def test_workers_decide_where_it_is_clean_and_a_pinned_driver_may_be_elsewhere() -> None:
    world = two_zones()
    here = PlacementTerms(node_selector=(("topology.kubernetes.io/zone", "a"),))
    world.leader("waits", flexible(), terms=here)
    assert world.schedule("waits-driver").node == "n-a"
    assert {name for name, _ in world.slots("waits")} == {"n-b"}


def test_the_same_gangs_without_flexibility_are_planned_as_without_any_signal() -> None:
    silent = World(Policy(packer="tightly-pack"))
    silent.add(node("n-a", 8, 16, zone="a"), node("n-b", 8, zone="b"))
    places: list[list[object]] = []
    for world in (two_zones(), silent):
        for number in range(4):
            world.leader(f"g{number}", spec(1 + number))
            world.schedule(f"g{number}-driver")
        places.append([world.slots(f"g{number}") for number in range(4)])
    assert places[0] == places[1]


hours = st.lists(st.sampled_from([50.0, 100.0, 300.0, 500.0]), min_size=6, max_size=6)


@given(
    grids=st.lists(st.one_of(st.none(), hours), min_size=3, max_size=3),
    cpus=st.lists(st.integers(1, 8), min_size=3, max_size=3),
    gangs=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5), st.sampled_from(HoldPolicy)), max_size=5),
    packer=st.sampled_from(sorted(PACKERS)),
    fifo=st.sampled_from(FifoMode),
)
def test_before_its_latest_start_it_is_where_its_policy_is_met(
    grids: list[list[float] | None],
    cpus: list[int],
    gangs: list[tuple[int, int, HoldPolicy]],
    packer: str,
    fifo: FifoMode,
) -> None:
    places = {"a": "A", "b": "B", "c": "C"}
    world = World(
        Policy(packer=packer, fifo=fifo, carbon=CarbonPolicy(zone_by_place=places, stale_after_s=9e9))
    )
    for zone, cpu in zip("abc", cpus, strict=True):
        world.add(node(f"n-{zone}", cpu, zone=zone))
    for zone, grams in zip("ABC", grids, strict=True):
        if grams is not None:
            signal(world, zone, *grams)
    for number, (workers, delay, policy) in enumerate(gangs):
        world.leader(f"g{number}", flexible(workers, delay * HOUR, policy))
    began_s, waiting = world.now, set(range(len(gangs)))
    for _ in range(12):
        for number in sorted(waiting):
            workers, delay, policy = gangs[number]
            if not world.schedule(f"g{number}-driver").node:
                blocked_by_nobody_who_is_held(world, f"g{number}-driver")
                continue
            waiting.remove(number)
            if policy is HoldPolicy.THRESHOLD and world.now < began_s + delay * HOUR:
                rows = {name for name, _ in world.slots(f"g{number}")} or {world.node_of(f"g{number}-driver")}
                used = {"abc".index(name[-1]) for name in rows}
                holders = {zone for zone, cpu in enumerate(cpus) if cpu >= max(1, workers)}
                assert clean_enough(grids, holders, used, int((world.now - began_s) // HOUR), delay)
        world.sound()
        world.tick(HOUR / 2)
    for number in waiting:  # whatever is left waits for room, not for the grid
        assert world.filter(f"g{number}-driver").outcome is not Outcome.HELD_FOR_CARBON


def blocked_by_nobody_who_is_held(world: World, name: str) -> None:
    """Invariant 7 for many gangs: whoever waits for carbon makes nobody else wait."""
    verdict = world.store.waiting.verdict(world.uid(name), world.now)
    if verdict is not None and verdict.blocker is not None:
        blocker = world.store.waiting.verdict(world.uid(f"{verdict.blocker.app_id}-driver"), world.now)
        assert blocker is not None
        assert blocker.outcome is Outcome.NO_ROOM


def clean_enough(
    grids: list[list[float] | None], holders: set[int], used: set[int], hour: int, latest: int
) -> bool:
    """The rule in other words: of the hours left, judged by the zones that could hold the gang whole."""
    known = {zone: grams for zone, grams in enumerate(grids) if grams is not None}
    if not known or (holders and not holders & known.keys()):
        return True
    hours = range(hour, latest)
    if not holders:
        means = sorted(sum(grams[each] for grams in known.values()) / len(known) for each in hours)
        now = sum(grams[hour] for grams in known.values()) / len(known)
        return now <= means[max(0, int(0.3 * len(means)) - 1)] + 1e-9
    best = sorted(min(known[zone][each] for zone in holders & known.keys()) for each in hours)
    limit = best[max(0, int(0.3 * len(best)) - 1)]
    return all(zone in known and known[zone][hour] <= limit for zone in used)


def test_a_gang_without_room_in_its_clean_zone_is_shown_as_held() -> None:
    world = two_zones(cpu=4)
    world.foreign("other", "n-b", requests=size(3))
    world.leader("waits", flexible())
    assert world.filter("waits-driver").outcome is Outcome.HELD_FOR_CARBON
    (shown,) = held(world.store, world.now)
    assert (shown.app_id, shown.policy) == ("waits", "threshold")
    world.end("other")
    assert held(world.store, world.now) == []
