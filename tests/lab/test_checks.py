"""The checks fail when what they look for goes wrong, and only then."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extender.core.gangs.reservation import RESERVATION
from extender.lab.checks import LET_GO_S, MOVE_WITHIN_S, Checker, Invariant
from extender.lab.cluster import plain_pod
from extender.lab.records import fits
from extender.lab.registry import NODE, POD, Object, Registry, key_of, uid_of
from extender.lab.scheduler import Attempt
from extender.lab.spark import NAMESPACE, OUR_SCHEDULER, SparkApplication, driver_pod, executor_pod
from tests.lab.support import application, reservation, small_nodes


class Stage:
    """Three nodes of four cores, and a clock that is moved by hand."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.registry = Registry(clock=lambda: self.now_s)
        self.checker = Checker(self.registry, lambda: self.now_s)
        for each in small_nodes(3):
            self.registry.create(NODE, each)

    def submit(self, app: SparkApplication) -> Object:
        driver = self.registry.create(POD, driver_pod(app))
        self.checker.submitted(app, driver)
        return driver

    def attempt(self, pod: Object, node: str = "") -> None:
        self.checker.attempted(Attempt(OUR_SCHEDULER, pod, node, "", True, self.registry.version))

    def bind(self, pod: Object, node: str, **annotations: str) -> None:
        metadata = {"uid": uid_of(pod), "annotations": annotations}
        self.registry.bind(*key_of(pod), {"metadata": metadata, "target": {"name": node}})

    def admit(self, app: SparkApplication, node: str, slots: dict[str, int]) -> Object:
        driver = self.submit(app)
        self.start(app, driver, node, slots)
        return driver

    def start(self, app: SparkApplication, driver: Object, node: str, slots: dict[str, int]) -> None:
        self.attempt(driver, node)
        self.bind(driver, node, **{RESERVATION: reservation(slots, app)})

    def executor(self, app: SparkApplication, number: int, driver: Object, node: str) -> None:
        self.bind(self.registry.create(POD, executor_pod(app, number, driver)), node)

    def foreign(self, cpu_milli: int, node: str) -> None:
        pod = plain_pod(f"web-{self.registry.version}", cpu_milli, 16)
        self.bind(self.registry.create(POD, pod), node)

    def end(self, driver: Object) -> None:
        self.registry.merge_patch(POD, *key_of(driver), {"status": {"phase": "Succeeded"}}, status=True)

    @property
    def broken(self) -> set[Invariant]:
        assert self.registry.listener_failure is None
        return set(self.checker.broken)


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_a_sound_life_breaks_nothing(stage: Stage) -> None:
    app = application(executors=3)
    driver = stage.admit(app, "n1", {"n1": 1, "n2": 2})
    for number, node in enumerate(("n2", "n1", "n2"), 1):
        stage.executor(app, number, driver, node)
    stage.end(driver)
    assert stage.broken == set()
    assert stage.checker.checked[Invariant.ROOM_FOR_MINIMUM] >= 5
    assert stage.checker.checked[Invariant.NODE_NOT_OVERCOMMITTED] == 4
    assert stage.checker.checked[Invariant.EXECUTOR_ON_ELIGIBLE_NODE] == 4


def test_an_overcommitted_node(stage: Stage) -> None:
    stage.foreign(3000, "n1")
    assert stage.broken == set()
    stage.foreign(1500, "n1")
    assert stage.broken == {Invariant.NODE_NOT_OVERCOMMITTED}
    assert "n1" in stage.checker.broken[Invariant.NODE_NOT_OVERCOMMITTED][0]


def test_room_of_ended_and_deleted_pods_is_free_again(stage: Stage) -> None:
    app = application(executors=0)
    driver = stage.admit(app, "n1", {})
    stage.end(driver)
    stage.foreign(4000, "n1")
    assert stage.broken == set()
    stage.registry.delete(POD, *key_of(driver))
    stage.foreign(1, "n1")
    assert stage.broken == {Invariant.NODE_NOT_OVERCOMMITTED}


def test_a_driver_without_reservation(stage: Stage) -> None:
    driver = stage.submit(application())
    stage.bind(driver, "n1")
    assert stage.broken == {Invariant.ROOM_FOR_MINIMUM}


def test_a_driver_with_too_few_slots(stage: Stage) -> None:
    stage.admit(application(executors=3), "n1", {"n2": 2})
    assert stage.broken == {Invariant.ROOM_FOR_MINIMUM}


def test_slots_that_do_not_fit_their_node(stage: Stage) -> None:
    stage.admit(application(executors=5), "n1", {"n2": 5})
    assert stage.broken == {Invariant.ROOM_FOR_MINIMUM}


def test_slots_that_are_promised_twice(stage: Stage) -> None:
    stage.admit(application("a", executors=3), "n1", {"n2": 3})
    stage.admit(application("b", executors=3), "n1", {"n2": 1, "n3": 2})
    assert stage.broken == set()
    stage.admit(application("c", executors=1), "n3", {"n2": 1})
    assert stage.broken == {Invariant.ROOM_FOR_MINIMUM}


def test_a_slot_that_another_gang_s_executor_takes(stage: Stage) -> None:
    stage.admit(application("a", executors=4), "n1", {"n2": 4})
    app = application("b", executors=1)
    driver = stage.admit(app, "n1", {"n3": 1})
    assert stage.broken == set()
    stage.executor(app, 1, driver, "n2")
    assert stage.broken == {Invariant.ROOM_FOR_MINIMUM}


def test_foreign_pods_may_displace_slots_for_a_while(stage: Stage) -> None:
    app = application("a", executors=4)
    driver = stage.admit(app, "n1", {"n2": 4})
    stage.foreign(1000, "n2")
    assert stage.checker.displaced == 1
    stage.executor(app, 1, driver, "n2")
    assert stage.broken == set()
    stage.now_s += MOVE_WITHIN_S
    stage.executor(app, 2, driver, "n2")
    assert stage.broken == {Invariant.ROOM_FOR_MINIMUM}


def test_a_moved_slot_is_seen_before_it_is_written_down(stage: Stage) -> None:
    app = application("a", executors=2)
    driver = stage.admit(app, "n1", {"n2": 2})
    stage.executor(app, 1, driver, "n3")
    stage.admit(application("b", executors=3), "n1", {"n2": 3})
    assert stage.broken == set()


def test_executors_on_nodes_that_are_not_for_them(stage: Stage) -> None:
    app = application(template={"disk": "ssd"}, executors=1)
    for name in ("n1", "n2"):
        stage.registry.merge_patch(NODE, "", name, {"metadata": {"labels": {"disk": "ssd"}}})
    driver = stage.admit(app, "n1", {"n2": 1})
    assert stage.broken == set()
    stage.executor(app, 1, driver, "n3")
    assert stage.broken == {Invariant.EXECUTOR_ON_ELIGIBLE_NODE}


@pytest.mark.parametrize("slot", ["n3", "nowhere"])
def test_slots_on_nodes_that_are_not_for_them(stage: Stage, slot: str) -> None:
    stage.registry.merge_patch(NODE, "", "n3", {"spec": {"unschedulable": True}})
    stage.admit(application(executors=1), "n1", {slot: 1})
    assert Invariant.EXECUTOR_ON_ELIGIBLE_NODE in stage.broken


def test_what_can_never_run_is_started(stage: Stage) -> None:
    stage.admit(application(admissible=False, executors=1), "n1", {"n2": 1})
    assert stage.broken == {Invariant.INADMISSIBLE_NEVER_STARTS}


def test_a_younger_gang_that_takes_the_older_one_s_room(stage: Stage) -> None:
    large = application("large", executors=11)
    stage.attempt(stage.submit(large))
    stage.now_s += 1
    small = application("small", executors=1)
    stage.admit(small, "n1", {"n1": 1})
    assert stage.broken == {Invariant.FIRST_IN_FIRST_OUT}
    assert "small was admitted before large" in stage.checker.broken[Invariant.FIRST_IN_FIRST_OUT][0]


@pytest.mark.parametrize(
    ("older", "younger"),
    [
        ({"executors": 8}, {}),  # both fit
        ({"executors": 11}, {"pool": "batch"}),  # another queue
        ({"executors": 11}, {"priority": 10}),  # ahead in the queue
        ({"executors": 11, "admissible": False}, {}),  # will never run
    ],
)
def test_a_younger_gang_that_may_go_first(
    stage: Stage, older: dict[str, Any], younger: dict[str, Any]
) -> None:
    for name in ("n1", "n2", "n3"):
        stage.registry.merge_patch(
            NODE, "", name, {"metadata": {"labels": {"carbon-scheduler/pool": "batch"}}}
        )
    stage.attempt(stage.submit(application("older", **older)))
    stage.now_s += 1
    stage.admit(application("younger", executors=1, **younger), "n1", {"n1": 1})
    assert stage.broken == set()


def test_a_gang_counts_as_waiting_once_the_extender_must_know_it(stage: Stage) -> None:
    stage.submit(application("large", executors=11))
    stage.now_s += 1
    stage.admit(application("quick", executors=1), "n1", {"n1": 1})
    assert stage.broken == set()
    stage.now_s += 1
    stage.admit(application("slow", executors=1), "n1", {"n2": 1})
    assert stage.broken == {Invariant.FIRST_IN_FIRST_OUT}


def summary(app: SparkApplication, slots: int) -> dict[str, Any]:
    return {"namespace": NAMESPACE, "app_id": app.app_id, "slots": slots}


def test_a_gang_that_has_ended_and_still_holds_slots(stage: Stage) -> None:
    app = application()
    stage.end(stage.admit(app, "n1", {"n2": 2}))
    stage.checker.saw_applications([summary(app, 2)], stage.now_s + LET_GO_S - 1)
    assert stage.checker.checked[Invariant.ENDED_GANG_HOLDS_NOTHING] == 0
    stage.checker.saw_applications([summary(app, 2)], stage.now_s + LET_GO_S)
    assert stage.broken == {Invariant.ENDED_GANG_HOLDS_NOTHING}


def nodes_view(used: dict[str, dict[str, int]], held: int = 0) -> list[dict[str, Any]]:
    return [
        {"name": name, "used": used.get(name, {}), "reserved": {"cpu": held, "pods": 0}}
        for name in ("n1", "n2", "n3")
    ]


def test_accounts_at_the_end(stage: Stage) -> None:
    stage.foreign(500, "n1")
    right = {"n1": {"cpu": 500, "memory": 16 << 20, "pods": 1, "nvidia.com/gpu": 0}}
    assert stage.checker.agrees(nodes_view(right), [])
    stage.checker.saw_last(nodes_view(right), [])
    assert stage.broken == set()
    assert not stage.checker.agrees(nodes_view({}), [])
    stage.checker.saw_last(nodes_view({}), [])
    assert stage.broken == {Invariant.EXTENDER_AGREES}


def test_room_that_is_held_for_nobody_at_the_end(stage: Stage) -> None:
    stage.checker.saw_last(nodes_view({}, held=1000), [])
    assert stage.broken == {Invariant.ENDED_GANG_HOLDS_NOTHING}


def test_an_idle_cluster_in_which_somebody_waits(stage: Stage) -> None:
    stage.submit(application("lost"))
    stage.submit(application("hopeless", admissible=False))
    stage.checker.came_to_rest(5.0, 10.0)
    assert stage.broken == set()
    stage.checker.came_to_rest(10.0, 10.0)
    assert stage.broken == {Invariant.ADMISSIBLE_IS_ADMITTED}
    assert "lost" in stage.checker.broken[Invariant.ADMISSIBLE_IS_ADMITTED][0]
    assert "hopeless" not in stage.checker.broken[Invariant.ADMISSIBLE_IS_ADMITTED][0]


@given(
    cores=st.lists(st.integers(0, 6), min_size=1, max_size=5),
    executors=st.integers(0, 8),
    size=st.integers(1, 3),
)
def test_fits_is_what_trying_every_place_says(cores: list[int], executors: int, size: int) -> None:
    app = application(executors=executors, cores=size)
    free = [{"cpu": 1000 * each, "memory": 1 << 50, "pods": 100} for each in cores]
    tried = any(
        each >= 1 and sum((c - (index == place)) // size for index, c in enumerate(cores)) >= executors
        for place, each in enumerate(cores)
    )
    assert fits(free, app) == tried
