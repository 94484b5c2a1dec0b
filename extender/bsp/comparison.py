"""Every controller on the published experiment, and the published rows again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Final

from threadpoolctl import threadpool_limits

from extender.bsp.core.planning import HORIZON, ScenarioPlans, ScenarioWindows
from extender.bsp.core.reference.controllers import (
    DynamicWindows,
    Forecasts,
    HeldWindows,
    StaticConfiguration,
    StaticWindows,
    WholeRun,
)
from extender.bsp.core.rules import Rules
from extender.bsp.core.simulation import Controller, Run, simulate
from extender.bsp.core.surfaces import MonotoneSurface, SplineSurface, Surface
from extender.bsp.experiment import Experiment

PENALTIES_S: Final = (2.0, 5.0, 15.0, 25.0, 45.0, 65.0, 95.0)
SLOW_DOWNS: Final = (0.05, 0.10)
FEWEST_MEMBERS: Final = 3
OUR_STEP_MILLICORES: Final = 50

STATIC_WINDOWS: Final = tuple(range(1, 10))
HORIZONS: Final = (1, 2, 3, 5, 10)
HELD: Final = (2, 3, 5, 7, 10)


@dataclass(frozen=True, slots=True)
class Result:
    """One simulated run. `origin` is original, ours, or mixed (an original controller with our forecasts)."""

    part: str
    origin: str
    controller: str
    horizon: int
    forecast: str
    penalty_s: float
    members: int
    duration_s: float
    reconfigurations: int
    total_s: float
    cpu_h: float
    energy_kwh: float


@dataclass(frozen=True, slots=True)
class Power:
    """Power of a core in watts. Nothing here measures it: the defaults are round numbers."""

    idle_w: float = 2.0
    busy_w: float = 6.0

    def energy_kwh(self, run: Run) -> float:
        """Allocated cores take idle power all the time, and the difference while their member works."""
        joules = self.idle_w * run.allocated_core_s + (self.busy_w - self.idle_w) * run.busy_core_s
        return joules / 3.6e6


@dataclass(frozen=True, slots=True)
class Lab:
    """One experiment and the power of its cores. Members take what the spline says, as was published."""

    experiment: Experiment
    power: Power

    @property
    def truth(self) -> Surface:
        """How long members take."""
        return SplineSurface(self.experiment.profile)

    def play(
        self,
        part: str,
        origin: str,
        name: str,
        horizon: int,
        forecast: str,
        controller: Controller,
        rules: Rules,
    ) -> Result:
        """Simulate one controller."""
        run = simulate(controller, self.truth, self.experiment.actual, rules)
        return Result(
            part,
            origin,
            name,
            horizon,
            forecast,
            rules.penalty_s,
            len(self.experiment.profile.members),
            run.duration_s,
            run.reconfigurations,
            run.total_s,
            run.allocated_core_s / 3600,
            self.power.energy_kwh(run),
        )


def originals(lab: Lab, part: str, forecast: str, penalties_s: Iterable[float]) -> Iterator[Result]:
    """Every original controller, at every penalty, with the LSTM's or a perfect forecast."""
    experiment, base = lab.experiment, Rules()
    sizes = {"lstm": experiment.forecast, "perfect": experiment.perfect}[forecast]
    all_forecasts = Forecasts(lab.truth, sizes, base, max(HORIZONS))
    for penalty_s in penalties_s:
        rules = replace(base, penalty_s=penalty_s)
        forecasts, steps = all_forecasts.under(rules), experiment.steps
        yield lab.play(
            part, "original", "exppo", 0, forecast, StaticConfiguration.of(lab.truth, rules), rules
        )
        for window in STATIC_WINDOWS:
            yield lab.play(
                part, "original", "static", window, forecast, StaticWindows(forecasts, window), rules
            )
        for horizon in HORIZONS:
            dynamic = DynamicWindows(forecasts, horizon, steps)
            yield lab.play(part, "original", "mpc", horizon, forecast, dynamic, rules)
        for horizon in HELD:
            held = HeldWindows(forecasts, horizon, steps)
            yield lab.play(part, "original", "dynwin", horizon, forecast, held, rules)


def mixed(lab: Lab, part: str, penalties_s: Iterable[float]) -> Iterator[Result]:
    """The original's best controller with other forecasts: it shows what a forecast is worth by itself."""
    experiment = lab.experiment
    for forecast, sizes in (("ridge", experiment.ours.mean), ("persistence", experiment.persistence)):
        forecasts = Forecasts(lab.truth, sizes, Rules(), 3)
        for penalty_s in penalties_s:
            rules = Rules(penalty_s=penalty_s)
            dynamic = DynamicWindows(forecasts.under(rules), 3, experiment.steps)
            yield lab.play(part, "mixed", "mpc", 3, forecast, dynamic, rules)


def ours(
    lab: Lab,
    part: str,
    forecast: str,
    penalties_s: Iterable[float],
    *,
    monotone: bool = False,
    slow_down: float = 0.0,
    horizon: int = HORIZON,
) -> Iterator[Result]:
    """Our controller at every penalty, with quantile forecasts or a perfect one."""
    experiment = lab.experiment
    outlook, scenarios = {
        "quantiles": (experiment.ours, {}),
        "perfect": (experiment.certain, {"scenarios": 1}),
    }[forecast]
    model = MonotoneSurface(experiment.profile) if monotone else lab.truth
    name = (
        "scenarios" + (", monotone" if monotone else "") + (f", {slow_down:.0%} slower" if slow_down else "")
    )
    step = Rules(step_millicores=OUR_STEP_MILLICORES)
    plans = ScenarioPlans(model, outlook, step, horizon=horizon, allowed=slow_down, **scenarios)
    for penalty_s in penalties_s:
        rules = Rules(penalty_s=penalty_s, step_millicores=OUR_STEP_MILLICORES)
        windows = ScenarioWindows(plans, rules, experiment.steps)
        yield lab.play(part, "ours", name, plans.horizon, forecast, windows, rules)


@dataclass(frozen=True, slots=True)
class Reproduced:
    """A published row and what we get for it; `note` explains a difference, or why there is no run."""

    mode: str
    controller: str
    window: int
    penalty_s: float
    published_s: float
    published_reconfigurations: int
    duration_s: float
    reconfigurations: int
    note: str

    @property
    def difference_s(self) -> float:
        """Ours less the published duration."""
        return self.duration_s - self.published_s


_ROUNDED: Final = "equal up to the record's rounding (profile to 1e-6 s, forecasts to 1e-4)"
_FULL: Final = "equal up to the profile's rounding (1e-6 s)"
_WHOLE: Final = (
    "published as Dynamic MPC, but neither of the original's programs gives it: a plan of the whole run"
    " without the length factor comes nearest, and is what we ran"
)
_OTHER: Final = "differs, and we do not know why"
_TOLERATED_S: Final = 0.1  # of 40,000: the inputs are rounded


def reproduce(lab: Lab, rows: list[dict[str, Any]]) -> list[Reproduced]:
    """Run every published row with the original's controllers."""
    experiment, base = lab.experiment, Rules()
    known = {
        "forecast": Forecasts(lab.truth, experiment.forecast, base, max(HORIZONS)),
        "perfect": Forecasts(lab.truth, experiment.perfect, base),
    }
    found: list[Reproduced] = []
    for row in rows:
        rules, steps, window = replace(base, penalty_s=row["penalty"]), experiment.steps, row["window"]
        forecasts, whole = known[row["mode"]].under(rules), row["controller"].startswith("offline-plan")
        makers: dict[str, Callable[[], Controller]] = {
            "exppo": lambda: StaticConfiguration.of(lab.truth, rules),  # noqa: B023 - called at once
            "static": lambda: StaticWindows(forecasts, window),  # noqa: B023
            "mpc": lambda: DynamicWindows(forecasts, window, steps),  # noqa: B023
            "dynwin": lambda: HeldWindows(forecasts, window, steps),  # noqa: B023
        }
        if whole:
            controller: Controller = WholeRun(Forecasts(lab.truth, experiment.actual[None], rules), 1.0)
        else:
            controller = makers[row["controller"]]()
        run = simulate(controller, lab.truth, experiment.actual, rules)
        near = (
            abs(run.duration_s - row["duration"]) < _TOLERATED_S
            and run.reconfigurations == row["reconfigurations"]
        )
        equal = _ROUNDED if row["mode"] == "forecast" else _FULL
        found.append(
            Reproduced(
                row["mode"],
                "whole run" if whole else row["controller"],
                window,
                row["penalty"],
                row["duration"],
                row["reconfigurations"],
                run.duration_s,
                run.reconfigurations,
                _WHOLE if whole else equal if near else _OTHER,
            )
        )
    return found


Part = tuple[str, Callable[..., Iterable[Any]], dict[str, Any]]


def parts(members: int, published: list[dict[str, Any]]) -> list[Part]:
    """Everything that a whole report runs, the longest first: title, function, and what it is called with."""
    one, all_of_them = {"penalties_s": (15.0,)}, {"penalties_s": PENALTIES_S}
    some: list[Part] = [
        ("ours", ours, {"part": "penalty", "forecast": "quantiles", "penalties_s": PENALTIES_S}),
        ("ours, monotone", ours, {"part": "model", "forecast": "quantiles", "monotone": True, **one}),
        *(
            (
                f"ours, {each:.0%} slower",
                ours,
                {"part": "slack", "forecast": "quantiles", "slow_down": each, **one},
            )
            for each in SLOW_DOWNS
        ),
        ("original", originals, {"part": "penalty", "forecast": "lstm", "penalties_s": PENALTIES_S}),
        *(
            (
                f"ours, {each} members",
                ours,
                {"part": "members", "forecast": "quantiles", "members": each, **all_of_them},
            )
            for each in range(members - 1, FEWEST_MEMBERS - 1, -1)
        ),
        *(
            (
                f"original, {each} members",
                originals,
                {"part": "members", "forecast": "lstm", "members": each, **all_of_them},
            )
            for each in range(members - 1, FEWEST_MEMBERS - 1, -1)
        ),
        ("original, perfect forecast", originals, {"part": "perfect", "forecast": "perfect", **one}),
        (
            "ours, perfect forecast",
            ours,
            {"part": "perfect", "forecast": "perfect", "penalties_s": PENALTIES_S},
        ),
        ("original with other forecasts", mixed, {"part": "forecast", "penalties_s": PENALTIES_S}),
    ]
    return [("published rows", reproduce, {"rows": published}), *some] if published else some


_LAB: list[Lab] = []


def _begin(lab: Lab) -> None:
    threadpool_limits(1)  # the matrices are small, and each process has one core
    _LAB[:] = [lab]


def _run(part: Part) -> list[Any]:
    _, function, given = part
    lab = _LAB[0]
    members = given.get("members")
    if members is not None:
        lab = replace(lab, experiment=lab.experiment.first(members))
    return list(function(lab, **{name: value for name, value in given.items() if name != "members"}))


def run_all(lab: Lab, some: list[Part], processes: int) -> Iterator[tuple[str, list[Any]]]:
    """Run the parts side by side; each is yielded with its title, in their order."""
    if processes == 1:
        _begin(lab)
        yield from ((part[0], _run(part)) for part in some)
        return
    with ProcessPoolExecutor(processes, initializer=_begin, initargs=(lab,)) as pool:
        for part, found in zip(some, pool.map(_run, some), strict=True):
            yield part[0], found
