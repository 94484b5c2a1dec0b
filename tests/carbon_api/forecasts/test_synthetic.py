"""Synthetic grids: the published level and spread, the documented shape, the same values every time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_api.synthetic import GRIDS, UnknownGrid, generate
from tests.carbon_api.forecasts.support import DAY_S, START_S

TEN_YEARS = 3653


def local_days(name: str, days: int = TEN_YEARS, seed: int = 0) -> np.ndarray:
    """Values by local day and hour, float64[days, 24]."""
    offset_s = int(GRIDS[name].utc_offset_h * 3600)
    return generate(name, seed, START_S - offset_s, days * 24).values.reshape(days, 24)


@pytest.mark.parametrize("name", GRIDS)
def test_level_and_spread_are_the_stated_ones(name: str) -> None:
    values = np.stack([local_days(name, seed=seed) for seed in (0, 1)])
    assert values.mean() == pytest.approx(GRIDS[name].mean_g, rel=0.05)
    assert values.std() / values.mean() == pytest.approx(GRIDS[name].spread, rel=0.10)


@pytest.mark.parametrize("name", GRIDS)
def test_every_seed_stays_near_the_level(name: str) -> None:
    for seed in range(2, 6):
        assert local_days(name, 731, seed).mean() == pytest.approx(GRIDS[name].mean_g, rel=0.15)


def test_solar_grid_dips_at_noon_and_ramps_up_at_sunset() -> None:
    day = local_days("synthetic-solar").mean(axis=0)
    assert 10 <= day.argmin() <= 13
    assert 15 <= np.diff(day).argmax() + 1 <= 18
    assert day.min() < 0.7 * day.max()


def test_solar_dip_is_deeper_in_summer() -> None:
    days = local_days("synthetic-solar")
    month = (np.arange(TEN_YEARS) % 365.25) // 30.44
    depth = days[:, 10:14].mean(axis=1) / days[:, 0:4].mean(axis=1)
    assert depth[(month == 5) | (month == 6)].mean() < depth[(month == 11) | (month == 0)].mean()


def test_wind_grid_varies_more_between_days_than_within_them() -> None:
    days = local_days("synthetic-wind")
    level = days.mean(axis=1)
    assert level.std() > (days - level[:, None]).std()
    tomorrow = float(np.corrcoef(level[:-1], level[1:])[0, 1])
    assert 0.4 < tomorrow < 0.9  # weather lasts for days, not for weeks


def test_wind_grid_is_cleaner_on_weekends() -> None:
    days = local_days("synthetic-wind").mean(axis=1)
    weekday = (START_S // DAY_S + 3 + np.arange(len(days))) % 7
    assert days[weekday >= 5].mean() < 0.95 * days[weekday < 5].mean()


def test_coal_and_hydro_have_the_flattest_days() -> None:
    def swing(name: str) -> float:
        day = local_days(name, 731).mean(axis=0)
        return float((day.max() - day.min()) / day.mean())

    flattest = sorted(GRIDS, key=swing)[:2]
    assert set(flattest) == {"synthetic-coal", "synthetic-hydro"}


def test_nuclear_grid_burns_gas_at_the_evening_peak() -> None:
    day = local_days("synthetic-nuclear").mean(axis=0)
    assert 17 <= day.argmax() <= 20
    assert day[1:5].mean() < 0.6 * day.mean()


def test_mixed_grid_has_dip_and_ramp() -> None:
    day = local_days("synthetic-mixed").mean(axis=0)
    assert 11 <= day.argmin() <= 15
    assert 17 <= day.argmax() <= 21


@given(
    name=st.sampled_from(sorted(GRIDS)),
    seed=st.integers(0, 2**40),
    shift=st.integers(-3000, 3000),
    length=st.integers(1, 500),
    step_s=st.sampled_from([900, 1800, 3600]),
)
def test_spans_agree_where_they_overlap(name: str, seed: int, shift: int, length: int, step_s: int) -> None:
    start_s = START_S + shift * step_s
    whole = generate(name, seed, start_s, 600, step_s)
    part = generate(name, seed, start_s + 40 * step_s, length, step_s)
    overlap = min(length, 560)
    np.testing.assert_allclose(part.values[:overlap], whole.values[40 : 40 + overlap], atol=0.011)


@given(year=st.integers(1900, 2200))
def test_any_year_has_sound_values(year: int) -> None:
    made = generate("synthetic-solar", 0, (year - 1970) * 365 * DAY_S, 48)
    assert made.present.all()
    assert (made.values > 0).all()


def test_seeds_and_grids_differ() -> None:
    one, other = (generate("synthetic-wind", seed, START_S, 240).values for seed in (1, 2))
    assert np.abs(one - other).mean() > 10
    days = [local_days(name, 300, 1).mean(axis=1) for name in ("synthetic-wind", "synthetic-mixed")]
    assert abs(float(np.corrcoef(days[0], days[1])[0, 1])) < 0.7


def test_half_hours_average_to_hours() -> None:
    hours = generate("synthetic-solar", 0, START_S, 240).values
    halves = generate("synthetic-solar", 0, START_S, 480, 1800).values.reshape(-1, 2).mean(axis=1)
    np.testing.assert_allclose(halves, hours, rtol=0.05)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere", 0, START_S, 24), "synthetic-solar"),
        (("synthetic-wind", -1, START_S, 24), "seed from 0"),
        (("synthetic-wind", 0, START_S, 0), "one value at least"),
        (("synthetic-wind", 0, START_S, 24, 7200), "3600"),
        (("synthetic-wind", 0, START_S + 5, 24), "cannot start"),
    ],
)
def test_bad_arguments_are_named(arguments: tuple[str, int, int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generate(*arguments)
    if arguments[0] == "nowhere":
        with pytest.raises(UnknownGrid):
            generate(*arguments)
