"""Files that experiments with bulk-synchronous gangs read: profiles, forecasts, series of work."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from extender.bsp.core.profile import Profile, ProfileUnusable, from_rows

Floats = NDArray[np.float64]

COLUMNS: Final = ("task", "workload_size", "cpu_shares", "duration")
"""The columns of a profile, as the original's profiler writes them."""

_OTHER_NAMES: Final = ("task name", "workload size", "cpu shares", "duration")


class InputsUnusable(ValueError):
    """A file that cannot be used; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A recorded experiment: profile, what was forecast, and the work that was done.

    `forecast[row, lead, member]` was known before superstep `row`, whose work is `actual[row, member]`.
    `actual_leads[row, lead, member]` is a perfect forecast, for as many rows as the file has.
    """

    profile: Profile
    forecast: Floats
    actual: Floats
    actual_leads: Floats


def read_profile(path: Path) -> Profile:
    """A profile in CSV: task, size, CPU in millicores, seconds. Raises `InputsUnusable`.

    Both headers of the original are read, its published file's and its profiler's. A line for each run is
    fine.
    """
    rows: list[tuple[str, float, float, float]] = []
    try:
        with path.open(newline="") as file:
            lines = csv.reader(file, skipinitialspace=True)
            names = tuple(name.strip().lower() for name in next(lines, []))
            if names[:4] not in (COLUMNS, _OTHER_NAMES):
                raise InputsUnusable(f"{path}: the first line must be {','.join(COLUMNS)}")
            for cells in filter(None, lines):
                size, cpu, seconds = (float(cell) for cell in cells[1:4])
                rows.append((cells[0], size, cpu, seconds))
        return from_rows(rows)
    except OSError as problem:
        raise InputsUnusable(f"{path}: {problem.strerror}") from None
    except (ProfileUnusable, UnicodeDecodeError) as problem:
        raise InputsUnusable(f"{path}: {problem}") from None
    except InputsUnusable:
        raise
    except ValueError as problem:
        raise InputsUnusable(f"{path}, line {len(rows) + 2}: {problem}") from None


def read_recorded(path: Path) -> Recorded:
    """A recorded experiment in JSON (`docs/bsp.md` shows the layout). Raises `InputsUnusable`."""
    try:
        document = json.loads(path.read_bytes())
        inputs, members = document["inputs"], tuple(document["task_order"])
        grid, scale = inputs["profile"], float(inputs["size_divisor"])
        profile = Profile(
            members,
            np.array(grid["sizes"], dtype=np.float64),
            np.array(grid["shares"], dtype=np.float64),
            np.array([grid["durations"][member] for member in members]),
        )
        return Recorded(
            profile,
            _by_member(inputs["forecast"], members, scale),
            _by_member(inputs["actual_lead0"], members, scale),
            _by_member(inputs["actual_leads0to4_first40"], members, scale),
        )
    except OSError as problem:
        raise InputsUnusable(f"{path}: {problem.strerror}") from None
    except KeyError as problem:
        raise InputsUnusable(f"{path}: {problem} is missing; it is no recorded experiment") from None
    except (ValueError, TypeError) as problem:
        raise InputsUnusable(f"{path}: {problem}") from None


def _by_member(table: dict[str, Any], members: tuple[str, ...], scale: float) -> Floats:
    return np.stack([np.array(table[member]) / scale for member in members], axis=-1)
