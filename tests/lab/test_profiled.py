"""The demo plays what `carbon-scheduler profile` described."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extender.adapters.spark.eventlog.reader import Counts
from extender.adapters.spark.eventlog.workload import (
    Durations,
    ObservedWidth,
    Profile,
    StageProfile,
    Workload,
)
from extender.core.gangs.spec import GangSpec
from extender.lab.profiled import (
    LONGEST_S,
    Described,
    ProfileUnusable,
    applications_like,
    read_profile,
)
from extender.lab.workload import demo_nodes
from tests.lab.specs import read

described = st.builds(
    Described,
    name=st.text(max_size=40),
    executors=st.integers(1, 5000),
    slots=st.integers(1, 200),
    work_s=st.floats(1e-3, 1e9),
)


def workload(first: Durations, later: Durations) -> Workload:
    """One stage on four executors of two task slots."""
    stage = StageProfile(
        1, "map", (), (0,), (), 8, 1, 0, 0, 0, 0.0, 9.0, first, later, 0.0, 0.0, 0, 0, 0, 0, 0
    )
    widths = (ObservedWidth(2, 1.0, 3.0), ObservedWidth(4, 9.0, 8.0))
    return Workload(
        "app-1", "Etl (nightly)", "4.3.0", 0, 10.0, True, 2, (stage,), (), widths, (), (), Counts()
    )


def test_work_and_width_are_those_of_the_log(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    path.write_bytes(msgspec.json.encode(Profile((workload(Durations(2, 5.0), Durations(6, 3.0)),))))
    assert read_profile(path) == [Described("Etl (nightly)", 4, 2, 28.0)]
    (only,) = applications_like(read_profile(path), 1, 1.0, random.Random(1))
    assert (only.app.executors, only.app.cores) == (4, 2)
    assert only.app.work_s / only.app.executors == pytest.approx(LONGEST_S)
    assert only.app.name.startswith("etl-nightly")


@given(st.lists(described, min_size=1, max_size=5), st.integers(0, 2**32))
def test_whatever_was_profiled_fits_the_cluster(apps: list[Described], seed: int) -> None:
    largest = max(int(each["status"]["allocatable"]["cpu"]) for each in demo_nodes())
    for each in applications_like(apps, 5, 1.0, random.Random(seed)):
        spec = read(each.app)
        assert isinstance(spec, GangSpec)
        assert spec.worker["cpu"] < 1000 * largest
        assert spec.worker["cpu"] * spec.min_workers <= 56_000
        assert each.app.work_s > 0


def test_what_cannot_be_played_is_told(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    with pytest.raises(ProfileUnusable, match="No such file"):
        read_profile(path)
    path.write_text('{"workloads": 3}')
    with pytest.raises(ProfileUnusable, match="carbon-scheduler profile"):
        read_profile(path)
    path.write_bytes(msgspec.json.encode(Profile((workload(Durations(), Durations()),))))
    with pytest.raises(ProfileUnusable, match="profile other logs"):
        read_profile(path)
