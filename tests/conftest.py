"""Fixtures for all concepts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from tests import cases

# Machines differ in speed, and a slow one is no defect of the code.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


@pytest.fixture
def case_path() -> Callable[[str], Path]:
    """Path of a case file by name; skips the test where the cases are not available."""
    return cases.case_path
