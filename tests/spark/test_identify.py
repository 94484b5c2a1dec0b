"""Which gang a pod belongs to, by its labels."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extender.adapters.spark import identify
from extender.core.facts import Identity, Role

LABELS = st.dictionaries(
    st.sampled_from(
        ["carbon-scheduler/gang", "carbon-scheduler/role", "spark-role", "spark-app-id", "spark-app-selector"]
    ),
    st.sampled_from(["", "a", "b", "leader", "worker", "driver", "executor"]),
)


@pytest.mark.parametrize(
    ("labels", "identity"),
    [
        ({"spark-role": "driver", "spark-app-selector": "spark-1"}, Identity(Role.LEADER, "spark-1")),
        ({"spark-role": "executor", "spark-app-selector": "spark-1"}, Identity(Role.WORKER, "spark-1", True)),
        ({"spark-role": "driver", "spark-app-id": "a"}, Identity(Role.LEADER, "a")),
        (
            {"spark-role": "driver", "spark-app-id": "a", "spark-app-selector": "spark-1"},
            Identity(Role.LEADER, "a"),
        ),
        ({"carbon-scheduler/gang": "g", "carbon-scheduler/role": "leader"}, Identity(Role.LEADER, "g")),
        ({"carbon-scheduler/gang": "g", "carbon-scheduler/role": "worker"}, Identity(Role.WORKER, "g")),
    ],
)
def test_labels_name_role_and_gang(labels: dict[str, str], identity: Identity) -> None:
    assert identify(labels) == identity


def test_generic_labels_come_before_spark_labels() -> None:
    labels = {
        "carbon-scheduler/gang": "pipeline",
        "carbon-scheduler/role": "worker",
        "spark-role": "driver",
        "spark-app-selector": "spark-1",
    }
    assert identify(labels) == Identity(Role.WORKER, "pipeline")


@pytest.mark.parametrize(
    "labels",
    [
        {},
        {"app": "web"},
        {"spark-role": "driver"},  # P29: no reservation with an empty name
        {"spark-role": "executor"},  # P28
        {"spark-role": "driver", "spark-app-id": "", "spark-app-selector": ""},
        {"spark-role": "master", "spark-app-id": "a"},
        {"spark-app-selector": "spark-1"},
        {"carbon-scheduler/gang": "g"},
        {"carbon-scheduler/role": "leader"},
        {"carbon-scheduler/gang": "", "carbon-scheduler/role": "leader"},
    ],
)
def test_half_of_the_labels_is_no_gang(labels: dict[str, str]) -> None:
    assert identify(labels) is None


@given(LABELS)
def test_no_member_has_an_empty_gang_or_no_part(labels: dict[str, str]) -> None:
    identity = identify(labels)
    if identity is not None:
        assert identity.app_id
        assert (identity.role is Role.SINGLE) is bool(identity.problem)


def test_a_third_role_is_no_role_and_says_so() -> None:
    identity = identify({"carbon-scheduler/gang": "g", "carbon-scheduler/role": "boss"})
    assert identity is not None
    assert identity.role is Role.SINGLE
    assert "boss" in identity.problem
