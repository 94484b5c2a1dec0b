"""PCAPS over the store: executors that only unimportant stages could use wait for cleaner power."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, NoReturn

import hypothesis.strategies as st
import pytest
from hypothesis import given

from extender.core.carbon.signal import Signal
from extender.core.carbon.start.flexibility import Flexibility, HoldPolicy
from extender.core.carbon.width.pcaps import Candidate, admit
from extender.core.carbon.width.stage_deferral import TRUSTED_FOR_S
from extender.core.events import CarbonSeen, StagesReported, SwitchesSeen
from extender.core.facts import GangKey
from extender.core.gangs.spec import GangSpec
from extender.core.outcomes import Outcome
from extender.core.policy import CapPolicy, CarbonPolicy, PcapsPolicy, Policy, Switches
from extender.core.queries import stages_heard_s, target
from extender.core.stages.events import (
    JobEnded,
    JobStarted,
    MoreTasksEnded,
    StageCompleted,
    StageInfo,
    StageSubmitted,
)
from extender.core.stages.graph import StageGraph
from extender.core.stages.importance import Application, CriticalPath, Ranking, WeightedFair
from tests.gang.world import World, node, size

HOUR = 3600.0
DIRTY, CLEAN = 500.0, 100.0

LONG = StageInfo(1, 10, 4, name="long")
SIDE = StageInfo(2, 20, 40, name="side")
JOIN = StageInfo(3, 30, 40, parents=(1, 2), name="join")
DONE_WITH_LONG = (StageSubmitted(LONG, 0), StageCompleted(LONG, 1000))


def pcaps_world(gamma: float = 0.5, **carbon: object) -> World:
    policy = CarbonPolicy(pcaps=PcapsPolicy(True, gamma), **carbon)  # type: ignore[arg-type]
    world = World(Policy(carbon=policy))
    world.add(
        *(node(f"n{number}", 64, 256, labels={"carbon-scheduler/carbon-zone": "DE"}) for number in (1, 2))
    )
    return world


def signal(world: World, *values: float) -> None:
    seen = Signal(
        "DE",
        world.now,
        values[0],
        forecast=values,
        forecast_start_s=world.now,
        lower=min(values),
        upper=max(values),
    )
    world.do(world.store.apply(CarbonSeen(seen), world.now))


def running(world: World, app: str = "a", spec: GangSpec | None = None, least: int = 2) -> GangKey:
    """An application with its minimum of executors."""
    world.leader(app, spec or GangSpec(size(), least, 30))
    world.run(app, least)
    return GangKey("ns", app)


def report(world: World, key: GangKey, *events: object) -> None:
    world.do(world.store.apply(StagesReported(key, tuple(events)), world.now))  # type: ignore[arg-type]


def more(world: World, number: int, app: str = "a") -> Outcome:
    world.worker(app, number)
    return world.schedule(f"{app}-exec-{number}").outcome


def test_what_is_not_known_waits_for_nothing() -> None:
    world = pcaps_world(1.0)
    signal(world, DIRTY, CLEAN)
    key = running(world)
    assert target(world.store, key, world.now) is None
    assert more(world, 3) is Outcome.EXTRA_ADMITTED


def test_in_the_dirtiest_hour_only_stages_on_the_critical_path_get_executors() -> None:
    world = pcaps_world(0.5)
    signal(world, DIRTY, CLEAN)
    key = running(world)
    side = replace(SIDE, tasks=1)
    report(world, key, JobStarted(0, (replace(LONG, tasks=20), side, JOIN)))
    stages = {stage.stage_id: stage for stage in world.store.state.stages.priorities(key).ready}
    assert stages[1].importance == 1.0
    assert stages[2].importance < 1.0
    # 20 executors for the important stage, the share 1 - gamma of them at the dirtiest moment
    assert target(world.store, key, world.now) == 10
    assert [more(world, number) for number in range(3, 11)] == [Outcome.EXTRA_ADMITTED] * 8
    assert more(world, 11) is Outcome.DEFERRED_BY_IMPORTANCE


def test_a_stage_that_waits_is_named_though_important_ones_could_use_all_the_executors() -> None:
    """The maximum of the application is reached by one stage alone; the other one waits."""
    world = pcaps_world(1.0)
    signal(world, DIRTY, CLEAN)
    key = running(world, spec=GangSpec(size(), 1, 4), least=1)
    report(world, key, JobStarted(0, (replace(LONG, tasks=20), replace(SIDE, tasks=1), JOIN)))
    deferral = world.store.entitlements.stage_deferral.deferral(key, world.now)
    assert deferral is not None
    assert (deferral.wanted, deferral.let_in, deferral.deferred) == (4, 1, (2,))
    assert target(world.store, key, world.now) == 1


def test_as_many_are_woken_as_there_is_need_for() -> None:
    world = pcaps_world(0.5)
    signal(world, DIRTY, CLEAN)
    key = running(world)
    report(world, key, JobStarted(0, (replace(LONG, tasks=4),)))
    assert target(world.store, key, world.now) == 2
    assert {more(world, number) for number in range(3, 13)} == {Outcome.DEFERRED_BY_IMPORTANCE}
    world.tick(1)
    assert not world.woken
    report(world, key, JobStarted(1, (StageInfo(5, 50, 10),)))
    wanted = target(world.store, key, world.now)
    assert wanted == 5, "the stage of 4 tasks is not on the critical path any more"
    world.tick(1)
    assert len(world.woken) == 3
    assert {world.schedule(name).outcome for name in world.woken} == {Outcome.EXTRA_ADMITTED}
    world.woken.clear()
    signal(world, CLEAN, DIRTY)
    world.tick(1)
    assert len(world.woken) == 7
    assert target(world.store, key, world.now) is None, "the cleanest moment limits nothing"


@pytest.mark.parametrize("gamma", [0.5, 0.9])
@pytest.mark.parametrize("intensity", [DIRTY, 300.0, 150.0])
def test_what_waits_is_not_let_in_because_little_is_left(gamma: float, intensity: float) -> None:
    """Until the cleanest moment an application has no more executors than its open tasks can use."""
    world = pcaps_world(gamma)
    signal(world, intensity, CLEAN, DIRTY)
    key = running(world)
    tasks = 12
    report(world, key, JobStarted(0, (replace(LONG, tasks=tasks),)))
    for number in range(3, 20):
        more(world, number)
    joined = world.store.state.workers_counted(world.store.state.gangs[key])
    for left in range(tasks, 0, -1):
        wanted = target(world.store, key, world.now)
        assert wanted is not None
        assert 2 <= wanted <= max(2, left)
        world.tick(20)
        assert not world.woken
        report(world, key, MoreTasksEnded(1, 0, 1, 1000))
    assert world.store.state.workers_counted(world.store.state.gangs[key]) == joined


def test_an_application_may_always_have_one_executor() -> None:
    """With dynamic allocation the minimum is often 0, and a graph may lag behind."""
    world = pcaps_world(1.0)
    signal(world, DIRTY, CLEAN)
    key = running(world, spec=GangSpec(size(), 0, 30), least=0)
    report(world, key, JobStarted(0, (LONG,)), *DONE_WITH_LONG, JobEnded(0))
    assert target(world.store, key, world.now) == 1
    assert [more(world, number) for number in (1, 2)] == [
        Outcome.EXTRA_ADMITTED,
        Outcome.DEFERRED_BY_IMPORTANCE,
    ]


def test_between_jobs_the_minimum_is_enough_while_it_is_dirty() -> None:
    world = pcaps_world(0.5)
    signal(world, DIRTY, CLEAN)
    key = running(world)
    report(world, key, JobStarted(0, (LONG,)), *DONE_WITH_LONG, JobEnded(0))
    assert target(world.store, key, world.now) == 2
    assert more(world, 3) is Outcome.DEFERRED_BY_IMPORTANCE


def test_a_graph_that_lacks_its_beginning_says_nothing_of_idleness() -> None:
    """After a restart the agent goes on with tasks of stages that it announced before."""
    world = pcaps_world(0.5)
    signal(world, DIRTY, CLEAN)
    key = running(world)
    report(world, key, MoreTasksEnded(7, 0, 3, 900))
    assert target(world.store, key, world.now) is None
    assert more(world, 3) is Outcome.EXTRA_ADMITTED
    report(world, key, JobStarted(0, (LONG,)), *DONE_WITH_LONG, JobEnded(0))
    assert target(world.store, key, world.now) is None
    report(world, key, JobStarted(1, (StageInfo(9, 90, 2),)))
    assert target(world.store, key, world.now) == 2, "what is known counts"


def test_a_graph_of_which_nothing_is_heard_any_more_is_not_believed() -> None:
    world = pcaps_world(0.5)
    signal(world, *[DIRTY] * 5, CLEAN)
    key = running(world)
    report(world, key, JobStarted(0, (replace(LONG, tasks=2),)))
    assert more(world, 3) is Outcome.DEFERRED_BY_IMPORTANCE
    world.tick(TRUSTED_FOR_S - 1)
    report(world, key)
    world.tick(TRUSTED_FOR_S - 1)
    assert not world.woken, "a report without events is a sign of life"
    world.tick(2)
    assert world.woken == ["a-exec-3"]
    assert world.schedule("a-exec-3").outcome is Outcome.EXTRA_ADMITTED


def test_what_waits_is_woken_when_nobody_knows_the_intensity_any_more() -> None:
    world = pcaps_world(0.5, stale_after_s=600.0)
    signal(world, *[DIRTY] * 5, CLEAN)
    key = running(world)
    report(world, key, JobStarted(0, (replace(LONG, tasks=2),)))
    assert more(world, 3) is Outcome.DEFERRED_BY_IMPORTANCE
    for _ in range(59):
        world.tick(10)
        report(world, key)
    assert not world.woken
    world.tick(11)
    assert world.woken == ["a-exec-3"]
    assert world.schedule("a-exec-3").outcome is Outcome.EXTRA_ADMITTED


def test_it_can_be_turned_off_while_all_runs() -> None:
    world = pcaps_world(0.5)
    signal(world, DIRTY, CLEAN)
    key = running(world)
    report(world, key, JobStarted(0, (replace(LONG, tasks=2),)))
    assert more(world, 3) is Outcome.DEFERRED_BY_IMPORTANCE
    world.tell(SwitchesSeen(Switches(pcaps=False)))
    world.tick(1)
    assert world.woken == ["a-exec-3"]
    world.tell(SwitchesSeen(Switches()))
    assert target(world.store, key, world.now) == 2


def test_each_application_is_judged_by_its_own_grid() -> None:
    world = pcaps_world(0.5)
    signal(world, DIRTY, CLEAN)
    here = running(world)
    for name in ("n1", "n2"):
        world.add(replace(world.nodes[name], unschedulable=True))
    world.add(node("clean", 64, 256, labels={"carbon-scheduler/carbon-zone": "SE"}))
    seen = Signal("SE", world.now, CLEAN, forecast=(CLEAN, DIRTY), forecast_start_s=world.now)
    world.do(world.store.apply(CarbonSeen(seen), world.now))
    there = running(world, "b")
    for key in (here, there):
        report(world, key, JobStarted(0, (replace(LONG, tasks=20),)))
    assert target(world.store, here, world.now) == 10
    assert target(world.store, there, world.now) is None


def test_a_restart_keeps_what_the_application_allows() -> None:
    world = pcaps_world(0.5, cap=CapPolicy(enabled=True, min_executors=2, max_executors=10, hysteresis=0))
    signal(world, *[DIRTY] * 9, CLEAN)
    allowed = Flexibility(HoldPolicy.CAP, world.now + 3 * HOUR, None, 2 * HOUR)
    running(world, spec=GangSpec(size(), 2, 4, flexibility=allowed))
    world.now += 2 * HOUR
    world.restart()
    signal(world, *[DIRTY] * 9, CLEAN)
    world.tick(1)
    assert more(world, 3) is Outcome.EXTRA_ADMITTED, "past its latest start"


def test_what_was_refused_before_a_restart_is_woken_when_nothing_refuses_it_any_more() -> None:
    """kube-scheduler asks for it only once in five minutes by itself."""
    world = pcaps_world(0.5)
    signal(world, *[DIRTY] * 9, CLEAN)
    key = running(world)
    report(world, key, JobStarted(0, (replace(LONG, tasks=2),)))
    assert {more(world, number) for number in (3, 4)} == {Outcome.DEFERRED_BY_IMPORTANCE}
    world.restart()
    world.tick(1)
    world.worker("a", 5)
    signal(world, CLEAN, DIRTY)
    for _ in range(12):
        world.tick(1)
    assert not world.woken
    for _ in range(30):
        world.tick(1)
    assert world.woken == ["a-exec-3", "a-exec-4", "a-exec-5"], "each once"
    assert more(world, 6) is Outcome.EXTRA_ADMITTED


def test_one_that_says_none_is_never_slowed_down() -> None:
    world = pcaps_world(1.0, cap=CapPolicy(enabled=True, min_executors=2, max_executors=10, hysteresis=0))
    signal(world, DIRTY, CLEAN)
    key = running(world, spec=GangSpec(size(), 2, 4, flexibility=Flexibility(HoldPolicy.NONE)))
    report(world, key, JobStarted(0, (replace(LONG, tasks=2),)))
    assert more(world, 3) is Outcome.EXTRA_ADMITTED


def test_a_driver_annotated_while_it_runs_is_not_slowed_down_any_more() -> None:
    world = pcaps_world(0.5)
    signal(world, DIRTY, CLEAN)
    spec = GangSpec(size(), 2, 8)
    key = running(world, spec=spec)
    report(world, key, JobStarted(0, (replace(LONG, tasks=2),)))
    assert more(world, 3) is Outcome.DEFERRED_BY_IMPORTANCE
    leader = world.pods[world.uid("a-driver")]
    world.configure(leader, replace(spec, flexibility=Flexibility(HoldPolicy.NONE)))
    world.tick(1)
    assert world.woken == ["a-exec-3"]


def test_a_request_touches_no_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    world = pcaps_world(0.5)
    signal(world, DIRTY, CLEAN)
    key = running(world)
    report(world, key, JobStarted(0, (replace(LONG, tasks=6), SIDE, JOIN)))

    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError("a graph was looked at")

    def asked(number: int) -> Outcome:
        with monkeypatch.context() as patched:
            for name in ("apply", "set_slots", "ready", "live", "remaining_s", "slack_s"):
                patched.setattr(StageGraph, name, refuse)
            outcome = more(world, number)  # filter, bind, and what follows from the binding
            pod = world.pods[world.uid(f"a-exec-{number}")]
            assert len(world.store.prioritize(pod, ["n1", "n2"], world.now)) == 2
        return outcome

    assert asked(3) is Outcome.EXTRA_ADMITTED
    signal(world, 450.0, CLEAN, DIRTY)
    world.tick(1)
    assert asked(40) in (Outcome.EXTRA_ADMITTED, Outcome.DEFERRED_BY_IMPORTANCE)


def test_a_report_of_one_application_judges_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    world = pcaps_world(0.5)
    signal(world, DIRTY, CLEAN)
    one, other = running(world), running(world, "b")
    for key in (one, other):
        report(world, key, JobStarted(0, (replace(LONG, tasks=8),)))
        assert target(world.store, key, world.now) == 4
    judged: list[int] = []

    def count(candidates: Sequence[Candidate[int]], *rest: Any, **more: Any) -> Any:
        judged.append(len(candidates))
        return admit(candidates, *rest, **more)

    monkeypatch.setattr("extender.core.carbon.width.stage_deferral.admit", count)
    report(world, one, MoreTasksEnded(1, 0, 4, 4000))
    assert [target(world.store, key, world.now) for key in (one, other, one, other)] == [2, 4, 2, 4]
    assert len(judged) == 1


def test_the_most_important_stage_of_the_zone_sets_the_scale() -> None:
    """Under weighted-fair: the one that has more executors than its share is served less."""
    world = pcaps_world(0.5)
    world.store.state.stages.use(WeightedFair())
    signal(world, DIRTY, CLEAN)
    small, large = running(world), running(world, "b", least=12)
    for key in (small, large):
        report(world, key, JobStarted(0, (replace(LONG, tasks=30),)))
    world.tick(1)
    assert target(world.store, small, world.now) == 15
    assert target(world.store, large, world.now) == 12, "its minimum, and no more"
    world.delete("a-driver")
    world.tick(1)
    assert target(world.store, large, world.now) == 15, "nobody is more important now"


def test_another_scale_is_another_verdict() -> None:
    """The same stages of the same grid, but now something more important is there."""
    world = pcaps_world(0.5)
    ranks = {"a": 0.2, "b": 0.8}

    class Told(CriticalPath):
        def rank(
            self, applications: Mapping[GangKey, Application], changed: Collection[GangKey]
        ) -> Mapping[GangKey, Ranking]:
            return {
                key: Ranking(dict.fromkeys(applications[key].graph.live(), ranks[key.app_id]))
                for key in changed
            }

    world.store.state.stages.use(Told())
    signal(world, DIRTY, CLEAN)
    first, second = running(world), running(world, "b")
    report(world, first, JobStarted(0, (replace(LONG, tasks=20),)))
    assert target(world.store, first, world.now) == 10, "alone it is the most important one"
    report(world, second, JobStarted(0, (replace(LONG, tasks=20),)))
    world.tick(1)
    assert target(world.store, first, world.now) == 2
    assert target(world.store, second, world.now) == 10


def test_what_a_driver_says_of_its_executors_later_counts() -> None:
    world = pcaps_world(0.5)
    signal(world, DIRTY, CLEAN)
    spec = GangSpec(size(), 2, 30)
    key = running(world, spec=spec)
    report(world, key, JobStarted(0, (replace(LONG, tasks=40),)))
    assert target(world.store, key, world.now) == 15
    world.configure(world.pods[world.uid("a-driver")], replace(spec, worker_slots=4))
    assert target(world.store, key, world.now) == 5


def test_what_an_application_may_have_at_most_is_narrowed_and_not_what_its_tasks_could_use() -> None:
    world = pcaps_world(0.5)
    signal(world, DIRTY, CLEAN)
    key = running(world, spec=GangSpec(size(), 2, 20))
    report(world, key, JobStarted(0, (replace(LONG, tasks=400),)))
    assert target(world.store, key, world.now) == 10


def test_a_heavier_application_has_a_larger_share() -> None:
    world = pcaps_world(0.5)
    world.store.state.stages.use(WeightedFair())
    light, heavy = running(world), running(world, "b", GangSpec(size(), 2, 30, weight=3))
    for key in (light, heavy):
        report(world, key, JobStarted(0, (LONG,)))
    world.tick(1)
    stages = world.store.state.stages
    assert [stages.priority(key) for key in (light, heavy)] == pytest.approx([1 / 3, 3 / 5])


def test_a_limit_of_the_policy_is_shared_out_by_importance() -> None:
    """Decima says how many executors an application should have; PCAPS narrows that."""

    class Narrow(CriticalPath):
        def rank(
            self, applications: Mapping[GangKey, Application], changed: Collection[GangKey]
        ) -> Mapping[GangKey, Ranking]:
            found = super().rank(applications, changed)
            return {key: replace(each, executor_limit=12) for key, each in found.items()}

    world = pcaps_world(0.5)
    world.store.state.stages.use(Narrow())
    signal(world, DIRTY, CLEAN)
    key = running(world)
    report(world, key, JobStarted(0, (replace(LONG, tasks=20), replace(SIDE, tasks=20))))
    deferral = world.store.entitlements.stage_deferral.deferral(key, world.now)
    assert deferral is not None
    assert (deferral.wanted, deferral.let_in) == (12, 6)


def test_policies_are_offered_the_room_there_is_for_an_applications_executors() -> None:
    offers: list[int] = []

    class Watching(CriticalPath):
        costly = True

        def rank(
            self, applications: Mapping[GangKey, Application], changed: Collection[GangKey]
        ) -> Mapping[GangKey, Ranking]:
            offers.extend(application.offered for application in applications.values())
            return super().rank(applications, changed)

    world = World(Policy(carbon=CarbonPolicy(pcaps=PcapsPolicy(True, 0.5))))
    world.add(node("n1", 8, 64), node("n2", 3, 64))
    world.store.state.stages.use(Watching())
    key = running(world, spec=GangSpec(size(), 2, 30))
    report(world, key, JobStarted(0, (LONG,)))
    world.tick(1)
    assert offers == [11 - 3], "three pods of one core run"


def test_stages_of_a_gang_that_is_gone_are_forgotten() -> None:
    world = pcaps_world()
    key = running(world)
    report(world, key, JobStarted(0, (LONG,)))
    assert key in world.store.state.stages
    for pod in [*world.pods.values()]:
        world.delete(pod.name)
    assert key not in world.store.state.stages
    assert stages_heard_s(world.store, key) is None
    report(world, key, JobStarted(0, (LONG,)))
    assert key not in world.store.state.stages, "nobody knows that gang"


def test_another_run_under_the_same_name_knows_nothing_of_the_first_ones_stages() -> None:
    world = pcaps_world()
    key = running(world)
    report(world, key, JobStarted(0, (LONG,)))
    leader = world.pods[world.uid("a-driver")]
    world.configure(leader, GangSpec(size(), 2, 30))
    assert key in world.store.state.stages, "read anew, the same run"
    world.delete("a-driver")
    world.leader("a", GangSpec(size(), 2, 30), uid="uid-of-the-second")
    assert world.schedule("a-driver").outcome is Outcome.ADMITTED
    assert key not in world.store.state.stages


def test_another_context_of_a_driver_counts_from_nothing() -> None:
    world = pcaps_world()
    key = running(world)
    report(world, key, JobStarted(0, (LONG,)), *DONE_WITH_LONG, JobEnded(0))
    again = StagesReported(key, (JobStarted(0, (replace(LONG, tasks=9),)),), restarted=True)
    world.tell(again)
    (stage,) = world.store.state.stages.priorities(key).ready
    assert (stage.stage_id, stage.open_tasks) == (1, 9)


@given(
    gamma=st.floats(0, 1),
    values=st.lists(st.one_of(st.floats(0, 3000), st.just(float("nan"))), min_size=1, max_size=6),
    tasks=st.lists(st.integers(0, 60), min_size=1, max_size=4),
    deadline_h=st.none() | st.floats(0, 3),
    delay_h=st.none() | st.floats(0, 3),
    passed_h=st.floats(0, 3),
)
def test_carbon_slows_nobody_past_the_latest_start_and_takes_nobodys_minimum(
    gamma: float,
    values: list[float],
    tasks: list[int],
    deadline_h: float | None,
    delay_h: float | None,
    passed_h: float,
) -> None:
    """Invariants 7 and 8."""
    world = pcaps_world(gamma, cap=CapPolicy(enabled=True, min_executors=1, max_executors=10, hysteresis=0))
    flexibility = Flexibility(
        HoldPolicy.THRESHOLD,
        None if deadline_h is None else world.now + HOUR + deadline_h * HOUR,
        None if delay_h is None else delay_h * HOUR,
        HOUR,
    )
    key = running(world, spec=GangSpec(size(), 2, 30, flexibility=flexibility))
    created = next(pod.created_s for pod in world.pods.values() if pod.role == "leader")
    world.now += passed_h * HOUR
    signal(world, *values)
    jobs = [JobStarted(n, (StageInfo(n, 100 + n, count),)) for n, count in enumerate(tasks)]
    report(world, key, *jobs)
    wanted = target(world.store, key, world.now)
    assert wanted is None or 2 <= wanted <= 30
    outcome = more(world, 3)
    allowed = flexibility.deadline_s is not None or flexibility.max_delay_s is not None
    if allowed and world.now >= flexibility.latest_start_s(created):
        assert outcome is Outcome.EXTRA_ADMITTED
    if world.store.state.carbon.value("DE", world.now) is None:
        assert outcome is Outcome.EXTRA_ADMITTED
