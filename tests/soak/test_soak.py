"""Whatever befalls a whole cluster, the invariants hold; and the simulation finds what it is there to find.

`python -m tests.soak --seed N` tells the story of one seed, with the steps that it needs; `make soak` runs
10,000.
"""

from __future__ import annotations

import os
from itertools import count

import pytest

from tests.soak.__main__ import shrunk, tell
from tests.soak.mutations import MUTATIONS
from tests.soak.plan import PLACES, Step, everything, killed, plan, rewritten
from tests.soak.world import simulate

SEEDS = int(os.environ.get("SOAK_SEEDS", "500"))
PORTION = 20
SEEDS_TO_FIND = 10
AT_ONCE = 4


@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", range(0, SEEDS, PORTION))
def test_invariants_hold(first: int) -> None:
    broken = {
        seed: problems
        for seed in range(first, min(SEEDS, first + PORTION))
        if (problems := simulate(seed, plan(seed))[0])
    }
    assert not broken, f"python -m tests.soak --seed {min(broken)}"


@pytest.mark.parametrize("seed", [7, 9, 89, 99])
def test_a_seed_gives_the_same_run_each_time(seed: int) -> None:
    assert simulate(seed, plan(seed)) == simulate(seed, plan(seed))


def test_a_failing_run_is_shrunk_to_the_steps_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    patch, more = MUTATIONS["whether a pod exists is not checked"]
    patch(monkeypatch)
    steps = [*more(0), *everything(0)[:3]]
    needed = shrunk(0, steps)
    assert simulate(0, needed)[0]
    assert all(not simulate(0, [each for each in needed if each is not step])[0] for step in needed)
    assert "submit" in {step.kind for step in needed}


def test_the_command_tells_the_story_of_a_failing_seed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    patch, more = MUTATIONS["whether a pod exists is not checked"]
    patch(monkeypatch)
    seed = next(seed for seed in range(500) if plan(seed) == more(0))
    assert not tell(seed)
    told = capsys.readouterr().out
    assert "of 3 steps are needed" in told
    assert "an application that fits was not admitted: app-0-driver" in told


@pytest.mark.parametrize("first", range(AT_ONCE))
def test_a_replica_may_be_killed_between_any_two_steps(first: int) -> None:
    for number in count(first, AT_ONCE):
        problems, story = simulate(0, killed(number))
        assert not problems, f"killed at step {number + 1}"
        if not any("is killed" in line for line in story):
            assert number > 50, "the run has that many steps at least"
            return


def test_every_place_at_which_a_replica_can_be_killed_is_reached() -> None:
    """A kill that never happens would test nothing."""
    steps = [step for step in rewritten(1) if step.kind in ("submit", "foreign", "lose")]
    for place in PLACES:
        _, story = simulate(3, [Step(0.5, "kill at", {"place": place, "number": 1}), *steps])
        assert any("is killed" in line for line in story), place


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", MUTATIONS)
def test_a_fault_is_found_when_its_mend_is_taken_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    patch, more = MUTATIONS[name]
    patch(monkeypatch)
    for seed in range(SEEDS_TO_FIND):
        steps: list[Step] = more(seed)
        if simulate(seed, steps)[0]:
            return
    pytest.fail(f"{SEEDS_TO_FIND} seeds do not show that {name}")
