"""Profiles are read in both of the original's layouts; a file that is none says what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from extender.bsp.inputs import InputsUnusable, read_profile, read_recorded

LINES = ["a, 10, 1000, 5", "a, 10, 2000, 3", "a, 20, 1000, 9", "a, 20, 2000, 4"]


@pytest.mark.parametrize(
    "header", ["Task Name, Workload Size, CPU Shares, Duration", "task,workload_size,cpu_shares,duration"]
)
def test_both_layouts_are_read(tmp_path: Path, header: str) -> None:
    file = tmp_path / "profile.csv"
    file.write_text("\n".join([header, *LINES]))
    profile = read_profile(file)
    assert profile.members == ("a",)
    assert profile.durations_s[0].tolist() == [[5, 3], [9, 4]]
    assert profile.spreads_s is None


def test_repeated_runs_are_averaged_and_their_spread_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "profile.csv"
    again = [line.replace(", 5", ", 7") for line in LINES]
    file.write_text("\n".join(["task,workload_size,cpu_shares,duration", *LINES, *again]))
    profile = read_profile(file)
    assert profile.durations_s[0, 0, 0] == 6
    assert profile.spreads_s is not None
    assert profile.spreads_s[0, 0, 0] == pytest.approx(2**0.5)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x,y\n", "the first line must be task,workload_size"),
        ("task,workload_size,cpu_shares,duration\na,ten,1,1\n", "line 2"),
        ("task,workload_size,cpu_shares,duration\na,10,1000\n", "line 2"),
    ],
)
def test_a_file_that_is_no_profile_is_refused(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "profile.csv"
    file.write_text(text)
    with pytest.raises(InputsUnusable, match=says):
        read_profile(file)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputsUnusable, match=r"gone\.json"):
        read_recorded(tmp_path / "gone.json")
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(InputsUnusable, match="is missing"):
        read_recorded(tmp_path / "other.json")
