"""Counters of this machine's processors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from extender.adapters.accounting.amounts import Missing
from extender.adapters.accounting.rapl import Counter, Rapl, Sample, power_w
from extender.adapters.accounting.readings import NodeReading

RANGE_UJ = 262_143_328_850


def zone(root: Path, name: str, label: str, energy_uj: int) -> None:
    (root / name).mkdir(exist_ok=True)
    (root / name / "name").write_text(f"{label}\n", encoding="ascii")
    (root / name / "energy_uj").write_text(f"{energy_uj}\n", encoding="ascii")
    (root / name / "max_energy_range_uj").write_text(f"{RANGE_UJ}\n", encoding="ascii")


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """Two sockets with everything that must not be added to them."""
    for socket in (0, 1):
        zone(tmp_path, f"intel-rapl:{socket}", f"package-{socket}", 1_000_000)
        zone(tmp_path, f"intel-rapl:{socket}:0", "core", 900_000)
        zone(tmp_path, f"intel-rapl:{socket}:1", "dram", 500_000)
        zone(tmp_path, f"intel-rapl-mmio:{socket}", f"package-{socket}", 1_000_000)
    zone(tmp_path, "intel-rapl:2", "psys", 9_000_000)
    (tmp_path / "intel-rapl").mkdir()
    return tmp_path


def clock(*times_s: float) -> Callable[[], float]:
    return iter(times_s).__next__


async def test_power_is_energy_of_the_packages_over_time(machine: Path) -> None:
    rapl = Rapl("n1", clock(10, 12), machine)
    first = await rapl()
    assert isinstance(first, Missing)
    assert "first reading" in first.reason
    zone(machine, "intel-rapl:0", "package-0", 101_000_000)
    zone(machine, "intel-rapl:1", "package-1", 61_000_000)
    zone(machine, "intel-rapl:2", "psys", 999_000_000)
    assert await rapl() == {"n1": NodeReading("rapl", 80.0)}


def test_a_wrapped_counter_goes_on() -> None:
    before = Sample(0, {"package-0": Counter(RANGE_UJ - 50_000_000, RANGE_UJ)})
    after = Sample(10, {"package-0": Counter(50_000_000, RANGE_UJ)})
    assert power_w(before, after) == pytest.approx(10)


@pytest.mark.parametrize(
    ("after", "reason"),
    [
        (Sample(1000, {"package-0": Counter(5, RANGE_UJ)}), "may wrap twice"),
        (Sample(0, {"package-0": Counter(5, RANGE_UJ)}), "no time passed"),
        (Sample(1, {"package-1": Counter(5, RANGE_UJ)}), "came or went"),
    ],
)
def test_what_cannot_be_told_is_missing(after: Sample, reason: str) -> None:
    problem = power_w(Sample(0, {"package-0": Counter(0, RANGE_UJ)}), after)
    assert isinstance(problem, Missing)
    assert reason in problem.reason


@pytest.mark.parametrize("text", ["", "many", "-5"])
async def test_an_unreadable_counter_is_missing_and_starts_anew(machine: Path, text: str) -> None:
    rapl = Rapl("n1", clock(1, 2, 3, 4), machine)
    await rapl()
    (machine / "intel-rapl:1" / "energy_uj").write_text(text, encoding="ascii")
    assert isinstance(await rapl(), Missing)
    zone(machine, "intel-rapl:1", "package-1", 5)
    again = await rapl()
    assert isinstance(again, Missing)
    assert "first reading" in again.reason


async def test_a_machine_without_rapl_says_so(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "none"):
        answer = await Rapl("n1", clock(1), root)()
        assert isinstance(answer, Missing)
