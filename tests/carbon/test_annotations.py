"""What a leader's annotations say of the time its gang has."""

from __future__ import annotations

import contextlib
import math
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extender.adapters.spark.flexibility import KEYS, duration, read_flexibility
from extender.adapters.spark.reader import SpecReader
from extender.adapters.spark.refusal import Refused
from extender.core.carbon.start.flexibility import INFLEXIBLE, Flexibility, HoldPolicy
from extender.core.facts import PodFacts, Role
from extender.core.gangs.spec import GangSpec, SpecProblem
from extender.core.outcomes import Outcome

OWN = {
    "carbon-scheduler/executor-count": "2",
    "carbon-scheduler/executor-cpu": "1",
    "carbon-scheduler/executor-memory": "1Gi",
}
PALANTIR = {"spark-executor-count": "2", "spark-executor-cpu": "1", "spark-executor-mem": "1Gi"}
CONFIGURATION = {"spark.properties": "spark.executor.instances=2\nspark.app.id=a\n"}


def spec(annotations: dict[str, str], config_map: dict[str, str] | None = None) -> GangSpec | SpecProblem:
    name = "a-conf-map" if config_map is not None else ""
    leader = PodFacts("u", "ns", "a-driver", role=Role.LEADER, annotations=annotations, config_map=name)
    return SpecReader().read(leader, config_map)


@pytest.mark.parametrize(("annotations", "config_map"), [(OWN, None), (PALANTIR, None), ({}, CONFIGURATION)])
def test_every_dialect_carries_deadline_delay_estimate_and_policy(
    annotations: dict[str, str], config_map: dict[str, str] | None
):
    asked = {
        "carbon-scheduler/deadline": "2026-03-01T18:00:00+01:00",
        "carbon-scheduler/max-delay": "1d12h",
        "carbon-scheduler/runtime-estimate": "5400",
        "carbon-scheduler/carbon-policy": "suspend-resume",
    }
    read = spec(annotations | asked, config_map)
    assert isinstance(read, GangSpec)
    deadline_s = datetime(2026, 3, 1, 17, tzinfo=UTC).timestamp()
    assert read.flexibility == Flexibility(HoldPolicy.SUSPEND_RESUME, deadline_s, 129600.0, 5400.0)
    silent = spec(annotations, config_map)
    assert isinstance(silent, GangSpec)
    assert silent.flexibility == INFLEXIBLE


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90m", 5400),
        ("2h", 7200),
        ("1d12h", 129600),
        ("3600", 3600),
        ("1h30m10s", 5410),
        ("0", 0),
        (" 5s ", 5),
    ],
)
def test_durations(text: str, seconds: int):
    assert duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", " ", "h", "-1h", "1.5h", "2h1d", "1w", "1 h", "\u0663h", "PT2H", "soon"]
)
def test_what_is_no_duration(text: str):
    assert duration(text) is None


@pytest.mark.parametrize(
    ("key", "value", "fix"),
    [
        ("deadline", "2026-03-01T18:00:00", "with its zone"),
        ("deadline", "2026-02-30T18:00:00Z", "with its zone"),
        ("deadline", "tomorrow", "with its zone"),
        ("deadline", "1772380800", "with its zone"),
        ("deadline", "9999-12-31T23:59:59-14:00", "after the year 2999"),
        ("max-delay", "soon", "such as 90m"),
        ("max-delay", "9999d", "longer than 366d"),
        ("runtime-estimate", "0", "more than zero"),
        ("runtime-estimate", "", "such as 90m"),
        ("carbon-policy", "green", "threshold, suspend-resume, cap"),
    ],
)
def test_nonsense_is_refused_with_key_value_and_fix(key: str, value: str, fix: str):
    problem = spec(OWN | {f"carbon-scheduler/{key}": value})
    assert isinstance(problem, SpecProblem)
    assert problem.outcome is Outcome.INVALID_REQUEST
    assert problem.detail.startswith(f"carbon-scheduler/{key}=")
    assert (value or "''") in problem.detail
    assert fix in problem.detail


def test_a_deadline_too_near_is_no_error_and_never_held():
    read = read_flexibility({KEYS[0]: "2026-03-01T00:10:00Z", "carbon-scheduler/runtime-estimate": "1h"})
    created_s = datetime(2026, 3, 1, tzinfo=UTC).timestamp()
    assert read.latest_start_s(created_s) < created_s


@given(
    st.datetimes(datetime(1, 1, 2), datetime(2998, 12, 31)),
    st.integers(-14 * 60, 14 * 60),
)
def test_every_timestamp_with_a_zone_is_the_moment_it_names(naive: datetime, offset_min: int):
    moment = naive.replace(tzinfo=timezone(timedelta(minutes=offset_min)))
    read = read_flexibility({"carbon-scheduler/deadline": moment.isoformat()})
    assert read.deadline_s is not None
    assert math.isclose(read.deadline_s, (moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())


@given(st.dictionaries(st.sampled_from(KEYS), st.text(max_size=30)))
def test_any_text_is_read_or_refused(annotations: dict[str, str]):
    read = INFLEXIBLE
    with contextlib.suppress(Refused):
        read = read_flexibility(annotations)
    for value in (read.deadline_s, read.max_delay_s, read.runtime_s):
        assert value is None or math.isfinite(value)
