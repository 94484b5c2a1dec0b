"""However much a driver says, its graph stays within its limits."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from extender.core.stages.events import JobEnded, JobStarted, StageEvent, StageInfo, StageSubmitted
from extender.core.stages.graph import Limits, StageGraph

NUMBERS = st.integers(0, 30)
STAGES = st.builds(
    StageInfo,
    stage_id=NUMBERS,
    rdd_id=st.integers(0, 12),
    tasks=st.integers(0, 3),
    attempt=st.integers(0, 2),
    parents=st.lists(NUMBERS, max_size=6).map(tuple),
)
EVENTS = st.lists(
    st.one_of(
        st.builds(JobStarted, job_id=NUMBERS, stages=st.lists(STAGES, max_size=6).map(tuple)),
        st.builds(JobEnded, job_id=NUMBERS),
        st.builds(StageSubmitted, stage=STAGES),
    ),
    max_size=40,
)


@given(EVENTS)
def test_edges_are_bounded_and_counted_rightly(events: list[StageEvent]) -> None:
    graph = StageGraph(Limits(stages=8, ended_jobs=2, early=3, edges=5))
    for event in events:
        graph.apply([event])
        assert graph.graph.number_of_edges() <= 5
        assert len(graph.stages) <= 8
    # With everything ended and forgotten there is room for edges again.
    graph.apply([JobEnded(job) for job in range(60)])
    graph.apply([StageSubmitted(StageInfo(number, number, 1)) for number in range(1000, 1020)])
    info = StageInfo(2000, 2000, 1, parents=(2001,))
    graph.apply([JobStarted(99, (info, StageInfo(2001, 2001, 1)))])
    assert graph.graph.has_edge(2001, 2000)


def test_parents_beyond_the_limit_are_left_out_and_counted() -> None:
    graph = StageGraph(Limits(edges=3))
    parents = tuple(StageInfo(number, number, 1) for number in range(5))
    graph.apply([JobStarted(0, (*parents, StageInfo(9, 9, 1, parents=(0, 1, 2, 3, 4))))])
    assert graph.graph.number_of_edges() == 3
    assert graph.refused == 2
