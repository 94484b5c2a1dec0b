"""A leader that is offered some nodes only is judged on these, the others as in a pass made afresh."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
from hypothesis import given, settings

from extender.core.offers import Listed
from extender.core.outcomes import Outcome
from extender.core.policy import FifoMode, Policy
from extender.core.queue.queue_pass import QueuePass, Verdict
from tests.gang.world import World, node, spec

APPS = 5


def told(verdict: Verdict | None) -> object:
    """What a verdict says."""
    assert verdict is not None
    rows = None
    if verdict.packing is not None:
        rows = (verdict.packing.leader_row, tuple(verdict.packing.worker_rows.tolist()))
    return verdict.outcome, rows, verdict.blocker


def fresh(world: World, masks: dict[str, np.ndarray]) -> dict[str, object]:
    """Verdicts of all waiting gangs from nothing but the present state and the offers."""
    waiting = world.store.waiting
    kept = waiting.current(world.now)
    queue = [entry for entry in kept.queue if entry.leader.uid in waiting]
    made = QueuePass(
        world.store.state.nodes,
        world.policy,
        queue,
        masks,
        kept._capacity,
        world.store.entitlements,
        kept._faults,
        kept._nominations,
        kept._there,
        world.now,
    )
    return {entry.leader.uid: told(made.verdict(entry.leader.uid)) for entry in queue}


STEP = st.tuples(st.integers(0, APPS - 1), st.sets(st.integers(0, 3), min_size=1), st.booleans())


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([FifoMode.STRICT, FifoMode.BACKFILL, FifoMode.OFF]),
    st.lists(st.integers(1, 4), min_size=APPS, max_size=APPS),
    st.lists(STEP, max_size=14),
)
def test_every_verdict_is_that_of_a_pass_made_afresh(
    mode: FifoMode, widths: list[int], steps: list[tuple[int, set[int], bool]]
) -> None:
    world = World(Policy(fifo=mode))
    for number in range(4):
        world.add(node(f"n{number}", 3))
    for number, workers in enumerate(widths):
        world.now += 1
        world.leader(f"app{number}", spec(workers))
    masks: dict[str, np.ndarray] = {}
    for number, rows, _ in steps:
        uid = f"uid-app{number}-driver"
        waiting = world.store.waiting
        masks[uid] = world.store.state.nodes.mask([f"n{row}" for row in sorted(rows)])
        waiting.verdict_on(uid, masks[uid], world.now)
        assert {
            each.leader.uid: told(waiting.verdict(each.leader.uid, world.now))
            for each in waiting.entries(world.now)
        } == fresh(world, masks)
    # Admissions in between take room for good, whatever is planned again.
    for number, rows, asked in steps:
        names = [f"n{row}" for row in sorted(rows)]
        if asked and f"uid-app{number}-driver" in world.store.waiting:
            world.filter(f"app{number}-driver", names)
        world.sound()


def test_offers_that_leave_out_the_planned_node_cost_one_plan_each() -> None:
    world = World(Policy(fifo=FifoMode.BACKFILL))
    for number in range(60):
        world.add(node(f"n{number:02d}", 4))
    for number in range(40):
        world.now += 0.001
        world.leader(f"app{number:02d}", spec(1), created_s=world.now)
    judged = 0
    original = QueuePass._judge

    def counted(self: QueuePass, waiting: object) -> Verdict:
        nonlocal judged
        judged += 1
        return original(self, waiting)  # type: ignore[arg-type]

    everywhere = [f"n{number:02d}" for number in range(60)]
    QueuePass._judge = counted  # type: ignore[method-assign]
    try:
        for number in range(40):
            name = f"app{number:02d}-driver"
            verdict = world.store.waiting.verdict(world.uid(name), world.now)
            assert verdict is not None
            assert verdict.packing is not None
            planned = world.store.state.nodes.names[verdict.packing.leader_row]
            left = Listed([each for each in everywhere if each != planned])
            decision = world.store.filter(world.pods[world.uid(name)], left, world.now)
            assert decision.outcome is Outcome.ADMITTED
            assert decision.node != planned
    finally:
        QueuePass._judge = original  # type: ignore[method-assign]
    assert judged <= 3 * 40
