"""Power of this machine's processors from Linux' powercap files (Intel RAPL, AMD's under the same name).

Only packages are read. `core` and `uncore` lie within a package and `psys` around it; the same package
appears a second time under `intel-rapl-mmio`. Adding any of these counts energy twice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from extender.adapters.accounting.amounts import Missing
from extender.adapters.accounting.readings import NodeReading, NodeReadings

POWERCAP: Final = Path("/sys/class/powercap")
MOST_PACKAGE_W: Final = 1500.0
"""No package draws more for long: a counter may have wrapped twice when this would have filled its range."""

_ZONE = re.compile(r"(?:intel|amd)-rapl:\d+")


@dataclass(frozen=True, slots=True)
class Counter:
    """An energy counter in microjoules, and where it starts again at 0."""

    energy_uj: int
    range_uj: int


@dataclass(frozen=True, slots=True)
class Sample:
    """All packages at one moment."""

    at_s: float
    packages: Mapping[str, Counter]


class Rapl:
    """Reads the machine it runs on, which is node `node`. `clock` is monotonic, in seconds."""

    def __init__(self, node: str, clock: Callable[[], float], root: Path = POWERCAP) -> None:
        self._node = node
        self._clock = clock
        self._root = root
        self._last: Sample | None = None

    async def __call__(self) -> NodeReadings | Missing:
        """Mean power since the last call, which is why the first call has no answer."""
        sample = self.sample()
        if isinstance(sample, Missing):
            self._last = None
            return sample
        before, self._last = self._last, sample
        if before is None:
            return Missing("the first reading of an energy counter: power needs two")
        watts = power_w(before, sample)
        return watts if isinstance(watts, Missing) else {self._node: NodeReading("rapl", watts)}

    def sample(self) -> Sample | Missing:
        """The counters now."""
        packages: dict[str, Counter] = {}
        try:
            zones = sorted(zone for zone in self._root.iterdir() if _ZONE.fullmatch(zone.name))
            for zone in zones:
                name = (zone / "name").read_text(encoding="ascii").strip()
                if name.startswith("package") and name not in packages:
                    packages[name] = Counter(
                        _number(zone / "energy_uj"), _number(zone / "max_energy_range_uj")
                    )
        except PermissionError as problem:
            return Missing(f"{problem.filename} may not be read: run as root or make energy_uj readable")
        except (OSError, ValueError) as problem:
            return Missing(f"{self._root}: {problem}")
        if not packages:
            return Missing(
                f"{self._root} has no RAPL package: a virtual machine, or the driver is not loaded"
            )
        return Sample(self._clock(), packages)


def power_w(before: Sample, after: Sample) -> float | Missing:
    """Mean power of all packages between two samples, counters that wrapped once included."""
    duration_s = after.at_s - before.at_s
    if duration_s <= 0:
        return Missing("no time passed between two readings")
    if before.packages.keys() != after.packages.keys():
        return Missing("a processor package came or went between two readings")
    energy_uj = 0
    for name, counter in after.packages.items():
        if duration_s * MOST_PACKAGE_W * 1e6 >= counter.range_uj:
            return Missing(
                f"{duration_s:.0f} s between two readings: the counter of {name} may wrap twice in that"
            )
        spent = counter.energy_uj - before.packages[name].energy_uj
        energy_uj += spent if spent >= 0 else spent + counter.range_uj
    return energy_uj / 1e6 / duration_s


def _number(path: Path) -> int:
    number = int(path.read_text(encoding="ascii"))
    if number < 0:
        raise ValueError(f"{path} is negative")
    return number
