"""Refusals are stable texts, and repeating one costs a look-up, not a plan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from extender.core.gangs.spec import SpecProblem
from extender.core.offers import Listed
from extender.core.outcomes import EXPLANATIONS, Outcome, reason
from extender.core.policy import FifoMode, Policy
from extender.core.queue import empty_cluster
from extender.core.queue import queue_pass as queue
from extender.core.queue.packing import Problem, feasible
from tests.gang.world import World, node, size, spec


class Plans:
    """Counts how often a gang is planned."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.apps: list[str] = []
        original = queue.plan

        def counted(table: Any, policy: Any, waiting: queue.Waiting, *rest: Any) -> Any:
            self.apps.append(waiting.key.app_id)
            return original(table, policy, waiting, *rest)

        monkeypatch.setattr(queue, "plan", counted)

    def taken(self) -> list[str]:
        """Gangs planned since the last call."""
        apps, self.apps = self.apps, []
        return apps


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> Plans:
    return Plans(monkeypatch)


def waiting_gangs(*apps: str, mode: FifoMode = FifoMode.STRICT) -> World:
    """Gangs of 4 pods each, oldest first, with room for 3."""
    world = World(Policy(fifo=mode))
    world.add(node("n1", 8))
    world.foreign("stranger", "n1", requests=size(5))
    for app in apps:
        world.now += 1
        world.leader(app, spec(3))
    return world


class NotLookedAt:
    """An offer that must not be read."""

    def names(self) -> Sequence[str]:
        raise AssertionError("the offered names were decoded for a repeated refusal")

    def __contains__(self, name: str, /) -> bool:
        raise AssertionError("the offered names were searched for a repeated refusal")


REFUSED = {
    Outcome.NO_ROOM: "a-driver",
    Outcome.EARLIER_GANG_WAITS: "b-driver",
    Outcome.EXCEEDS_CLUSTER: "huge-driver",
    Outcome.INVALID_REQUEST: "bad-driver",
    Outcome.WAITING_FOR_CONFIGURATION: "late-driver",
    Outcome.GANG_NOT_ADMITTED: "a-exec-1",
    Outcome.GANG_UNKNOWN: "nobodys-exec-1",
    Outcome.NODES_UNKNOWN: "single",
}


@pytest.mark.parametrize(("outcome", "name"), REFUSED.items(), ids=REFUSED)
def test_texts_do_not_change_while_nothing_changes_for_the_pod(outcome: Outcome, name: str) -> None:
    world = waiting_gangs("a", "b")
    world.leader("huge", spec(50), created_s=world.now + 1)
    world.leader("bad", SpecProblem(Outcome.INVALID_REQUEST, "key=value; write another"))
    world.leader("late", None, created_s=world.now + 2)
    world.worker("a", 1)
    world.worker("nobodys", 1)
    world.pod("single", created_s=0.0)
    offered = [] if outcome is Outcome.NODES_UNKNOWN else None
    first = world.filter(name, offered)
    assert first.outcome is outcome
    for _ in range(3):
        world.tick(1.5)
        world.pod(f"noise-{world.now}", scheduler_name="default-scheduler", node="n1", requests={})
        again = world.filter(name, offered)
        assert (again.outcome, again.reason) == (first.outcome, first.reason)


def test_a_text_says_what_to_read_on() -> None:
    world = waiting_gangs("a")
    assert world.filter("a-driver").reason == reason(Outcome.NO_ROOM)
    assert EXPLANATIONS[Outcome.NO_ROOM] in reason(Outcome.NO_ROOM)


def test_texts_have_no_percent_sign_and_an_end() -> None:
    text = reason(Outcome.INVALID_REQUEST, "100% of " + "x" * 1_000)
    assert "%" not in text
    assert len(text) == 500


def test_asking_again_plans_nothing(plans: Plans) -> None:
    world = waiting_gangs("a", "b", "c")
    for app in ("a", "b", "c"):
        assert not world.filter(f"{app}-driver").node
    assert plans.taken() == ["a"]  # b and c wait for it
    for _ in range(5):
        for app in ("c", "a", "b"):
            assert not world.filter(f"{app}-driver").node
    assert plans.taken() == []


def test_asking_again_does_not_even_look_at_the_offered_nodes() -> None:
    world = waiting_gangs("a", "b")
    for app in ("a", "b"):
        pod = world.pods[f"uid-{app}-driver"]
        assert not world.store.filter(pod, Listed(["n1"]), world.now).node
        assert not world.store.filter(pod, NotLookedAt(), world.now).node


def test_a_refusal_that_holds_for_any_offer_is_not_planned_for_each(plans: Plans) -> None:
    world = waiting_gangs("a")
    world.add(node("n2", 0))
    assert not world.filter("a-driver", ["n1"]).node
    plans.taken()
    world.filter("a-driver", ["n2"])
    world.filter("a-driver", ["n1", "n2"])
    assert plans.taken() == []


def test_planning_goes_no_further_than_the_gang_asked_for(plans: Plans) -> None:
    world = waiting_gangs("a", "b", "c", mode=FifoMode.BACKFILL)
    for workers, app in enumerate(("a", "b", "c"), 3):
        world.configure(world.pods[f"uid-{app}-driver"], spec(workers))
    world.filter("b-driver")
    assert plans.taken() == ["a", "b"]
    world.filter("c-driver")
    assert plans.taken() == ["c"]


def test_a_gang_like_one_that_was_refused_is_refused_unseen(plans: Plans) -> None:
    """Room only shrinks in the course of a pass: 500 alike that wait cost one plan."""
    world = waiting_gangs("a", "b", "c", mode=FifoMode.BACKFILL)
    assert world.filter("c-driver").outcome is Outcome.NO_ROOM
    assert plans.taken() == ["a"]


def test_a_change_of_free_room_makes_the_plan_anew(plans: Plans) -> None:
    world = waiting_gangs("a", "b")
    world.filter("b-driver")
    plans.taken()
    world.delete("stranger")
    assert world.filter("a-driver").node
    assert plans.taken() == ["a"]


def test_an_admission_leaves_the_rest_of_the_plan(plans: Plans) -> None:
    world = World()
    world.add(node("n1", 6))
    for app in ("a", "b", "c"):
        world.now += 1
        world.leader(app, spec(2))
    assert world.filter("c-driver").outcome is Outcome.NO_ROOM
    assert plans.taken() == ["a", "b", "c"]
    for app in ("a", "b"):
        assert world.filter(f"{app}-driver").outcome is Outcome.ADMITTED
    assert world.filter("c-driver").outcome is Outcome.NO_ROOM
    assert plans.taken() == []
    world.sound()


def test_a_bind_leaves_the_plan(plans: Plans) -> None:
    world = World()
    world.add(node("n1", 4))
    world.leader("a", spec(2))
    world.leader("b", spec(2), created_s=world.now + 1)
    world.filter("a-driver")
    world.filter("b-driver")
    plans.taken()
    assert world.bind("a-driver", "n1") == ""
    world.worker("a", 1)
    assert world.schedule("a-exec-1").outcome is Outcome.SLOT_TAKEN
    world.filter("b-driver")
    assert plans.taken() == []


@pytest.mark.parametrize("event", ["wake", "phase", "same node", "pending stranger"])
def test_events_that_change_no_room_leave_the_plan(plans: Plans, event: str) -> None:
    world = waiting_gangs("a", "b")
    world.filter("b-driver")
    plans.taken()
    if event == "wake":
        world.change("a-driver", annotations={"carbon-scheduler/wake": "1"})
    elif event == "phase":
        world.change("stranger", phase="Running", annotations={"a": "b"})
    elif event == "same node":
        world.add(world.nodes["n1"])
    else:
        world.pod("pending", scheduler_name="default-scheduler")
    world.filter("b-driver")
    world.filter("a-driver")
    assert plans.taken() == []


def test_a_younger_gang_joins_without_a_new_plan(plans: Plans) -> None:
    world = waiting_gangs("a")
    world.filter("a-driver")
    plans.taken()
    world.leader("b", spec(1), created_s=world.now + 1)
    assert world.filter("b-driver").outcome is Outcome.EARLIER_GANG_WAITS
    assert plans.taken() == []


def test_an_older_gang_makes_a_new_plan(plans: Plans) -> None:
    world = waiting_gangs("b")
    world.filter("b-driver")
    plans.taken()
    world.leader("a", spec(3), created_s=1.0)
    assert world.filter("b-driver").outcome is Outcome.EARLIER_GANG_WAITS
    assert plans.taken() == ["a"]


def test_whether_an_empty_cluster_would_do_is_judged_once_a_shape_and_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    judged: list[int] = []

    def counted(name: str, problem: Problem) -> bool:
        judged.append(problem.count)
        return feasible(name, problem)

    monkeypatch.setattr(empty_cluster, "feasible", counted)
    world = World()
    world.add(node("n1", 4))
    world.foreign("stranger", "n1", requests=size(3))
    for app, workers in (("a", 2), ("b", 2), ("large", 9)):
        world.leader(app, spec(workers))
        world.now += 1
    for number in range(3):
        for app in ("a", "b", "large"):
            world.filter(f"{app}-driver")
        world.foreign(f"more-{number}", "n1", requests=size(0))
    assert judged == [2, 9], "gangs alike have one answer, and what runs does not change it"
    world.add(node("n2", 1))
    for app in ("a", "b", "large"):
        world.filter(f"{app}-driver")
    assert judged == [2, 9, 9], "what fits still fits when a node joins"
    world.remove_node("n2")
    for app in ("a", "b", "large"):
        world.filter(f"{app}-driver")
    assert judged == [2, 9, 9, 2], "what does not fit still does not when a node goes"


def test_a_gang_younger_than_the_plan_is_judged_by_its_own_time() -> None:
    world = World(Policy(fifo=FifoMode.STRICT_AFTER_AGE))
    world.add(node("n1", 4))
    world.leader("a", spec(2))
    assert world.filter("a-driver").node
    world.leader("b", spec(9))
    assert world.filter("b-driver").outcome is Outcome.EXCEEDS_CLUSTER
    world.now += 5
    world.leader("unread", None)
    world.now += 1
    world.leader("c", spec(1))
    refused = world.filter("c-driver")
    assert refused.outcome is Outcome.EARLIER_GANG_WAITS
    assert world.filter("c-driver") == refused
