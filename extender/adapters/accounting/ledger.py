"""The ledger: bookings in SQLite (WAL) or, by URL, in PostgreSQL. Batches are written whole or not at all.

The ledger knows until when it is booked. A batch names the moment it continues from; if that is not
where the ledger stands, another writer has been there and nothing is written. A batch written twice (the
answer to the first commit was lost) counts once.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from extender.adapters.accounting import schema
from extender.adapters.accounting.amounts import Missing
from extender.adapters.accounting.books import (
    UNASKED,
    ApplicationRow,
    Batch,
    Books,
    Decision,
    IntensityRow,
    PodRow,
)
from extender.core.facts import GangKey, Role

Row = tuple[Any, ...]

_POSTGRES: Final = ("postgresql://", "postgres://")
_SQLITE: Final = "sqlite:///"
_BUSY_S: Final = 10.0
_SILENCE_S: Final = 30.0
_FETCH: Final = 1000


class LedgerError(Exception):
    """The ledger cannot be opened, read or written; the text says what to do. Nothing was written."""


class LedgerConflict(LedgerError):
    """Another writer booked in the meantime: what it booked must not be booked again."""


class LedgerUnusable(LedgerError):
    """Trying again will not help: the address, the release or the file must be changed."""


class Ledger:
    """One ledger, usable from several threads. `url` is a path, `sqlite:///path` or `postgresql://...`.

    With `create=False` a missing SQLite file is an error. Raises `LedgerError`.
    """

    def __init__(self, url: str, *, create: bool = True) -> None:
        self._lock = threading.RLock()
        self._postgres = url.startswith(_POSTGRES)
        self._connect, self._errors = _postgres(url) if self._postgres else _sqlite(url, create)
        self._connection: Any = None
        with self._transaction() as connection:
            for statement in schema.TABLES:
                connection.execute(statement)
            known = self._meta(connection, "version")
            while known in schema.UPGRADES:
                known, statement = schema.UPGRADES[known]
                connection.execute(statement)
                self._put(connection, _UPGRADED, [(known,)])
            if known is None:
                self._put(connection, _SET_VERSION, [(schema.VERSION,)])
            elif known != schema.VERSION:
                raise LedgerUnusable(
                    f"the ledger has version {known}, this release knows {schema.VERSION}: "
                    "use the release that wrote it, or another ledger"
                )

    def until_s(self) -> float | None:
        """Until when it is booked; None while it is empty. Raises `LedgerError`."""
        with self._transaction(write=False) as connection:
            until = self._meta(connection, "until_s")
        return None if until is None else float(until)

    def load(self) -> Books:
        """The ledger's running applications, pods and nodes."""
        with self._transaction() as connection:
            until = self._meta(connection, "until_s")
            if until is None:
                return Books()
            until_s = float(until)
            applications = tuple(map(application_of, connection.execute(_LIVE_APPLICATIONS).fetchall()))
            pods = tuple(map(_pod, connection.execute(_PODS).fetchall()))
            nodes = frozenset(name for (name,) in connection.execute("SELECT name FROM nodes").fetchall())
            clocks = [each.baseline_s for each in applications if not isinstance(each.baseline_s, Missing)]
            rows = connection.execute(self._spoken(_STEPS), (min([until_s, *clocks]),)).fetchall()
            steps = [step_of(row) for row in rows]
        return Books(until_s, applications, pods, nodes, tuple(steps))

    def write(self, batch: Batch) -> None:
        """Write a batch. Raises `LedgerConflict` or `LedgerError`; nothing of it is in the ledger then."""
        with self._transaction() as connection:
            if not self._move_on(connection, batch):
                return
            self._put(connection, schema.ADD_BOOKING, map(_booking_row, batch.bookings.items()))
            self._put(connection, schema.ADD_STAGE_TIME, map(_stage_row, batch.stages.items()))
            self._put(connection, schema.PUT_APPLICATION, map(_application_row, batch.applications.values()))
            gone = [(uid,) for uid, pod in batch.pods.items() if pod is None]
            self._put(connection, "DELETE FROM pods WHERE uid = ?", gone)
            alive = (_pod_row(pod) for pod in batch.pods.values() if pod is not None)
            self._put(connection, schema.PUT_POD, alive)
            for statement, exists in ((_FORGET_NODE, False), (_KEEP_NODE, True)):
                names = [(name,) for name, there in batch.nodes.items() if there is exists]
                self._put(connection, statement, names)
            self._put(connection, schema.PUT_INTENSITY, map(_intensity_row, batch.intensities))
            self._put(connection, schema.PUT_DECISION, map(_decision_row, batch.decisions))

    def oldest_s(self) -> float | None:
        """Start of the first cell; None of a ledger without bookings. Raises `LedgerError`."""
        ((oldest_s,),) = self.select("SELECT MIN(cell_s) FROM bookings")
        return oldest_s

    def prune(self, before_s: float) -> None:
        """Forget bookings, decisions, ended applications and intensities older than this.

        One transaction. Raises `LedgerError`; nothing is forgotten then.
        """
        with self._transaction() as connection:
            for statement in schema.PRUNE:
                self._put(connection, statement, [(before_s,)])

    def select(self, query: str, parameters: Sequence[Any] = ()) -> Iterator[Row]:
        """Rows of a query with `?` placeholders, in pieces, as of one moment."""
        with self._transaction(write=False) as connection:
            cursor = connection.execute(self._spoken(query), tuple(parameters))
            while rows := cursor.fetchmany(_FETCH):
                yield from rows

    def close(self) -> None:
        """Close the connection; the next use opens another."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _move_on(self, connection: Any, batch: Batch) -> bool:
        """Move the ledger's moment; False when this very batch is in it already."""
        stands = self._meta(connection, "until_s")
        expected = None if batch.since_s is None else repr(float(batch.since_s))
        until = repr(float(batch.until_s))
        if stands == until and expected != until:
            return False
        if stands is None and expected is None:
            statement, values = "INSERT INTO meta (value, key) VALUES (?, 'until_s')", (until,)
        else:
            statement = "UPDATE meta SET value = ? WHERE key = 'until_s' AND value = ?"
            values = (until, expected or "")
        # The row count decides, not what was read before: another writer may be a moment faster.
        if connection.execute(self._spoken(statement), values).rowcount != 1:
            raise LedgerConflict(
                f"the ledger is booked until {stands or 'never'} and not {expected or 'empty'}: "
                "another extender writes to it"
            )
        return True

    def _meta(self, connection: Any, key: str) -> str | None:
        query = self._spoken("SELECT value FROM meta WHERE key = ?")
        row = connection.execute(query, (key,)).fetchone()
        return None if row is None else str(row[0])

    def _put(self, connection: Any, statement: str, rows: Iterable[Row]) -> None:
        # Rows are made one by one: the interpreter is free for other threads at each of them.
        connection.cursor().executemany(self._spoken(statement), rows)

    def _spoken(self, statement: str) -> str:
        return statement.replace("?", "%s") if self._postgres else statement

    @contextmanager
    def _transaction(self, *, write: bool = True) -> Iterator[Any]:
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = self._connect()
                connection = self._connection
                # SQLite: a writer waits at its begin; a reader sees one snapshot and blocks no writer.
                connection.execute("BEGIN IMMEDIATE" if write and not self._postgres else "BEGIN")
                try:
                    yield connection
                except BaseException:
                    connection.rollback()
                    raise
                connection.execute("COMMIT")
            except self._errors as problem:
                self._forget_connection()
                raise _explained(problem) from problem

    def _forget_connection(self) -> None:
        """After an error a new connection is made: a PostgreSQL that restarted is found again."""
        try:
            self.close()
        except self._errors:
            self._connection = None


_SET_VERSION: Final = "INSERT INTO meta (key, value) VALUES ('version', ?)"
_UPGRADED: Final = "UPDATE meta SET value = ? WHERE key = 'version'"
_LIVE_APPLICATIONS: Final = """
    SELECT namespace, app_id, strategy, submitted_s, started_s, ended_s, baseline_s, baseline_missing,
           end_estimated
    FROM applications WHERE ended_s IS NULL
"""
_PODS: Final = "SELECT uid, namespace, app_id, name, role, node, requests FROM pods"
_STEPS: Final = """
    SELECT zone, start_s, g_per_kwh, unknown_reason FROM intensities
    WHERE start_s >= COALESCE((SELECT MAX(in_force.start_s) FROM intensities AS in_force
                               WHERE in_force.zone = intensities.zone AND in_force.start_s <= ?), 0)
    ORDER BY zone, start_s
"""
_FORGET_NODE: Final = "DELETE FROM nodes WHERE name = ?"
_KEEP_NODE: Final = "INSERT INTO nodes (name) VALUES (?) ON CONFLICT (name) DO NOTHING"


def _sqlite(url: str, create: bool) -> tuple[Callable[[], Any], tuple[type[Exception], ...]]:
    path = url.removeprefix(_SQLITE)
    if "://" in path:
        raise LedgerUnusable(f"{url}: a ledger is a path, sqlite:///path or postgresql://user@host/database")

    def connect() -> sqlite3.Connection:
        if path != ":memory:":
            where = Path(path)
            if create and not where.parent.is_dir():
                raise LedgerUnusable(f"{where.parent} is no directory: create it, or name another ledger")
            if not create and not where.is_file():
                raise LedgerError(f"there is no ledger {path}")
        connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        # In WAL this loses nothing when the process is killed; after a power cut the last batches may
        # be gone, the moment of booking with them, so that they are metered again.
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    return connect, (sqlite3.Error,)


def _postgres(url: str) -> tuple[Callable[[], Any], tuple[type[Exception], ...]]:
    try:
        import psycopg
    except ImportError as problem:
        raise LedgerUnusable(
            "a PostgreSQL ledger needs psycopg: pip install 'carbon-scheduler[postgres]'"
        ) from problem

    def connect() -> Any:
        # A connection that has fallen silent fails soon, instead of after a quarter of an hour.
        silence_ms = int(_SILENCE_S * 1000)
        return psycopg.connect(
            url, autocommit=True, connect_timeout=int(_BUSY_S), tcp_user_timeout=silence_ms
        )

    return connect, (psycopg.Error,)


def _explained(problem: Exception) -> LedgerError:
    text = str(problem).strip()
    if "not a database" in text or "malformed" in text:
        return LedgerUnusable(
            f"the ledger is damaged ({text}): restore it from a backup, or move it away to start another"
        )
    if "unable to open" in text:
        return LedgerUnusable(f"the ledger cannot be opened ({text}): it must be a file we may write")
    if "is full" in text:
        return LedgerError(
            f"the ledger cannot grow ({text}): free space on its disk; nothing is lost until a restart"
        )
    if "locked" in text:
        return LedgerError(f"the ledger is in use by another process ({text})")
    return LedgerError(f"the ledger failed: {text}")


def _booking_row(item: tuple[Any, Any]) -> Row:
    key, booking = item
    carbon_g = None if key.unknown else booking.carbon_g
    return (
        key.cell_s,
        *key.app,
        key.node,
        key.zone,
        key.kind.value,
        key.source,
        key.unknown,
        booking.start_s,
        booking.end_s,
        booking.energy_kwh,
        carbon_g,
        booking.core_s,
    )


def _stage_row(item: tuple[Any, Any]) -> Row:
    key, time = item
    return (key.cell_s, *key.app, key.stage, time.name, time.task_s)


def _application_row(row: ApplicationRow) -> Row:
    clock = _known_or_reason(row.baseline_s)
    return (
        *row.app,
        row.strategy,
        row.submitted_s,
        row.started_s,
        row.ended_s,
        *clock,
        int(row.end_estimated),
    )


def application_of(row: Row) -> ApplicationRow:
    """An application from a row of its table."""
    namespace, app_id, strategy, submitted_s, started_s, ended_s, baseline_s, missing, estimated = row
    clock = Missing(missing) if missing else float(baseline_s)
    key = GangKey(namespace, app_id)
    return ApplicationRow(key, strategy, submitted_s, started_s, ended_s, clock, bool(estimated))


def _pod_row(pod: PodRow) -> Row:
    return (pod.uid, *pod.app, pod.name, pod.role.value, pod.node, json.dumps(dict(pod.requests)))


def _pod(row: Row) -> PodRow:
    uid, namespace, app_id, name, role, node, requests = row
    return PodRow(uid, GangKey(namespace, app_id), name, Role(role), node, json.loads(requests))


def _intensity_row(row: IntensityRow) -> Row:
    return (row.zone, row.start_s, *_known_or_reason(row.value))


def step_of(row: Row) -> IntensityRow:
    """A step of intensity from (zone, start, value, reason)."""
    zone, start_s, value, reason = row
    return IntensityRow(zone, start_s, Missing(reason) if reason else float(value))


def _decision_row(decision: Decision) -> Row:
    return (
        decision.at_s,
        *decision.app,
        decision.pod,
        decision.node,
        decision.strategy,
        decision.outcome,
        decision.detail,
        decision.score,
        *_known_or_reason(decision.intensity),
    )


def decision_of(row: Row) -> Decision:
    """A decision from a row of its table."""
    at_s, namespace, app_id, pod, node, strategy, outcome, detail, score, value, reason = row
    intensity = Missing(reason or UNASKED.reason) if value is None else float(value)
    app = GangKey(namespace, app_id)
    return Decision(at_s, app, pod, node, strategy, outcome, detail, score, intensity)


def _known_or_reason(value: float | Missing) -> tuple[float | None, str]:
    return (None, value.reason) if isinstance(value, Missing) else (value, "")
