"""Who comes first: priority, creation time, uid. And what a gang that does not fit does to the others."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from extender.core.facts import GangKey
from extender.core.gangs.spec import SpecProblem
from extender.core.nodes.resources import CPU
from extender.core.nodes.terms import NodeTerm, PlacementTerms, Requirement
from extender.core.offers import Listed
from extender.core.outcomes import Outcome
from extender.core.policy import FifoMode, Policy
from tests.gang.world import World, node, size, spec


def queue(mode: FifoMode = FifoMode.STRICT, cores: int = 8, **policy: Any) -> World:
    """One node, 6 cores of it in use: an old gang of 5 and a young one of 2 wait for the other 2."""
    world = World(Policy(fifo=mode, **policy))
    world.add(node("n1", cores))
    world.foreign("stranger", "n1", requests=size(cores - 2))
    world.leader("old", spec(4))
    world.now += 1
    world.leader("young", spec(1))
    return world


def outcomes(world: World, *apps: str) -> list[Outcome]:
    """Outcome of one filter call each."""
    return [world.filter(f"{app}-driver").outcome for app in apps]


def test_strict_younger_gangs_wait() -> None:
    world = queue()
    assert outcomes(world, "young", "old") == [Outcome.EARLIER_GANG_WAITS, Outcome.NO_ROOM]
    world.delete("old-driver")
    assert outcomes(world, "young") == [Outcome.ADMITTED]


def test_strict_a_gang_that_fits_beside_the_earlier_ones_starts() -> None:
    world = World()
    world.add(node("n1", 8))
    world.leader("old", spec(4))
    world.now += 1
    world.leader("young", spec(2))
    assert outcomes(world, "young") == [Outcome.ADMITTED]
    assert outcomes(world, "old") == [Outcome.ADMITTED]


def test_strict_a_younger_gang_does_not_take_the_room_of_an_earlier_one() -> None:
    world = World()
    world.add(node("n1", 8))
    world.leader("old", spec(6))
    world.now += 1
    world.leader("young", spec(1))
    assert outcomes(world, "young", "old") == [Outcome.NO_ROOM, Outcome.ADMITTED]


@pytest.mark.parametrize(
    ("age_s", "expected"), [(59.0, Outcome.ADMITTED), (60.0, Outcome.EARLIER_GANG_WAITS)]
)
def test_strict_after_age_younger_gangs_wait_for_old_ones_only(age_s: float, expected: Outcome) -> None:
    world = queue(FifoMode.STRICT_AFTER_AGE, enforce_after_age_s=60.0)
    old = world.pods["uid-old-driver"]
    world.tick(old.created_s + age_s - world.now)
    assert outcomes(world, "young") == [expected]


def test_strict_after_age_begins_by_itself() -> None:
    """The verdict is not kept beyond the moment from which it is another."""
    world = queue(FifoMode.STRICT_AFTER_AGE, enforce_after_age_s=60.0)
    world.leader("third", spec(3), created_s=world.now + 1)
    assert outcomes(world, "third") == [Outcome.NO_ROOM]
    world.now += 60.0
    assert outcomes(world, "third") == [Outcome.EARLIER_GANG_WAITS]


def test_backfill_younger_gangs_that_fit_start() -> None:
    world = queue(FifoMode.BACKFILL)
    assert outcomes(world, "old", "young") == [Outcome.NO_ROOM, Outcome.ADMITTED]


def test_backfill_room_goes_to_the_older_of_those_that_fit() -> None:
    world = queue(FifoMode.BACKFILL)
    world.now += 1
    world.leader("youngest", spec(1))
    assert outcomes(world, "youngest", "young") == [Outcome.NO_ROOM, Outcome.ADMITTED]


def test_off_whoever_asks_first_is_served() -> None:
    world = queue(FifoMode.OFF)
    world.now += 1
    world.leader("youngest", spec(1))
    assert outcomes(world, "old", "youngest", "young") == [
        Outcome.NO_ROOM,
        Outcome.ADMITTED,
        Outcome.NO_ROOM,
    ]


# -- pools ----------------------------------------------------------------------------------------


def pooled(pool: str) -> dict[str, PlacementTerms]:
    """A leader bound to a pool by its node selector."""
    return {"terms": PlacementTerms(node_selector=(("carbon-scheduler/pool", pool),))}


def test_pools_do_not_wait_for_one_another() -> None:
    world = World()
    for name, pool in (("n1", "etl"), ("n2", "ml")):
        world.add(node(name, 4, labels={"carbon-scheduler/pool": pool}))
    world.foreign("stranger", "n1", requests=size(3))
    etl, ml = pooled("etl"), pooled("ml")
    world.leader("a", spec(3, worker_terms=etl["terms"]), **etl)
    world.now += 1
    world.leader("b", spec(3, worker_terms=ml["terms"]), **ml)
    world.leader("c", spec(0), **etl)
    assert outcomes(world, "a", "b", "c") == [
        Outcome.NO_ROOM,
        Outcome.ADMITTED,
        Outcome.EARLIER_GANG_WAITS,
    ]


def test_each_pool_has_its_discipline() -> None:
    world = World(Policy(fifo_by_pool={"etl": FifoMode.BACKFILL}))
    for name, pool in (("n1", "etl"), ("n2", "ml")):
        world.add(node(name, 4, labels={"carbon-scheduler/pool": pool}))
        world.foreign(f"stranger-{name}", name, requests=size(3))
    for pool in ("etl", "ml"):
        terms = pooled(pool)
        world.leader(f"{pool}-old", spec(3, worker_terms=terms["terms"]), **terms)
        world.leader(f"{pool}-young", spec(0), created_s=world.now + 1, **terms)
    assert outcomes(world, "etl-young", "ml-young") == [Outcome.ADMITTED, Outcome.EARLIER_GANG_WAITS]


def test_a_pool_without_order_does_not_wait_for_what_others_may_take() -> None:
    world = World(Policy(fifo_by_pool={"free": FifoMode.OFF}))
    world.add(node("n1", 4, labels={"carbon-scheduler/pool": "free"}))
    world.leader("old", spec(2))
    world.leader("young", spec(2), created_s=world.now + 1, **pooled("free"))
    assert outcomes(world, "young", "old") == [Outcome.ADMITTED, Outcome.NO_ROOM]


def test_the_pool_of_an_affinity_is_that_of_a_selector() -> None:
    world = World()
    world.add(node("n1", 8, labels={"carbon-scheduler/pool": "etl"}))
    world.foreign("stranger", "n1", requests=size(6))
    affinity = PlacementTerms(affinity=(NodeTerm((Requirement("carbon-scheduler/pool", "In", ("etl",)),)),))
    world.leader("old", spec(4), **pooled("etl"))
    world.leader("young", spec(1), created_s=world.now + 1, terms=affinity)
    assert outcomes(world, "young") == [Outcome.EARLIER_GANG_WAITS]


def test_leaders_without_a_pool_are_ordered_too() -> None:
    assert outcomes(queue(), "young") == [Outcome.EARLIER_GANG_WAITS]


# -- rank -----------------------------------------------------------------------------------------


def test_priority_comes_before_age() -> None:
    world = World()
    world.add(node("n1", 4))
    world.leader("old", spec(2))
    world.now += 1
    world.leader("important", spec(2), priority=10)
    assert outcomes(world, "old", "important") == [Outcome.NO_ROOM, Outcome.ADMITTED]


def test_a_gang_of_higher_priority_that_does_not_fit_blocks() -> None:
    world = queue()
    world.leader("important", spec(3), priority=10, created_s=world.now + 1)
    world.delete("old-driver")
    assert outcomes(world, "young", "important") == [Outcome.EARLIER_GANG_WAITS, Outcome.NO_ROOM]


def test_leaders_of_the_same_second_are_ordered_whoever_asks_first() -> None:
    for first, second in (("a", "b"), ("b", "a")):
        world = World()
        world.add(node("n1", 4))
        for app in (first, second):
            world.leader(app, spec(2), created_s=1_000.0)
        asked = [world.filter("b-driver"), world.filter("a-driver")]
        assert [decision.outcome for decision in asked] == [Outcome.NO_ROOM, Outcome.ADMITTED]


def test_leaders_of_the_same_second_and_name_are_ordered_too() -> None:
    for first, second in (("blue", "red"), ("red", "blue")):
        world = World()
        world.add(node("n1", 4))
        for namespace in (first, second):
            world.leader("a", spec(2), namespace=namespace, name="driver", uid=namespace, created_s=1.0)
        asked = {
            uid: world.store.filter(world.pods[uid], Listed(["n1"]), world.now) for uid in ("red", "blue")
        }
        assert asked["blue"].outcome is Outcome.ADMITTED
        assert asked["red"].outcome is Outcome.NO_ROOM


def test_a_gang_seen_late_takes_the_place_of_its_age() -> None:
    world = queue()
    world.leader("oldest", spec(7), created_s=world.now - 100)
    assert outcomes(world, "old", "oldest") == [Outcome.EARLIER_GANG_WAITS, Outcome.NO_ROOM]


@given(st.permutations(["a", "b", "c", "d"]), st.permutations(["a", "b", "c", "d"]))
def test_order_does_not_depend_on_who_is_seen_or_asked_first(seen: list[str], asked: list[str]) -> None:
    world = World()
    world.add(node("n1", 6))
    ages = {"a": 1.0, "b": 2.0, "c": 2.0, "d": 3.0}
    for app in seen:
        world.leader(app, spec(2), created_s=ages[app])
    admitted = {app for app in asked if world.filter(f"{app}-driver").node}
    assert admitted == {"a", "b"}


# -- who does not block ---------------------------------------------------------------------------


def test_a_gang_that_exceeds_the_cluster_blocks_nobody() -> None:
    world = World()
    world.add(node("n1", 4))
    world.leader("huge", spec(100))
    world.leader("young", spec(1), created_s=world.now + 1)
    assert outcomes(world, "huge", "young") == [Outcome.EXCEEDS_CLUSTER, Outcome.ADMITTED]


def test_a_gang_that_exceeds_the_cluster_says_so_behind_others_too() -> None:
    world = queue()
    world.leader("huge", spec(100), created_s=world.now + 1)
    assert outcomes(world, "huge") == [Outcome.EXCEEDS_CLUSTER]


def test_a_gang_exceeds_the_cluster_only_until_the_cluster_grows() -> None:
    world = World()
    world.add(node("n1", 4))
    world.leader("a", spec(5))
    assert outcomes(world, "a") == [Outcome.EXCEEDS_CLUSTER]
    world.add(node("n2", 4))
    assert outcomes(world, "a") == [Outcome.ADMITTED]
    world.delete("a-driver")
    world.leader("b", spec(5))
    world.remove_node("n1")
    assert outcomes(world, "b") == [Outcome.EXCEEDS_CLUSTER]


def test_an_unreadable_request_blocks_nobody() -> None:
    world = World()
    world.add(node("n1", 4))
    world.leader("bad", SpecProblem(Outcome.INVALID_REQUEST, "min is above max"))
    world.leader("young", spec(1), created_s=world.now + 1)
    assert outcomes(world, "bad", "young") == [Outcome.INVALID_REQUEST, Outcome.ADMITTED]


def test_a_leader_whose_configuration_is_late_keeps_its_place_for_a_while() -> None:
    world = World(Policy(configuration_grace_s=10.0))
    world.add(node("n1", 8))
    world.leader("old", None)
    world.leader("young", spec(1), created_s=world.now + 1)
    assert outcomes(world, "old", "young") == [
        Outcome.WAITING_FOR_CONFIGURATION,
        Outcome.EARLIER_GANG_WAITS,
    ]
    world.now += 9.9
    assert outcomes(world, "young") == [Outcome.EARLIER_GANG_WAITS]
    world.now += 0.1
    assert outcomes(world, "young") == [Outcome.ADMITTED]


def test_a_late_configuration_gives_the_old_place_back() -> None:
    world = World(Policy(configuration_grace_s=10.0))
    world.add(node("n1", 4))
    old = world.leader("old", None)
    world.leader("young", spec(2), created_s=world.now + 1)
    world.filter("old-driver")
    world.now += 20
    world.configure(old, spec(2))
    assert outcomes(world, "young", "old") == [Outcome.NO_ROOM, Outcome.ADMITTED]


@pytest.mark.parametrize("mode", [FifoMode.BACKFILL, FifoMode.OFF])
def test_a_late_configuration_holds_nobody_up_where_nobody_waits(mode: FifoMode) -> None:
    world = World(Policy(fifo=mode))
    world.add(node("n1", 8))
    world.leader("old", None)
    world.leader("young", spec(1), created_s=world.now + 1)
    assert outcomes(world, "young") == [Outcome.ADMITTED]


def test_what_gets_free_is_left_to_the_gang_that_waits() -> None:
    """Pods outside gangs and workers above the minimum do not starve the head of a strict queue."""
    world = World(Policy(packer="tightly-pack"))
    world.add(node("n1", 4))
    world.leader("a", spec(1, 9))
    world.run("a", 1)
    world.now += 1
    world.pod("early")
    world.leader("old", spec(3), created_s=world.now + 1)
    assert world.filter("old-driver").outcome is Outcome.NO_ROOM
    world.pod("late", created_s=world.now + 2)
    world.worker("a", 2, created_s=world.now + 2)
    assert world.filter("late").outcome is Outcome.EARLIER_GANG_WAITS
    assert world.filter("a-exec-2").outcome is Outcome.EARLIER_GANG_WAITS
    assert world.filter("early").outcome is Outcome.SINGLE_PLACED


@pytest.mark.parametrize(
    "policy", [Policy(extras_behind_queue=False), Policy(fifo=FifoMode.BACKFILL), Policy(fifo=FifoMode.OFF)]
)
def test_unless_the_pool_is_not_strict_or_it_is_switched_off(policy: Policy) -> None:
    world = World(policy)
    world.add(node("n1", 4))
    world.leader("old", spec(1, worker=size(3)))
    world.foreign("other", "n1")
    assert world.filter("old-driver").outcome is Outcome.NO_ROOM
    world.pod("late", created_s=world.now + 2)
    assert world.filter("late").outcome is Outcome.SINGLE_PLACED


def test_a_gang_that_daemons_leave_no_room_for_blocks_nobody() -> None:
    """Invariant 9: every node runs a DaemonSet, and one executor wants a whole node."""
    world = World()
    nodes = ("n1", "n2", "n3")
    world.add(*(node(name, 4) for name in nodes))
    for name in nodes:
        world.foreign(f"proxy-{name}", name, requests={CPU: 100}, daemon=True)
    world.leader("huge", spec(2, worker=size(4)))
    assert world.filter("huge-driver").outcome is Outcome.EXCEEDS_CLUSTER
    world.leader("small", spec(2), created_s=world.now + 1)
    assert world.filter("small-driver").outcome is Outcome.ADMITTED
    for name in nodes:
        world.delete(f"proxy-{name}")
    assert world.filter("huge-driver").outcome is Outcome.NO_ROOM


def test_the_gang_that_is_waited_for_is_known() -> None:
    world = queue()
    world.leader("third", spec(0), created_s=world.now + 1)
    verdict = world.store.waiting.verdict("uid-third-driver", world.now)
    assert verdict is not None
    assert verdict.blocker == GangKey("ns", "old")
