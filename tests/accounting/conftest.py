"""Ledgers to test with: SQLite always, PostgreSQL where a server is named."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from extender.accounting.ledger import Ledger

POSTGRES = "CARBON_SCHEDULER_TEST_POSTGRES"


@pytest.fixture(params=["sqlite", "postgresql"] if POSTGRES in os.environ else ["sqlite"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Address of an empty ledger."""
    if request.param == "sqlite":
        yield str(tmp_path / "ledger.sqlite")
        return
    import psycopg

    server = os.environ[POSTGRES]
    name = f"carbon_{uuid.uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')  # type: ignore[arg-type]
    yield f"{server.rpartition('/')[0]}/{name}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')  # type: ignore[arg-type]


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    """An empty ledger."""
    opened = Ledger(ledger_url)
    yield opened
    opened.close()
