"""What lies beside the checkout: answers of other schedulers, captures of real Spark, published data."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from _pytest.mark.structures import ParameterSet

SHARED = Path(__file__).resolve().parents[2] / "shared"
VARIABLE, DEFAULT = "CARBON_SCHEDULER_CASES", SHARED / "cases"
DATA_VARIABLE, DATA_DEFAULT = "CARBON_SCHEDULER_DATA", SHARED / "data"
HOW_TO_GET = {
    "decima/decima_ep_": "download the checkpoint {epoch} that its authors publish, github.com/umass-solar/"
    "carbon-aware-dag below simulator/models, and convert it: carbon-scheduler decima-weights "
    "{epoch}.data-00000-of-00001 {name}"
}
"""How a user gets published data, by the beginning of a file's name."""


def _missing(name: str, variable: str, default: Path) -> str:
    """Why a file cannot be used; empty when it can.

    A directory that was named on purpose must have the file, else nothing would show that tests are skipped.
    """
    if (directory := os.environ.get(variable)) is not None:
        if not (Path(directory) / name).exists():
            raise pytest.UsageError(f"{variable}={directory} has no {name}: correct or unset the variable")
        return ""
    if (default / name).exists():
        return ""
    place = f"put it below ../shared/{default.name} beside the checkout, or set {variable} to its directory"
    return f"needs {name}: {place}{_how_to_get(name)}"


def _how_to_get(name: str) -> str:
    for beginning, text in HOW_TO_GET.items():
        if name.startswith(beginning):
            epoch = Path(name).stem.replace("decima", "model")
            return f"; to get it, {text.format(epoch=epoch, name=Path(name).name)} (docs/stages.md, Decima)"
    return ""


def missing(name: str) -> str:
    """Why a case file cannot be used; empty when it can."""
    return _missing(name, VARIABLE, DEFAULT)


def case_path(name: str) -> Path:
    """Path of a case file; skips the calling test (or test module) where the cases are not available."""
    if reason := missing(name):
        pytest.skip(reason, allow_module_level=True)
    return Path(os.environ.get(VARIABLE, DEFAULT)) / name


def data_path(name: str) -> Path:
    """Path of a file of published data; skips the calling test (or test module) where it is not available."""
    if reason := _missing(name, DATA_VARIABLE, DATA_DEFAULT):
        pytest.skip(reason, allow_module_level=True)
    return Path(os.environ.get(DATA_VARIABLE, DATA_DEFAULT)) / name


def case_params(name: str, key: str) -> list[ParameterSet]:
    """One parameter for each entry (with an `id`) of list `key` in a JSON case file; else one skipped."""
    if reason := missing(name):
        return [pytest.param(None, id=f"{key}-missing", marks=pytest.mark.skip(reason=reason))]
    entries: list[dict[str, Any]] = json.loads(case_path(name).read_text())[key]
    return [pytest.param(entry, id=entry["id"]) for entry in entries]
