"""A browser for the tests of the dashboard: Debian's chromium, driven by Playwright.

Both are skipped visibly where they are not installed; `.ci/run` installs them.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.service.cluster import Cluster

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture
async def browser() -> AsyncIterator[Any]:
    """Headless Chromium."""
    playwright = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("chromium is not installed (apt-get install chromium)")
    async with playwright.async_playwright() as started:
        # Containers have no user namespaces for its sandbox; the pages are ours.
        running = await started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        await running.close()


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    """An API server without anything."""
    async with Cluster() as running:
        yield running
