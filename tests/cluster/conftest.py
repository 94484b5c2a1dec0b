"""An API server and a client of it for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from extender.adapters.kubernetes.client import ApiClient
from tests.cluster.apiserver import ApiServer


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    """An empty API server."""
    async with ApiServer() as running:
        yield running


@pytest.fixture
async def client(server: ApiServer) -> AsyncIterator[ApiClient]:
    """A client without credentials."""
    async with await server.client() as made:
        yield made
