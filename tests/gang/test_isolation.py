"""What cannot be judged costs itself only: an error with one gang, pod or node changes nothing for others."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from extender.core.carbon.entitlement import Entitlements
from extender.core.decisions import FilterDecision
from extender.core.events import Event, NodeSeen, PodSeen
from extender.core.facts import NodeFacts, PodFacts, Role
from extender.core.gangs import placement
from extender.core.gangs.ownership import Ownership
from extender.core.invariants import violations
from extender.core.nodes.table import NodeTable
from extender.core.outcomes import Outcome
from extender.core.policy import FifoMode, Policy
from extender.core.queries import application, faults
from extender.core.queue.queue_pass import QueuePass
from extender.core.state import State
from extender.core.store import Store
from extender.engine import Engine
from tests.gang.world import World, node, spec

APPS = "abcde"
VICTIM = "c"


class Injected(Exception):
    """The error that a test puts in."""


@contextmanager
def raising(owner: Any, name: str, when: Callable[..., bool]) -> Iterator[list[int]]:
    """Let a function raise when its arguments say so; yields how often it did."""
    original, times = getattr(owner, name), [0]

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if when(*args, **kwargs):
            times[0] += 1
            raise Injected(name)
        return original(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, wrapped)
        yield times


def _of_victim(thing: Any) -> bool:
    key = thing.gang if isinstance(thing, PodFacts) else thing.key
    return key is not None and key.app_id == VICTIM


GANG_FAULTS: dict[str, tuple[Any, str, Callable[..., bool]]] = {
    "seen": (Ownership, "see_leader", lambda _self, gang, *_, **__: _of_victim(gang)),
    "queue": (QueuePass, "_judge", lambda _self, waiting: _of_victim(waiting)),
}
"""Where judging a gang may raise: function and the arguments with which it does."""

LATE_FAULTS: dict[str, tuple[Any, str, Callable[..., bool]]] = {
    "filter": (Store, "_leader", lambda _self, pod, *_: _of_victim(pod)),
    "hold": (Entitlements, "start", lambda _self, leader, *_: _of_victim(leader)),
    "admit": (State, "admit", lambda _self, gang, *_: _of_victim(gang)),
    "slots": (State, "_open_slots", lambda _self, gang, *_: _of_victim(gang)),
}
"""Where it may raise when its turn has come: until then it keeps its place in the queue."""


class Story:
    """A life of a small cluster, the same for every seed, told with or without one of its members."""

    def __init__(self, seed: int, without: str = "") -> None:
        self.draw = random.Random(seed)
        self.without = without
        fifo = self.draw.choice(list(FifoMode))
        self.world = World(Policy(fifo=fifo, hold_ttl_s=20.0))
        self.told: list[tuple[str, str, str]] = []

    def play(self) -> list[tuple[str, str, str]]:
        """Pod, outcome and node of each decision about anything but the victim."""
        world, draw = self.world, self.draw
        for number in range(3):
            if f"n{number}" != self.without:
                world.add(node(f"n{number}", draw.choice((4, 6, 8)), 32))
            else:
                draw.choice((4, 6, 8))
        plans = {app: (draw.randint(1, 4), draw.randint(0, 1), draw.choice((0, 0, 5))) for app in APPS}
        for _ in range(40):
            step, app, other = draw.randrange(6), draw.choice(APPS), draw.randint(1, 5)
            world.now += 0.25
            if app == self.without and step != 5:
                continue
            driver, worker = f"{app}-driver", f"{app}-exec-{other}"
            names = {pod.name for pod in world.pods.values()}
            if step == 0 and driver not in names:
                workers, more, priority = plans[app]
                world.leader(app, spec(workers, workers + more), priority=priority)
            elif step in (1, 2) and driver in names:
                self._schedule(driver)
            elif step == 3:
                if worker not in names:
                    world.worker(app, other)
                self._schedule(worker)
            elif step == 4 and driver in names and world.pods[world.uid(driver)].node:
                world.end(driver)
                world.delete(driver)
            elif step == 5:
                world.tick(other)
            assert violations(world.store.state) == []
        return self.told

    def _schedule(self, name: str) -> None:
        world = self.world
        if world.pods[world.uid(name)].node:
            return
        if name == self.without:
            return
        # A plan that is kept goes by an earlier order of nodes: when it was made must not matter here.
        world.store.waiting.replan()
        decision = world.filter(name)
        self.told.append((name, decision.outcome, decision.node))
        if decision.node:
            world.bind(name, decision.node)


def others(told: list[tuple[str, str, str]], victim: str) -> list[tuple[str, str, str]]:
    return [each for each in told if each[0] != victim and not each[0].startswith(f"{victim}-")]


@pytest.mark.parametrize("place", sorted(GANG_FAULTS))
@given(seed=st.integers(0, 1 << 32))
@settings(max_examples=25, deadline=None)
def test_a_gang_that_raises_changes_no_other_decision(place: str, seed: int) -> None:
    owner, name, when = GANG_FAULTS[place]
    with raising(owner, name, when):
        told = others(Story(seed).play(), VICTIM)
    assert told == others(Story(seed, without=VICTIM).play(), VICTIM)


@pytest.mark.parametrize("place", sorted(LATE_FAULTS))
def test_a_gang_that_raises_when_its_turn_comes_loses_its_place(place: str) -> None:
    """Strict order: the first one, which fits, cannot be admitted; there is room for one of the two."""
    world = World()
    world.add(node("n1", 4))
    world.leader(VICTIM, spec(2))
    world.now += 1
    world.leader("b", spec(2))
    owner, name, when = LATE_FAULTS[place]
    with raising(owner, name, when):
        assert world.filter(f"{VICTIM}-driver").outcome is Outcome.INTERNAL_ERROR
        assert world.filter("b-driver").outcome is Outcome.ADMITTED
        world.sound()
    world.bind("b-driver", "n1")
    world.delete("b-driver")
    world.tick(61)
    assert world.schedule(f"{VICTIM}-driver").outcome is Outcome.ADMITTED
    assert faults(world.store) == []


@given(seed=st.integers(0, 1 << 32))
@settings(max_examples=40, deadline=None)
def test_a_worker_that_raises_changes_no_other_decision(seed: int) -> None:
    victim = "b-exec-2"
    with raising(placement, "place_worker", lambda _state, _free_room, pod, *_: pod.name == victim):
        told = others(Story(seed).play(), victim)
    assert told == others(Story(seed, without=victim).play(), victim)


@given(seed=st.integers(0, 1 << 32))
@settings(max_examples=40, deadline=None)
def test_a_node_that_raises_is_as_if_it_were_not_there(seed: int) -> None:
    with raising(NodeTable, "upsert", lambda _self, facts: facts.name == "n1"):
        told = Story(seed).play()
    assert told == Story(seed, without="n1").play()


INNER: tuple[tuple[Any, str], ...] = (
    (NodeTable, "reserve"),
    (NodeTable, "use"),
    (NodeTable, "turn_reserved_into_used"),
    (NodeTable, "vector"),
    (State, "put"),
    (State, "seat"),
    (State, "settle"),
    (State, "disband"),
    (State, "release_claim"),
    (placement, "follow_workers"),
    (placement, "move_open_slots"),
)


@given(seed=st.integers(0, 1 << 32), inner=st.sampled_from(INNER), share=st.sampled_from((0.02, 0.1, 0.3)))
@settings(max_examples=60, deadline=None)
def test_an_error_half_way_leaves_the_accounts_right_and_is_made_good(
    seed: int, inner: tuple[Any, str], share: float
) -> None:
    """Whatever raises, at any depth: no amount is wrong, and once errors stop all is as the API says."""
    draw = random.Random(seed + 1)
    story = Story(seed)
    with raising(*inner, lambda *_, **__: draw.random() < share):
        story.play()
    world = story.world
    world.filter_probe()
    for seconds in (61, 61, 61, 301):
        world.tick(seconds)
    assert faults(world.store) == []
    world.sound()
    rebuilt = {pod.uid for pod in world.pods.values() if pod.node}
    assert set(world.store.state.seats) == rebuilt


def test_a_fault_is_shown_counted_and_made_good() -> None:
    world = World()
    world.add(node("n1"))
    with raising(QueuePass, "_judge", lambda _self, waiting: _of_victim(waiting)) as times:
        world.leader(VICTIM, spec(1))
        world.leader("other", spec(1))
        decision = world.filter(f"{VICTIM}-driver")
        assert (decision.outcome, decision.broken) == (Outcome.INTERNAL_ERROR, True)
        assert world.filter("other-driver").outcome is Outcome.ADMITTED
        shown = faults(world.store)
        assert shown == [f"gang ns/{VICTIM} could not be handled (queue): Injected: _judge; it is retried"]
        explained = application(world.store, "ns", VICTIM, world.now)
        assert explained is not None
        assert explained.faults == shown
        assert world.store.state.faults.total == {"gang": 1}
        for _ in range(600):
            world.now += 0.1
            world.filter(f"{VICTIM}-driver")
        assert 3 <= times[0] <= 8, "it is tried again after 1, 2, 4, ... seconds"
    world.now += 61
    assert world.filter(f"{VICTIM}-driver").outcome is Outcome.ADMITTED
    assert faults(world.store) == []


@pytest.mark.parametrize("later", ["another event", "time"])
def test_an_event_that_raised_is_handled_later(later: str) -> None:
    world = World()
    with raising(NodeTable, "upsert", lambda _self, _facts: True):
        world.add(node("n1"))
    assert len(world.store.state.nodes) == 0
    if later == "time":
        world.tick()
        world.tick()
    else:
        world.tell(NodeSeen(node("n1", cpu=2)))
    assert len(world.store.state.nodes) == 1
    assert faults(world.store) == []


def test_a_pod_that_is_gone_is_not_tried_again() -> None:
    world = World()
    world.add(node("n1"))
    with raising(State, "seat", lambda _self, _pod: True):
        world.foreign("f", "n1")
    world.delete("f")
    world.tick(100)
    assert world.store.state.seats == {}
    assert faults(world.store) == []


class _Unreadable:
    def read(self, leader: PodFacts, config_map: Any, template: Any = None) -> Any:
        raise Injected("reader")


class _Clumsy:
    def after(self, event: Event, now: float) -> None:
        raise Injected("observer")

    def answered(self, pod: PodFacts, decision: FilterDecision, now: float) -> None:
        raise Injected("observer")


def test_readers_and_observers_stop_nothing() -> None:
    world = World()
    engine = Engine(Policy(), _Unreadable(), [_Clumsy()])
    engine.observe(NodeSeen(NodeFacts("n1", {"cpu": 1000})), 0.0)
    leader = world.leader("app", None)
    engine.observe(PodSeen(leader), 0.0)
    assert leader.role is Role.LEADER
    assert engine.faults.total == {"observer": 3, "pod": 1}
