"""Kill the extender between any two steps of admit, hold, bind, answer: no slot lost, none doubled.

Whatever the step, the store rebuilt from the API's truth goes on as if nothing had happened: the leader
is bound with all its slots or not at all, and every worker gets a place.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from extender.core.invariants import snapshot
from extender.core.outcomes import Outcome
from extender.core.policy import Policy
from tests.gang.world import World, node, spec

WORKERS = 3


def cluster() -> World:
    """Room for gang `a` and one pod more."""
    world = World(Policy(packer="tightly-pack"))
    world.add(node("n1", 2), node("n2", 3))
    world.leader("a", spec(WORKERS, WORKERS))
    return world


def nothing_asked(world: World) -> None:
    """Before filter."""


def leader_held(world: World) -> None:
    """filter has answered; kube-scheduler may or may not have received it."""
    assert world.filter("a-driver").outcome is Outcome.ADMITTED


def leader_prepared(world: World) -> None:
    """bind is about to write the Binding."""
    leader_held(world)
    assert not world.store.bind("uid-a-driver", "n1", world.now).error


def leader_written(world: World) -> None:
    """The Binding is written; nobody here knows."""
    leader_held(world)
    assert world.bind("a-driver", "n1", seen=False, told=False) == ""


def leader_recorded(world: World) -> None:
    """The Binding is written and recorded; the watch is silent."""
    leader_held(world)
    assert world.bind("a-driver", "n1", seen=False) == ""


def leader_seen(world: World) -> None:
    """The watch has shown the bound leader."""
    leader_held(world)
    assert world.bind("a-driver", "n1") == ""


def worker_held(world: World) -> None:
    leader_seen(world)
    world.worker("a", 1)
    assert world.filter("a-exec-1").outcome is Outcome.SLOT_TAKEN


def worker_written(world: World) -> None:
    worker_held(world)
    claim = world.store.state.claims["uid-a-exec-1"]
    where = world.store.state.nodes.names[claim.row]
    assert world.bind("a-exec-1", where, seen=False, told=False) == ""


def worker_seen(world: World) -> None:
    worker_written(world)
    world.see("uid-a-exec-1")


def worker_lost(world: World) -> None:
    worker_seen(world)
    world.end("a-exec-1", "Failed")


def worker_moved(world: World) -> None:
    """A slot moved and the annotation that says so was not written."""
    leader_seen(world)
    world.lose_writes = True
    world.worker("a", 1)
    decision = world.filter("a-exec-1", ["n2"])
    assert world.bind("a-exec-1", decision.node) == ""
    world.tick()
    world.lose_writes = False


STEPS: list[Callable[[World], None]] = [
    nothing_asked,
    leader_held,
    leader_prepared,
    leader_written,
    leader_recorded,
    leader_seen,
    worker_held,
    worker_written,
    worker_seen,
    worker_lost,
    worker_moved,
]


def finish(world: World) -> None:
    """kube-scheduler goes on: the leader, and as many workers as Spark asks for."""
    if not world.node_of("a-driver"):
        assert world.schedule("a-driver").node
    for number in range(1, 10):
        live = [pod for pod in world.pods.values() if pod.role == "worker" and not pod.finished]
        waiting = [pod.name for pod in live if pod.waiting]
        if not waiting and len(live) == WORKERS:
            return
        for name in waiting or [world.worker("a", 10 + number).name]:
            assert world.schedule(name).node, world.filter(name).reason
            world.sound()


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
def test_after_a_kill_everything_goes_on(step: Callable[[World], None]) -> None:
    world = cluster()
    step(world)
    world.restart()
    world.sound()
    finish(world)
    assert len(world.slots("a")) == WORKERS
    assert len({pod for _, pod in world.slots("a")}) == WORKERS
    assert "" not in {pod for _, pod in world.slots("a")}
    assert world.held() == {}


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
def test_after_a_kill_no_other_gang_gets_the_room(step: Callable[[World], None]) -> None:
    world = cluster()
    step(world)
    world.restart()
    world.leader("b", spec(1), created_s=world.now + 1)
    assert world.filter("b-driver", ["n1", "n2"]).outcome is Outcome.NO_ROOM
    finish(world)
    world.sound()


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
def test_killed_twice_is_killed_once(step: Callable[[World], None]) -> None:
    world = cluster()
    step(world)
    world.restart()
    once = snapshot(world.store.state)
    world.restart()
    assert snapshot(world.store.state) == once


@pytest.mark.parametrize("step", STEPS[:-1], ids=lambda step: step.__name__)
def test_what_is_bound_is_rebuilt_as_it_was(step: Callable[[World], None]) -> None:
    world = cluster()
    step(world)
    for uid in list(world.pods):
        world.see(uid)  # the watch catches up
    for uid in list(world.store.state.claims):
        world.store.state.release_claim(uid, world.now, "expired")  # tentative claims are not kept
    kept = snapshot(world.store.state)
    world.restart()
    assert snapshot(world.store.state) == kept


def test_a_lost_annotation_costs_no_slot() -> None:
    world = cluster()
    worker_moved(world)
    world.restart()
    assert [pod for _, pod in world.slots("a")].count("a-exec-1") == 1
    assert sorted(where for where, _ in world.slots("a")) in (["n1", "n2", "n2"], ["n2", "n2", "n2"])
    world.sound()


def test_a_hold_that_was_never_written_is_forgotten() -> None:
    world = cluster()
    leader_held(world)
    world.restart()
    assert world.held() == {}
    assert world.filter("a-driver").outcome is Outcome.ADMITTED


def test_a_bind_that_was_under_way_may_be_asked_for_again() -> None:
    world = cluster()
    leader_prepared(world)
    world.restart()
    assert world.bind("a-driver", "n1") == ""
    finish(world)


def test_a_bind_whose_answer_was_lost_may_be_asked_for_again() -> None:
    world = cluster()
    leader_written(world)
    world.restart()
    assert world.store.bind("uid-a-driver", "n1", world.now).already_bound


def test_pods_may_be_listed_in_any_order() -> None:
    world = cluster()
    worker_seen(world)
    world.worker("a", 2)
    world.schedule("a-exec-2")
    world.restart()
    kept = snapshot(world.store.state)
    world.pods = dict(reversed(world.pods.items()))
    world.restart()
    assert snapshot(world.store.state) == kept
