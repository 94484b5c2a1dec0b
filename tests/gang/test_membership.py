"""Members are known from uid and role of their owner: client mode, earlier runs, other schedulers."""

from __future__ import annotations

from typing import Any

import pytest

from extender.core.facts import OwnerRef, PodFacts
from extender.core.outcomes import Outcome
from tests.gang.world import World, node, size, spec


def by(pod: PodFacts) -> dict[str, Any]:
    """Fields of a Spark executor that this pod made."""
    return {"leader_optional": True, "owner_ref": OwnerRef("Pod", pod.name, pod.uid)}


def of_job(uid: str, name: str = "train", kind: str = "Job") -> dict[str, Any]:
    return {"owner_ref": OwnerRef(kind, name, uid)}


def free_cpu(world: World, name: str) -> int:
    table = world.store.state.nodes
    return int(table.free[0, table.row_of[name]])


# -- client mode -------------------------------------------------------------------------------


@pytest.mark.parametrize("scheduler", ["default-scheduler", "carbon-scheduler"])
def test_executors_of_a_pod_that_leads_no_gang_are_placed_one_by_one(scheduler: str) -> None:
    world = World()
    world.add(node("n1", 4))
    notebook = world.pod("notebook", scheduler_name=scheduler, node="n1", phase="Running")
    for number in (1, 2):
        world.worker("spark-1", number, **by(notebook))
        assert world.schedule(f"spark-1-exec-{number}").outcome is Outcome.SINGLE_PLACED
    world.sound()


def test_they_are_after_a_restart_too_in_whatever_order_pods_are_listed() -> None:
    world = World()
    world.add(node("n1", 4))
    notebook = world.foreign("notebook", "n1")
    world.worker("spark-1", 1, **by(notebook))
    world.pods = dict(reversed(world.pods.items()))
    world.restart()
    assert world.schedule("spark-1-exec-1").outcome is Outcome.SINGLE_PLACED


def test_executors_of_a_driver_that_another_scheduler_placed_are_placed_one_by_one() -> None:
    world = World()
    world.add(node("n1", 4))
    driver = world.leader("a", None, scheduler_name="default-scheduler", node="n1", phase="Running")
    world.worker("a", 1, **by(driver))
    assert world.schedule("a-exec-1").outcome is Outcome.SINGLE_PLACED


def test_executors_of_a_stateful_set_are_members_where_a_driver_leads_and_alone_where_none_does() -> None:
    """The allocator `statefulset`: the set is the controller of the executors, in both deploy modes."""
    world = World()
    world.add(node("n1", 8))
    world.leader("a", spec(1))
    world.schedule("a-driver")
    for app, outcome in (("a", Outcome.SLOT_TAKEN), ("b", Outcome.SINGLE_PLACED)):
        world.worker(app, 0, leader_optional=True, **of_job("uid-set", f"{app}-exec", "StatefulSet"))
        assert world.schedule(f"{app}-exec-0").outcome is outcome


def test_a_leader_by_label_in_a_notebook_leads_the_executors_it_makes() -> None:
    world = World()
    world.add(node("n1", 8))
    notebook = world.leader("nb", spec(2), name="notebook")
    assert world.schedule("notebook").outcome is Outcome.ADMITTED
    world.worker("nb", 1, owner_ref=OwnerRef("Pod", "notebook", notebook.uid))
    assert world.schedule("nb-exec-1").outcome is Outcome.SLOT_TAKEN


@pytest.mark.parametrize("how", ["never seen", "deleted", "ended"])
def test_executors_whose_pod_is_gone_wait(how: str) -> None:
    world = World()
    world.add(node("n1", 4))
    notebook = world.foreign("notebook", "n1")
    world.worker("spark-1", 1, **by(notebook))
    if how == "never seen":
        world.change("spark-1-exec-1", owner_ref=OwnerRef("Pod", "other", "uid-other"))
    elif how == "deleted":
        world.delete("notebook")
    else:
        world.end("notebook")
    decision = world.filter("spark-1-exec-1")
    assert decision.outcome is Outcome.GANG_UNKNOWN
    assert "uid-" in decision.reason


# -- left over from an earlier run -------------------------------------------------------------


def test_executors_of_an_earlier_run_take_nothing_of_a_later_one_under_the_same_id() -> None:
    world = World()
    world.add(node("n1", 12))
    first = world.leader("a", spec(2), name="first")
    world.schedule("first")
    for number in (1, 2):
        world.worker("a", number, **by(first))
        world.schedule(f"a-exec-{number}")
    world.worker("a", 3, **by(first))
    world.delete("first")
    second = world.leader("a", spec(2), name="second")
    assert world.schedule("second").outcome is Outcome.ADMITTED
    assert world.slots("a") == [("n1", "")] * 2, "its own room, whatever still runs"
    assert world.filter("a-exec-3").outcome is Outcome.LEADER_ENDED
    for number in (4, 5):
        world.worker("a", number, **by(second))
        assert world.schedule(f"a-exec-{number}").outcome is Outcome.SLOT_TAKEN
    world.sound()
    world.restart()
    assert {pod for _, pod in world.slots("a")} == {"a-exec-4", "a-exec-5"}
    world.sound()


def test_the_size_of_an_earlier_runs_executors_says_nothing_of_the_later_ones() -> None:
    world = World()
    world.add(node("n1", 16))
    first = world.leader("a", spec(1), name="first")
    world.schedule("first")
    world.worker("a", 1, requests=size(4), **by(first))
    world.schedule("a-exec-1")
    world.delete("first")
    world.leader("a", spec(2), name="second")
    world.schedule("second")
    assert free_cpu(world, "n1") == 16_000 - 4_000 - 1_000 - 2 * 1_000


@pytest.mark.parametrize(
    ("theirs", "counts"),
    [
        (of_job("uid-now"), True),
        (of_job("uid-before"), False),
        (of_job("uid-workers", "train-workers"), True),
        (of_job("uid-set", kind="StatefulSet"), True),
        ({}, True),
    ],
    ids=["same Job", "the Job made again", "another Job", "a StatefulSet", "no controller"],
)
def test_workers_of_a_job_that_was_made_again_are_left_over(theirs: dict[str, Any], counts: bool) -> None:
    world = World()
    world.add(node("n1", 8))
    world.worker("g", 1, node="n1", phase="Running", **theirs)
    world.leader("g", spec(1), **of_job("uid-now"))
    world.schedule("g-driver")
    assert world.slots("g") == [("n1", "g-exec-1" if counts else "")]
    world.sound()


# -- bound by another scheduler ----------------------------------------------------------------


def test_executors_that_another_scheduler_binds_use_the_slots_of_their_gang() -> None:
    world = World()
    world.add(node("n1", 8))
    driver = world.leader("a", spec(2))
    world.schedule("a-driver")
    for number in (1, 2):
        world.worker("a", number, scheduler_name="default-scheduler", **by(driver))
    assert world.held() == {"n1": 2}, "until they are bound their room is kept"
    for number in (1, 2):
        world.change(f"a-exec-{number}", node="n1", phase="Running")
    assert world.held() == {}
    assert free_cpu(world, "n1") == 5_000
    world.sound()
    world.restart()
    assert {pod for _, pod in world.slots("a")} == {"a-exec-1", "a-exec-2"}
    world.delete("a-exec-1")
    assert world.held() == {"n1": 1}, "the place of one that is lost is held again"
    world.end("a-exec-2")
    assert world.held() == {"n1": 2}
    world.sound()


def test_workers_of_gangs_that_others_schedule_make_no_gang_here() -> None:
    world = World()
    world.add(node("n1", 8))
    world.worker("theirs", 1, scheduler_name="default-scheduler", node="n1", phase="Running")
    world.leader("ours", spec(0))
    assert [str(key) for key in world.store.state.gangs] == ["ns/ours"]
    world.delete("theirs-exec-1")
    assert not world.store.state.other_schedulers.of(next(iter(world.store.state.gangs)))


def test_a_gang_is_forgotten_with_its_leader_though_others_run_its_workers() -> None:
    world = World()
    world.add(node("n1", 8))
    driver = world.leader("a", spec(1))
    world.schedule("a-driver")
    world.worker("a", 1, scheduler_name="default-scheduler", node="n1", phase="Running", **by(driver))
    world.delete("a-driver")
    assert not world.store.state.gangs
    world.sound()
