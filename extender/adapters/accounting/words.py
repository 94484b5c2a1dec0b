"""Figures as people read them, the same on the terminal and on the page."""

from __future__ import annotations

from datetime import UTC, datetime

from extender.adapters.accounting.amounts import Missing
from extender.adapters.accounting.baseline import Saving
from extender.adapters.accounting.kpis import Application, Group, Spread, StageShare

UNKNOWN = "unknown"


def energy(kwh: float) -> str:
    """In the unit that needs no leading zeros."""
    for unit, factor in (("MWh", 1e-3), ("kWh", 1.0), ("Wh", 1e3)):
        if abs(kwh) * factor >= 1:
            return f"{_three(kwh * factor)} {unit}"
    return f"{_three(kwh * 1e6)} mWh" if kwh else "0"


def grams(g: float) -> str:
    """Grams of CO2 equivalents, or kilograms, or tonnes."""
    for unit, factor in (("t", 1e-6), ("kg", 1e-3), ("g", 1.0)):
        if abs(g) * factor >= 1:
            return f"{_three(g * factor)} {unit}"
    return f"{_three(g * 1e3)} mg" if g else "0 g"


def carbon(group: Group) -> str:
    """Known grams, and how much energy has none."""
    return _carbon(group.carbon_g, group.known_kwh, group.unknown_kwh)


def stage_carbon(stage: StageShare) -> str:
    """Known grams of a stage, and how much of its energy has none."""
    return _carbon(stage.carbon_g, stage.energy_kwh - stage.unknown_kwh, stage.unknown_kwh)


def _carbon(carbon_g: float, known_kwh: float, unknown_kwh: float) -> str:
    if unknown_kwh <= 0:
        return grams(carbon_g)
    if known_kwh <= 1e-9 * unknown_kwh:
        return UNKNOWN
    return f"{grams(carbon_g)} + {energy(unknown_kwh)} {UNKNOWN}"


def percent(share: float | None) -> str:
    """A share of 1."""
    return "-" if share is None else f"{100 * share:.1f} %"


def intensity(g_per_kwh: float | None) -> str:
    """A mean intensity."""
    return UNKNOWN if g_per_kwh is None else f"{g_per_kwh:.0f}"


def duration(seconds: float | Missing | None) -> str:
    """In its two largest units."""
    if seconds is None or isinstance(seconds, Missing):
        return "-" if seconds is None else seconds.reason
    whole = round(abs(seconds))
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days}d{hours}h"
    if hours:
        return f"{hours}h{minutes}m"
    return f"{minutes}m{whole % 60}s" if minutes else f"{whole}s"


def waits(spread: Spread | None) -> str:
    """Mean, median and 95th percentile."""
    if spread is None:
        return "-"
    return f"{duration(spread.mean)} / {duration(spread.p50)} / {duration(spread.p95)}"


def saving(value: Saving | Missing) -> str:
    """Grams saved; a loss is negative."""
    return UNKNOWN if isinstance(value, Missing) else grams(value.total_g)


def application_carbon(application: Application) -> str:
    """Grams of an application, or that they are unknown."""
    return UNKNOWN if isinstance(application.actual, Missing) else grams(application.actual.carbon_g)


def price(kwh: float, per_kwh: float | None) -> str:
    """Price of an energy in the currency of the tariff; `-` without one."""
    return "-" if per_kwh is None else f"{kwh * per_kwh:.2f}"


def moment(time_s: float) -> str:
    """UTC, to the minute."""
    return f"{datetime.fromtimestamp(time_s, UTC):%Y-%m-%d %H:%M}"


def _three(value: float) -> str:
    """Three significant digits, thousands without an exponent."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
