"""Spark's objects as the demo posts them, and the stream of applications."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extender.core.gangs.spec import GangSpec, SpecProblem
from extender.core.outcomes import Outcome
from extender.lab.scheduler import project_pod
from extender.lab.spark import executor_pod
from extender.lab.workload import applications, demo_nodes, foreign_pods
from tests.lab.specs import read
from tests.lab.support import application


@given(seed=st.integers(0, 2**32))
def test_the_service_reads_what_the_checks_know(seed: int) -> None:
    for each in applications(16, 1.0, random.Random(seed)):
        app, spec = each.app, read(each.app)
        if app.kind == "contradiction":
            assert isinstance(spec, SpecProblem)
            assert spec.outcome is Outcome.INVALID_REQUEST
            continue
        assert isinstance(spec, GangSpec)
        assert spec.worker == app.executor_requests
        assert (spec.min_workers, spec.max_workers) == (app.executors, app.most)
        assert dict(spec.worker_terms.node_selector) == app.selector


@given(
    executors=st.integers(0, 50),
    extra=st.integers(0, 50),
    heap_mib=st.integers(512, 65536),
    python=st.booleans(),
    template=st.booleans(),
)
def test_sizes_are_those_of_spark(
    executors: int, extra: int, heap_mib: int, python: bool, template: bool
) -> None:
    app = application(
        executors=max(executors, 1),
        most_executors=executors + extra if extra else 0,
        heap_mib=heap_mib,
        python=python,
        template={"disk": "ssd"} if template else None,
    )
    spec = read(app)
    assert isinstance(spec, GangSpec)
    assert spec.worker == app.executor_requests
    pod = executor_pod(app, 1, {"metadata": {"uid": "u"}})
    pod["metadata"]["uid"] = "e"
    facts = project_pod(pod)
    assert facts.requests == app.executor_requests
    assert facts.terms.node_selector == spec.worker_terms.node_selector


def test_one_seed_one_workload() -> None:
    def made(seed: int) -> object:
        draw = random.Random(seed)
        return applications(40, 1.0, draw), foreign_pods(40.0, 1.0, draw)

    assert made(3) == made(3)
    assert made(3) != made(4)


def test_the_stream_has_everything_the_demo_promises() -> None:
    stream = applications(16, 1.0, random.Random(1))
    kinds = {each.app.kind for each in stream}
    assert kinds >= {"plain", "pool", "template", "palantir", "dynamic", "too-big", "contradiction", "urgent"}
    assert any(each.fails_at is not None for each in stream)
    assert len({each.app.name for each in stream}) == len({each.app.app_id for each in stream}) == len(stream)
    assert [each.at_s for each in stream] == sorted(each.at_s for each in stream)


@pytest.mark.parametrize("seed", range(5))
def test_what_is_called_admissible_fits_the_empty_cluster_and_nothing_else(seed: int) -> None:
    nodes = demo_nodes()
    for each in applications(60, 1.0, random.Random(seed)):
        app = each.app
        eligible = [node for node in nodes if app.selector.items() <= node["metadata"]["labels"].items()]
        room = sum((8 - (index == 0)) // app.cores for index, _ in enumerate(eligible))
        assert (room >= app.executors) or app.kind == "too-big"
        if app.kind == "too-big":
            assert not app.admissible
            assert room < app.executors
