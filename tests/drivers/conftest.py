"""A cluster of three nodes whose API server knows tokens."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.cluster.apiserver import node
from tests.drivers.support import TokenCluster

NODES = ["n0", "n1", "n2"]


@pytest.fixture
async def cluster() -> AsyncIterator[TokenCluster]:
    """An API server with three nodes of 4 cores and 16 GiB."""
    async with TokenCluster() as running:
        for name in NODES:
            running.put("nodes", node(name))
        yield running


@pytest.fixture
def names() -> list[str]:
    """The nodes' names."""
    return list(NODES)
