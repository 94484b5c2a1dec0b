"""Grams that the cluster and each namespace saved lately, over applications that have ended."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from extender.adapters.accounting.amounts import Missing
from extender.adapters.accounting.kpis import Application, applications
from extender.adapters.accounting.ledger import Ledger

DAYS: Final = 30


@dataclass(frozen=True, slots=True)
class NamespaceSaving:
    """Grams of one namespace: saved against the same work at submission, and emitted."""

    name: str
    saved_g: float
    emitted_g: float
    applications: int


@dataclass(frozen=True, slots=True)
class Savings:
    """Grams of the last `days` days. `unknown` applications are left out: a value of theirs is not known."""

    days: int
    saved_g: float
    emitted_g: float
    unknown: int
    namespaces: tuple[NamespaceSaving, ...]


def savings(ledger: Ledger, now: float) -> Savings:
    """Read the ledger. Raises `LedgerError`."""
    return summed(applications(ledger, now - DAYS * 86_400, now))


def summed(found: Iterable[Application]) -> Savings:
    """The sums of applications that have ended, namespaces that saved most first."""
    sums: dict[str, tuple[float, float, int]] = {}
    unknown = 0
    for each in found:
        if each.row.ended_s is None:
            continue
        saving, actual = each.saving, each.actual
        if isinstance(saving, Missing) or isinstance(actual, Missing):
            unknown += 1
            continue
        saved_g, emitted_g, number = sums.get(each.row.app.namespace, (0.0, 0.0, 0))
        saved_g += saving.by_energy_g + saving.by_intensity_g
        sums[each.row.app.namespace] = (saved_g, emitted_g + actual.carbon_g, number + 1)
    namespaces = tuple(
        NamespaceSaving(name, *those) for name, those in sorted(sums.items(), key=lambda one: -one[1][0])
    )
    return Savings(
        DAYS,
        sum(each.saved_g for each in namespaces),
        sum(each.emitted_g for each in namespaces),
        unknown,
        namespaces,
    )
