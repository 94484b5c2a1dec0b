"""The phases of a gang: one table of transitions, and a story that says how each came about."""

from __future__ import annotations

import pytest

from extender.core.carbon.signal import Signal
from extender.core.carbon.start.flexibility import Flexibility, HoldPolicy
from extender.core.events import CarbonSeen
from extender.core.facts import GangKey
from extender.core.gangs.gang import Gang
from extender.core.gangs.phases import TRANSITIONS, IllegalTransition, Phase, enter
from extender.core.gangs.story import MOST_ENTRIES, Story
from extender.core.outcomes import Outcome
from extender.core.queries import application
from tests.gang.world import World, node, spec

KEY = GangKey("ns", "a")


def phases(world: World) -> list[Phase]:
    """The phases of gang `a` so far, each one once."""
    found = application(world.store, *KEY, world.now)
    assert found is not None
    out: list[Phase] = []
    for entry in found.story:
        if not out or out[-1] != entry.phase:
            out.append(Phase(entry.phase))
    return out


def last(world: World) -> str:
    """The reason of the last entry."""
    found = application(world.store, *KEY, world.now)
    assert found is not None
    return found.story[-1].why


@pytest.mark.parametrize("origin", list(Phase))
@pytest.mark.parametrize("to", list(Phase))
def test_the_table_is_the_law(origin: Phase, to: Phase) -> None:
    gang = Gang(KEY, phase=origin)
    if to in TRANSITIONS[origin]:
        enter(gang, to, 1.0, "why")
        assert gang.phase is to
        assert [(each.at_s, each.phase, each.why) for each in gang.story] == [(1.0, to, "why")]
    else:
        with pytest.raises(IllegalTransition, match=f"from {origin} to {to}"):
            enter(gang, to, 1.0, "why")
        assert gang.phase is origin
        assert not list(gang.story)


def test_every_phase_is_reached_and_only_one_is_the_end() -> None:
    reached = {phase for following in TRANSITIONS.values() for phase in following}
    assert reached == set(Phase) - {Phase.LEADERLESS}
    assert [phase for phase in Phase if not TRANSITIONS[phase]] == [Phase.GONE]


def test_a_life() -> None:
    world = World()
    world.add(node("n1"))
    world.leader("a", spec(2))
    world.run("a", 2)
    world.end("a-driver")
    assert phases(world) == [Phase.WAITING, Phase.ADMITTED, Phase.RUNNING, Phase.ENDING]
    assert last(world) == "leader a-driver ended (Succeeded)"
    story = application(world.store, *KEY, world.now).story  # type: ignore[union-attr]
    assert [each.why for each in story][1:3] == [
        "room is reserved: leader on n1, workers: 2 on n1",
        "leader a-driver is bound to n1",
    ]
    for name in ("a-driver", "a-exec-1", "a-exec-2"):
        world.delete(name)
    assert KEY not in world.store.state.gangs


def test_a_refusal_and_an_admission_that_nobody_bound_are_told() -> None:
    world = World()
    world.add(node("n1", 2))
    world.leader("a", spec(2))
    world.filter("a-driver")
    assert last(world).startswith("refused: exceeds-cluster: ")
    world.add(node("n1", 8))
    world.filter("a-driver")
    world.tick(61)
    assert phases(world) == [Phase.WAITING, Phase.ADMITTED, Phase.WAITING]
    assert last(world) == "kube-scheduler did not bind it in time"


def test_a_hold_is_a_phase_with_its_reason() -> None:
    world = World(now=10_000.0)
    world.add(node("n1", labels={"carbon-scheduler/carbon-zone": "z"}))
    clean, dirty = (100.0,) * 10, (500.0,)
    world.tell(
        CarbonSeen(
            Signal("z", world.now, 500.0, forecast=dirty + clean, forecast_start_s=world.now, step_s=3600.0)
        )
    )
    may_wait = Flexibility(HoldPolicy.THRESHOLD, max_delay_s=20_000.0)
    world.leader("a", spec(1, flexibility=may_wait))
    decision = world.filter("a-driver")
    assert decision.outcome is Outcome.HELD_FOR_CARBON
    assert phases(world) == [Phase.WAITING, Phase.HELD]
    assert last(world) == decision.detail
    world.tick(20_001)
    assert world.schedule("a-driver").outcome is Outcome.ADMITTED
    assert phases(world)[1:] == [Phase.HELD, Phase.ADMITTED, Phase.RUNNING]


def test_after_a_restart_a_bound_leader_runs_and_one_without_a_request_has_no_reservation() -> None:
    world = World()
    world.add(node("n1"))
    world.leader("a", spec(1))
    world.run("a", 1)
    world.restart()
    assert phases(world)[-1] is Phase.RUNNING
    world.change("a-driver", annotations={})
    world.specs.clear()
    world.restart()
    assert phases(world)[-1] is Phase.UNRESERVED


def test_a_story_is_bounded_and_says_nothing_twice() -> None:
    story = Story()
    for number in range(3 * MOST_ENTRIES):
        story.add(number, Phase.WAITING, f"refused {number}")
        story.add(number, Phase.WAITING, f"refused {number}")
    assert len(list(story)) == MOST_ENTRIES
    assert [each.why for each in story][-1] == f"refused {3 * MOST_ENTRIES - 1}"
