"""Gangs go to the cleanest zone that holds them whole; with weight 0 nothing changes."""

from __future__ import annotations

from collections.abc import Sequence

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from extender.core.carbon.signal import Signal
from extender.core.events import CarbonSeen
from extender.core.nodes.arrays import IntArray
from extender.core.policy import CarbonPolicy, Policy
from extender.core.queue.packing import PACKERS
from extender.core.queue.scoring.carbon import carbon_cost
from extender.core.queue.scoring.energy import energy_cost
from extender.core.queue.scoring.fragmentation import fragmentation_cost
from tests.gang.world import World, node, spec

every_packer = pytest.mark.parametrize("packer", sorted(PACKERS))


def three_zones(
    packer: str, weight: float, *, cpus: Sequence[int] = (8, 8, 8), known: bool = True, **weights: float
) -> World:
    """Zones dirty, middle, clean with one node of so many cores each; the dirty one sorts first."""
    places = {"a": "dirty", "b": "middle", "c": "clean"}
    carbon = CarbonPolicy(carbon_weight=weight, zone_by_place=places, **weights)  # type: ignore[arg-type]
    world = World(Policy(packer=packer, carbon=carbon))
    for name, cpu, zone in zip(("n-a", "n-b", "n-c"), cpus, "abc", strict=True):
        world.add(node(name, cpu, zone=zone))
    for zone, grams in (("dirty", 700.0), ("middle", 400.0), ("clean", 50.0)) if known else ():
        world.store.apply(CarbonSeen(Signal(zone, world.now, grams)), world.now)
    return world


def nodes_of(world: World, app: str) -> set[str]:
    return {name for name, _ in world.slots(app)} | {world.node_of(f"{app}-driver")}


@every_packer
def test_the_cleanest_zone_that_holds_the_gang_whole(packer: str) -> None:
    world = three_zones(packer, 2.0, cpus=(8, 8, 4))
    world.leader("small", spec(3))
    world.schedule("small-driver")
    assert nodes_of(world, "small") == {"n-c"}
    world.leader("large", spec(5))
    world.schedule("large-driver")
    assert nodes_of(world, "large") == {"n-b"}, "the clean zone has no room for all of it"


def test_a_gang_no_zone_holds_whole_spreads_if_its_packer_lets_it() -> None:
    world = three_zones("tightly-pack", 2.0, cpus=(4, 4, 4))
    world.leader("wide", spec(8))
    assert world.schedule("wide-driver").node
    assert len(nodes_of(world, "wide")) == 3


@every_packer
@pytest.mark.parametrize(("weight", "known"), [(0.0, True), (2.0, False)])
def test_with_weight_zero_or_nothing_known_nothing_changes(
    packer: str, weight: float, *, known: bool
) -> None:
    def run(world: World) -> list[object]:
        for app, workers in (("a", 3), ("b", 2), ("c", 5)):
            world.leader(app, spec(workers, workers + 1))
            world.schedule(f"{app}-driver")
        return [world.slots(app) for app in "abc"]

    plain = World(Policy(packer=packer))
    for name, zone in zip(("n-a", "n-b", "n-c"), "abc", strict=True):
        plain.add(node(name, 8, zone=zone))
    assert run(three_zones(packer, weight, known=known)) == run(plain)


@pytest.mark.parametrize(("energy", "fragmentation"), [(1.0, 0.0), (0.0, 1.0)])
def test_other_weights_keep_no_gang_in_one_zone(energy: float, fragmentation: float) -> None:
    world = three_zones("distribute-evenly", 0.0, energy_weight=energy, fragmentation_weight=fragmentation)
    world.leader("wide", spec(3))
    world.schedule("wide-driver")
    assert {name for name, _ in world.slots("wide")} == {"n-a", "n-b", "n-c"}


def test_zones_are_ranked_by_carbon_alone() -> None:
    world = three_zones("tightly-pack", 0.01, energy_weight=10.0)
    world.foreign("busy", "n-a")  # a node that is on anyway costs less energy
    world.leader("gang", spec(2))
    world.schedule("gang-driver")
    assert nodes_of(world, "gang") == {"n-c"}


@every_packer
@given(
    grams=st.lists(st.one_of(st.none(), st.sampled_from([50.0, 90.0, 400.0])), min_size=3, max_size=3),
    cpus=st.lists(st.integers(1, 6), min_size=3, max_size=3),
    workers=st.integers(0, 8),
    weight=st.sampled_from([0.001, 1.0, 100.0]),
)
def test_no_cleaner_zone_could_have_held_it(
    packer: str, grams: list[float | None], cpus: list[int], workers: int, weight: float
) -> None:
    world = three_zones(packer, weight, cpus=cpus, known=False)
    for zone, value in zip(("dirty", "middle", "clean"), grams, strict=True):
        world.store.apply(CarbonSeen(Signal(zone, world.now, value, reason="")), world.now)
    world.leader("gang", spec(workers))
    if not world.schedule("gang-driver").node:
        return
    taken = nodes_of(world, "gang")
    nodes = [(f"n-{zone}", value, cpu) for zone, value, cpu in zip("abc", grams, cpus, strict=True)]
    dirtiest = max(value or 0.0 for name, value, _ in nodes if name in taken)
    for name, value, cpu in nodes:
        cleaner = value is not None and value < dirtiest
        assert not cleaner or cpu < workers + 1, f"{name} is cleaner than {taken}"


def test_prioritize_ranks_the_clean_node_first() -> None:
    world = three_zones("tightly-pack", 2.0)
    pod = world.pod("single")
    scores = world.store.prioritize(pod, ["n-a", "n-b", "n-c"], world.now)
    assert scores[2] == 10
    assert scores[2] > scores[1] > scores[0]


def test_power_per_core_counts() -> None:
    cost = carbon_cost([None, 100.0], np.array([1, 1, 1]), np.array([5_000, 20_000, 0]))
    assert cost.tolist() == [0.25, 1.0, 0.625]


def test_unknown_is_neutral_not_clean() -> None:
    cost = carbon_cost([None, 100.0, 300.0], np.array([0, 1, 2]), np.array([0, 0, 0]))
    assert cost[1] < cost[0] < cost[2]
    assert carbon_cost([None], np.array([0, 0]), np.array([0, 0])).tolist() == [0.0, 0.0]


@given(st.data())
def test_costs_lie_between_zero_and_one(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 6))
    grams = st.one_of(st.none(), st.floats(0, 3000))
    values = [None, *data.draw(st.lists(grams, min_size=2, max_size=2))]

    def ints(low: int, high: int) -> IntArray:
        return np.array(data.draw(st.lists(st.integers(low, high), min_size=size, max_size=size)))

    zone, watts = ints(0, 2), ints(0, 100_000)
    used, allocatable = np.stack([ints(0, 9), ints(0, 9)]), np.stack([ints(0, 9), ints(0, 9)])
    for cost in (
        carbon_cost(values, zone, watts),
        energy_cost(used, watts),
        fragmentation_cost(allocatable - used, allocatable),
    ):
        assert cost.shape == (size,)
        assert ((cost >= 0) & (cost <= 1)).all()


def test_an_empty_node_costs_more_energy_than_one_that_is_on() -> None:
    cost = energy_cost(np.array([[0, 1000], [0, 1]]), np.array([0, 0]))
    assert cost[0] > cost[1]
