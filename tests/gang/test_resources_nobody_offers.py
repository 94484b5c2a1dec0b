"""Pods may request resources that no node offers: they wait, they say why, and they disturb no other pod."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extender.core.events import NodeSeen, Tick
from extender.core.facts import PodFacts
from extender.core.invariants import violations
from extender.core.nodes.resources import BASE_COLUMNS
from extender.core.offers import Listed
from extender.core.outcomes import Outcome
from extender.core.policy import FifoMode, Policy
from tests.gang.world import World, node, size, spec


def odd(number: int, cores: int = 1) -> dict[str, int]:
    """A request of a resource that exists nowhere."""
    return {**size(cores), f"r{number}.example.com/x": 1}


@pytest.fixture
def world() -> World:
    made = World(Policy(fifo=FifoMode.BACKFILL))
    for number in range(3):
        made.add(node(f"n{number}", 4, 16))
    return made


def test_a_driver_that_requests_one_is_refused_by_name(world: World) -> None:
    world.leader("evil", spec(1, 1, worker=size(1)), requests=odd(0))
    decision = world.filter("evil-driver")
    assert decision.outcome is Outcome.EXCEEDS_CLUSTER
    assert "no node offers r0.example.com/x" in decision.reason


def test_an_executor_size_that_requests_one_is_refused_by_name(world: World) -> None:
    world.leader("evil", spec(1, 1, worker=odd(0)), requests=size(1))
    decision = world.filter("evil-driver")
    assert decision.outcome is Outcome.EXCEEDS_CLUSTER
    assert "no node offers r0.example.com/x" in decision.reason


def test_a_pod_outside_gangs_that_requests_one_is_refused_by_name(world: World) -> None:
    world.pod("evil", requests=odd(0))
    decision = world.filter("evil", ["n0", "n1", "n2"])
    assert decision.outcome is Outcome.NO_ROOM
    assert "no node offers r0.example.com/x" in decision.reason


def test_four_hundred_of_them_in_one_pod_are_named_shortly(world: World) -> None:
    many = {**size(1), **{f"r{number}.example.com/x": 1 for number in range(400)}}
    world.leader("evil", spec(1, 1, worker=size(1)), requests=many)
    assert "and 397 more" in world.filter("evil-driver").reason
    assert world.store.state.nodes.columns == list(BASE_COLUMNS)


def test_those_behind_are_planned_as_if_it_were_not_there(world: World) -> None:
    for number in range(20):
        world.leader(f"evil{number}", spec(1, 1, worker=size(1)), requests=odd(number))
        world.store.apply(Tick(), world.now)
    world.leader("good", spec(2, 2, worker=size(1)), requests=size(1))
    assert world.filter("good-driver").outcome is Outcome.ADMITTED
    assert violations(world.store.state) == []


def bound(world: World, name: str, requests: dict[str, int], where: str) -> PodFacts:
    """A pod of another scheduler that runs on a node."""
    return world.pod(name, requests=requests, node=where, phase="Running", scheduler_name="default-scheduler")


def test_what_runs_already_counts_once_a_node_offers_it(world: World) -> None:
    bound(world, "foreign", {**size(1), "example.com/x": 2}, "n0")
    offering = node("n0", 4, 16, extra={"example.com/x": 3})
    world.store.apply(NodeSeen(offering), world.now)
    table = world.store.state.nodes
    assert table.free[table.columns.index("example.com/x"), table.row_of["n0"]] == 1
    assert violations(world.store.state) == []
    world.pod("wide", requests={**size(1), "example.com/x": 2})
    assert world.filter("wide", ["n0", "n1", "n2"]).outcome is Outcome.NO_ROOM
    world.pod("narrow", requests={**size(1), "example.com/x": 1})
    assert world.filter("narrow", ["n0", "n1", "n2"]).node == "n0"


NAMES = [f"example.com/{letter}" for letter in "abc"]
STEP = st.one_of(
    st.tuples(st.just("node"), st.integers(0, 2), st.sets(st.sampled_from(NAMES))),
    st.tuples(st.just("pod"), st.integers(0, 2), st.sets(st.sampled_from(NAMES))),
    st.tuples(st.just("end"), st.integers(0, 30), st.just(frozenset())),
)


def test_a_column_that_stands_idle_is_not_taken_from_a_node_that_comes_to_offer_it() -> None:
    world = World(Policy())
    world.add(node("n1", extra={"example.com/b": 1}))
    world.add(node("n1"))
    world.add(node("n1", extra={"example.com/a": 2, "example.com/b": 3}))
    table = world.store.state.nodes
    amounts = dict(zip(table.columns, table.allocatable[:, table.row_of["n1"]].tolist(), strict=True))
    assert (amounts["example.com/a"], amounts["example.com/b"]) == (2, 3)


@settings(max_examples=80, deadline=None)
@given(st.lists(STEP, max_size=30))
def test_used_amounts_are_what_the_running_pods_request_of_what_is_offered(
    steps: list[tuple[str, int, set[str]]],
) -> None:
    world, running = World(Policy()), dict[str, tuple[str, set[str]]]()
    offers: dict[str, set[str]] = {}
    for number, (kind, which, names) in enumerate(steps):
        where = f"n{which}"
        if kind == "node":
            offers[where] = names
            world.store.apply(NodeSeen(node(where, 64, 64, extra=dict.fromkeys(names, 100))), world.now)
        elif kind == "pod":
            bound(world, f"p{number}", {**size(1), **dict.fromkeys(names, 1)}, where)
            running[f"p{number}"] = (where, names)
        elif running:
            name = sorted(running)[which % len(running)]
            del running[name]
            world.delete(name)
        # A foreign pod may request what its node does not offer any more: only the accounts are judged.
        found = violations(world.store.state)
        assert [text for text in found if not text.endswith("is over-committed")] == []
    table = world.store.state.nodes
    for name in sorted({name for names in offers.values() for name in names}):
        row_amounts = table.used[table.columns.index(name)]
        for where in offers:
            wanted = sum(1 for at, names in running.values() if at == where and name in names)
            assert row_amounts[table.row_of[where]] == wanted, (name, where)


def test_a_pod_known_by_its_request_only_is_judged_too(world: World) -> None:
    stranger = PodFacts("uid-x", "ns", "x", scheduler_name="carbon-scheduler", requests=odd(7))
    decision = world.store.filter(stranger, Listed(["n0"]), world.now)
    assert decision.outcome is Outcome.NO_ROOM
    assert "r7.example.com/x" in decision.reason


def test_a_resource_that_is_offered_again_keeps_its_column_while_another_one_comes() -> None:
    world = World(Policy())
    for names in ({"example.com/c"}, {"example.com/a"}, {"example.com/a", "example.com/b", "example.com/c"}):
        world.add(node("n1", 64, 64, extra=dict.fromkeys(sorted(names), 100)))
    table = world.store.state.nodes
    row = table.row_of["n1"]
    for name in ("example.com/a", "example.com/b", "example.com/c"):
        assert table.allocatable[table.columns.index(name), row] == 100
