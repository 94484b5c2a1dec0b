"""Limits break when a ratio leaves its range, and the data file speaks of things that are measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks import stages
from benchmarks.figures import Figures, Machine, as_json, figure
from benchmarks.limits import LIMITS, Goal, Limit, Limits, LimitsError, calibrated
from benchmarks.webhooks import scenarios


def run(above: float, below: float) -> Figures:
    return Figures([figure("a", "ms", [[above]]), figure("b", "ms", [[below]])])


@pytest.mark.parametrize(("ratio", "broken"), [(0.5, True), (1.0, False), (2.0, False), (2.1, True)])
def test_a_limit_is_a_range_of_a_ratio(ratio: float, broken: bool) -> None:
    (verdict,) = Limits((Limit("a", "b", "why", low=1.0, high=2.0),), ()).check(run(ratio * 3, 3.0))
    assert verdict.value == pytest.approx(ratio)
    assert verdict.broken is broken


def test_what_was_not_measured_breaks_nothing_and_reaches_nothing() -> None:
    verdicts = Limits((Limit("a", "c", "why", high=1.0),), (Goal("c", "why", high=1.0),)).check(run(1.0, 1.0))
    assert [(verdict.value, verdict.broken, verdict.within) for verdict in verdicts] == [
        (None, False, False)
    ] * 2


def test_a_goal_that_is_missed_is_not_a_broken_limit() -> None:
    (verdict,) = Limits((), (Goal("a", "why", high=1.0),)).check(run(2.0, 1.0))
    assert (verdict.within, verdict.broken) == (False, False)


def test_limits_are_set_from_what_several_runs_measured(tmp_path: Path) -> None:
    known = tmp_path / "limits.json"
    Limits((Limit("a", "b", "why", high=9.0), Limit("a", "c", "why", low=1.0)), ()).save(known)
    results: list[Path] = []
    for number, ratio in enumerate((2.0, 3.0, 4.0)):
        results.append(tmp_path / f"{number}.json")
        results[-1].write_text(json.dumps(as_json(Machine.here(), run(ratio, 1.0))))
    first, second = calibrated(results, known).limits
    assert first.set_from is not None
    assert (first.set_from.mean, first.set_from.spread, first.set_from.runs) == (3.0, 1.0, 3)
    assert (first.low, first.high) == (None, 7.0)  # mean + 4 spreads; the open side stays open
    assert second == Limit("a", "c", "why", low=1.0)  # not measured: as it was


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"limits": []}',
        '{"limits": [{"figure": "a"}], "goals": []}',
        '{"limits": [], "goals": [{"figure": "a", "why": "no bound"}]}',
    ],
)
def test_a_file_that_cannot_limit_anything_is_an_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "limits.json"
    path.write_text(text)
    with pytest.raises(LimitsError, match=r"limits\.json"):
        Limits.load(path)


def test_every_limit_says_from_how_many_runs_it_was_set() -> None:
    limits = Limits.load(LIMITS).limits
    assert limits
    assert all(limit.set_from is not None and limit.set_from.runs >= 3 for limit in limits)


def test_limits_and_goals_name_states_that_the_quick_run_measures() -> None:
    known = Limits.load(LIMITS)
    names = [name for limit in known.limits for name in (limit.figure, limit.over)]
    names += [goal.figure for goal in known.goals]
    assert {name.partition(":")[0] for name in names} <= {*command.SUITES, "storm"}
    states = {scenario.name for scenario in scenarios(full=False)}
    measured = {name[name.index("nodes=") :] for name in names if name.startswith("webhooks:")}
    assert measured <= states
    assert {name for name in names if name.startswith("stages:")} <= {stages.name_of(e) for e in stages.CALLS}


def test_a_broken_limit_fails_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(figures: Figures, *, full: bool):
        figures.add(figure("a", "ms", [[3.0]]))
        figures.add(figure("b", "ms", [[1.0]]))
        yield "measured"

    monkeypatch.setattr(command, "LIMITS", tmp_path / "limits.json")
    monkeypatch.setattr(command, "SUITES", {"webhooks": measured})
    arguments = ["webhooks", "--output", str(tmp_path / "results")]
    for high, code in ((4.0, 0), (2.0, 1)):
        Limits((Limit("a", "b", "why", high=high),), ()).save(tmp_path / "limits.json")
        assert command.main(arguments) == code
    (tmp_path / "limits.json").write_text("{}")
    assert command.main(arguments) == 2
    (written,) = (tmp_path / "results").iterdir()
    assert json.loads(written.read_text())["machine"]["cores"] >= 1


def test_a_suite_that_does_not_exist_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["speed"])
    assert "no suite 'speed'; there are webhooks" in capsys.readouterr().err
