"""The ledger keeps what it was given, once, or nothing of it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from extender.adapters.accounting.amounts import Missing
from extender.adapters.accounting.books import (
    ApplicationRow,
    Batch,
    Booking,
    BookingKey,
    Decision,
    IntensityRow,
    Kind,
    PodRow,
)
from extender.adapters.accounting.ledger import Ledger, LedgerConflict, LedgerError, decision_of
from extender.core.facts import GangKey, Role

APP = GangKey("team", "app")
POD = PodRow("uid", APP, "name", Role.LEADER, "n1", {"cpu": 1000})


def key(unknown: str = "", cell_s: float = 0.0) -> BookingKey:
    return BookingKey(APP, "n1", "DE", Kind.ACTUAL, "model/requests", unknown, cell_s)


def batch(since_s: float | None, until_s: float, energy_kwh: float = 1.0) -> Batch:
    booking = Booking(since_s or 0.0, until_s, energy_kwh, 100 * energy_kwh, 5.0)
    return Batch(since_s, until_s, {key(): booking})


def total(ledger: Ledger) -> tuple[float, float]:
    ((energy, carbon),) = ledger.select("SELECT SUM(energy_kwh), SUM(carbon_g) FROM bookings")
    return energy, carbon


def test_a_new_ledger_is_empty(ledger: Ledger) -> None:
    assert ledger.load().until_s is None


def test_bookings_of_one_cell_add_up(ledger: Ledger) -> None:
    ledger.write(batch(None, 10))
    ledger.write(batch(10, 20, 2.0))
    rows = list(ledger.select("SELECT start_s, end_s, energy_kwh, carbon_g, core_s FROM bookings"))
    assert rows == [(0, 20, 3, 300, 10)]


def test_unknown_carbon_is_null_and_never_zero(ledger: Ledger) -> None:
    ledger.write(Batch(None, 10, {key("stale"): Booking(0, 10, 1.0)}))
    assert list(ledger.select("SELECT carbon_g, unknown_reason FROM bookings")) == [(None, "stale")]


def test_the_living_come_back(ledger: Ledger) -> None:
    alive = ApplicationRow(APP, "cap", 1.0, 2.0, None, 1.5)
    unclear = ApplicationRow(GangKey("team", "odd"), "", 1.0, None, None, Missing("seen running"))
    ended = ApplicationRow(GangKey("team", "old"), "", 1.0, 2.0, 3.0, 3.0)
    first = batch(None, 10)
    first.applications = {row.app: row for row in (alive, unclear, ended)}
    first.pods = {"uid": POD, "other": None}
    first.nodes = {"n1": True, "n2": False}
    first.intensities = [IntensityRow("DE", 0, 100.0), IntensityRow("DE", 5, Missing("stale"))]
    ledger.write(first)
    books = ledger.load()
    assert books.until_s == 10
    assert set(books.applications) == {alive, unclear}
    assert books.pods == (POD,)
    assert books.nodes == {"n1"}
    assert books.intensities == tuple(first.intensities)


def test_the_gone_are_forgotten(ledger: Ledger) -> None:
    first = batch(None, 10)
    first.pods, first.nodes = {"uid": POD}, {"n1": True}
    ledger.write(first)
    second = batch(10, 20)
    second.pods, second.nodes = {"uid": None}, {"n1": False}
    ledger.write(second)
    assert (ledger.load().pods, ledger.load().nodes) == ((), frozenset())


def test_the_same_batch_twice_counts_once(ledger: Ledger) -> None:
    for written in (batch(None, 10), batch(None, 10), batch(10, 20), batch(10, 20)):
        ledger.write(written)
    assert total(ledger) == (2, 200)


@pytest.mark.parametrize("late", [batch(None, 30), batch(10, 30), batch(15, 30)])
def test_a_batch_that_does_not_follow_is_refused_whole(ledger: Ledger, late: Batch) -> None:
    ledger.write(batch(None, 10))
    ledger.write(batch(10, 20))
    with pytest.raises(LedgerConflict, match="another extender"):
        ledger.write(late)
    assert total(ledger) == (2, 200)


def test_a_failing_batch_leaves_nothing(ledger: Ledger) -> None:
    bad = batch(None, 10)
    bad.pods = {"uid": PodRow("uid", APP, None, Role.LEADER, "n1", {})}  # type: ignore[arg-type]
    with pytest.raises(LedgerError):
        ledger.write(bad)
    assert ledger.load().until_s is None
    assert list(ledger.select("SELECT * FROM bookings")) == []
    ledger.write(batch(None, 10))
    assert total(ledger) == (1, 100)


def test_decisions_are_logged_once(ledger: Ledger) -> None:
    decision = Decision(5.0, APP, "driver", "n1", "cap", "admitted", "why", 0.5, 212.0)
    unknown = Decision(6.0, APP, "driver", "", "cap", "no-room", intensity=Missing("stale"))
    first, second = batch(None, 10), batch(10, 20)
    first.decisions, second.decisions = [decision, unknown], [decision]
    ledger.write(first)
    ledger.write(second)
    assert [decision_of(row) for row in ledger.select("SELECT * FROM decisions ORDER BY at_s")] == [
        decision,
        unknown,
    ]


def test_pruning_keeps_the_living_and_the_step_in_force(ledger: Ledger) -> None:
    first = batch(None, 10)
    first.bookings[key(cell_s=600)] = Booking(600, 700, 1.0, 1.0)
    first.intensities = [IntensityRow("DE", at_s, 100.0 + at_s) for at_s in (0, 300, 900)]
    first.applications = {
        row.app: row
        for row in (
            ApplicationRow(GangKey("team", "old"), "", 1.0, 2.0, 3.0, 3.0),
            ApplicationRow(APP, "", 1.0, 2.0, None, 2.0),
        )
    }
    ledger.write(first)
    ledger.prune(500)
    assert list(ledger.select("SELECT cell_s FROM bookings")) == [(600,)]
    assert list(ledger.select("SELECT start_s FROM intensities ORDER BY 1")) == [(300,), (900,)]
    assert list(ledger.select("SELECT app_id FROM applications")) == [("app",)]


def test_two_writers_are_fenced(ledger_url: str) -> None:
    one, other = Ledger(ledger_url), Ledger(ledger_url)
    one.write(batch(None, 10))
    with pytest.raises(LedgerConflict):
        other.write(batch(None, 11))
    one.close()
    other.close()


def test_many_threads_read_while_one_writes(ledger: Ledger) -> None:
    seen: list[float] = []

    def read() -> None:
        for _ in range(20):
            seen.extend(energy or 0.0 for (energy,) in ledger.select("SELECT SUM(energy_kwh) FROM bookings"))

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    since_s: float | None = None
    for until_s in range(1, 30):
        ledger.write(batch(since_s, float(until_s)))
        since_s = float(until_s)
    for reader in readers:
        reader.join()
    assert len(seen) == 60
    assert total(ledger) == (29, 2900)


def test_a_reader_in_another_connection_does_not_hold_the_writer_up(tmp_path: Path) -> None:
    path = str(tmp_path / "ledger.sqlite")
    writer, reader = Ledger(path), Ledger(path)
    writer.write(batch(None, 10))
    rows = reader.select("SELECT energy_kwh FROM bookings")
    assert next(rows) == (1,)
    writer.write(batch(10, 20))  # would wait ten seconds and fail if readers locked
    rows.close()  # type: ignore[attr-defined]
    assert total(reader) == (2, 200)
    writer.close()
    reader.close()


_WRITER = """
import sys
from extender.adapters.accounting.books import Batch, Booking, BookingKey, Decision, Kind
from extender.adapters.accounting.ledger import Ledger
from extender.core.facts import GangKey
app = GangKey("team", "app")
ledger, since = Ledger(sys.argv[1]), None
for until in range(1, 100_000):
    bookings = {
        BookingKey(app, f"n{node}", "DE", Kind.ACTUAL, "m", "", 0.0): Booking(until - 1, until, 1.0, 2.0)
        for node in range(20)
    }
    ledger.write(Batch(since, float(until), bookings))
    since = float(until)
    print(until, flush=True)
"""


def test_kill_9_leaves_whole_batches(tmp_path: Path) -> None:
    """Killed in the middle of writing: what was acknowledged is there, and every batch is there whole."""
    path = tmp_path / "ledger.sqlite"
    writer = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert writer.stdout is not None
    acknowledged = 0
    while acknowledged < 25:
        acknowledged = int(writer.stdout.readline())
    writer.kill()
    writer.stdout.read()
    writer.stdout.close()
    writer.wait()
    ledger = Ledger(str(path))
    until_s = ledger.load().until_s
    assert until_s is not None
    assert until_s >= acknowledged
    assert total(ledger) == (20 * until_s, 40 * until_s)
    ledger.close()


def test_damage_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"not a database at all, whatever its name says" * 50)
    with pytest.raises(LedgerError, match=r"damaged.*backup"):
        Ledger(str(path))


def test_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    Ledger(str(path)).close()
    raw = sqlite3.connect(path)
    raw.execute("UPDATE meta SET value = '99' WHERE key = 'version'")
    raw.commit()
    raw.close()
    with pytest.raises(LedgerError, match="version 99"):
        Ledger(str(path))


def test_a_ledger_of_the_release_before_is_upgraded(ledger_url: str) -> None:
    ledger = Ledger(ledger_url)
    with ledger._transaction() as connection:
        connection.execute("ALTER TABLE applications DROP COLUMN end_estimated")
        connection.execute("UPDATE meta SET value = '2' WHERE key = 'version'")
        connection.execute("INSERT INTO applications VALUES ('team', 'app', '', 1, 2, NULL, NULL, 'unknown')")
        connection.execute("INSERT INTO meta VALUES ('until_s', '2.0')")
    ledger.close()
    again = Ledger(ledger_url)
    assert again.load().applications == (ApplicationRow(APP, "", 1.0, 2.0, None, Missing("unknown")),)
    again.close()
    Ledger(ledger_url).close()


@pytest.mark.parametrize(
    ("url", "problem"),
    [("{}/none/ledger.sqlite", "is no directory: create it"), ("mysql://host/db", "a ledger is a path")],
)
def test_an_address_that_cannot_be_used_is_explained(tmp_path: Path, url: str, problem: str) -> None:
    with pytest.raises(LedgerError, match=problem):
        Ledger(url.format(tmp_path))


def test_a_report_does_not_create_a_ledger(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="there is no ledger"):
        Ledger(str(tmp_path / "ledger.sqlite"), create=False)
    assert list(tmp_path.iterdir()) == []


def test_without_psycopg_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(LedgerError, match=r"carbon-scheduler\[postgres\]"):
        Ledger("postgresql://somewhere/db")
