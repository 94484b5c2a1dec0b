"""The published experiment beside the checkout: inputs, and answers of the original code."""

from __future__ import annotations

import json
from typing import Any

import pytest
from _pytest.mark.structures import ParameterSet

from extender.bsp.inputs import Recorded, read_recorded
from tests.cases import case_path, missing

FILE = "bsp-cases.json"


def recorded() -> Recorded:
    """Its inputs; skips the calling test where they are not available."""
    return read_recorded(case_path(FILE))


def cases(*path: str) -> list[ParameterSet]:
    """One parameter for each case under a path of keys; else one skipped."""
    if reason := missing(FILE):
        return [pytest.param(None, id=f"{path[-1]}-missing", marks=pytest.mark.skip(reason=reason))]
    found: Any = json.loads(case_path(FILE).read_text())
    for key in path:
        found = found[key]
    return [pytest.param(case, id=f"{path[-1]}-{number}") for number, case in enumerate(found)]
