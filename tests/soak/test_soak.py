"""Whatever befalls a whole cluster, the invariants hold; and the simulation finds what it is there to find.

`python -m tests.soak --seed N` tells the story of one seed, with the steps that it needs; `make soak` runs
10,000.
"""

from __future__ import annotations

import os

import pytest

from tests.soak.mutations import MUTATIONS
from tests.soak.plan import Step, plan
from tests.soak.world import simulate

SEEDS = int(os.environ.get("SOAK_SEEDS", "500"))
PORTION = 20
SEEDS_TO_FIND = 40


@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", range(0, SEEDS, PORTION))
def test_invariants_hold(first: int) -> None:
    broken = {
        seed: problems
        for seed in range(first, min(SEEDS, first + PORTION))
        if (problems := simulate(seed, plan(seed))[0])
    }
    assert not broken, f"python -m tests.soak --seed {min(broken)}"


def test_a_seed_gives_the_same_run_each_time() -> None:
    assert simulate(7, plan(7)) == simulate(7, plan(7))


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
