"""The facade: events in, a ledger that is right after any crash."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extender.adapters.accounting import backlog
from extender.adapters.accounting.accountant import Accountant
from extender.adapters.accounting.amounts import Missing
from extender.adapters.accounting.books import Batch, Kind
from extender.adapters.accounting.ledger import Ledger, LedgerError
from extender.adapters.accounting.readings import NodeReading
from extender.core.decisions import FilterDecision
from extender.core.events import Event, NodeGone, NodeSeen, PodBound, PodGone, PodSeen, Synced, Tick
from extender.core.facts import Role
from extender.core.outcomes import Outcome
from tests.accounting import builders as b

Timed = list[tuple[Event, float]]

START: Timed = [(event, 1000.0) for event in b.lists(b.node())]
LIFE: Timed = [
    *START,
    (PodSeen(b.driver(created_s=1010)), 1010),
    (PodBound("app-driver", "n1"), 1100),
    (PodSeen(b.driver("n1", created_s=1010)), 1101),
    (PodSeen(b.pod("w1", created_s=1110)), 1110),
    (PodSeen(b.pod("w1", "n1", created_s=1110)), 1120),
    (Tick(), 1130),
    (PodSeen(b.pod("w1", "n1", created_s=1110, phase="Succeeded")), 1500),
    (PodSeen(b.driver("n1", created_s=1010, phase="Succeeded")), 1510),
    (PodGone("w1"), 1520),
    (PodGone("app-driver"), 1520),
]
END_S = 1600.0


@pytest.fixture
def reopened(ledger_url: str) -> Iterator[Callable[[], Ledger]]:
    """Opens the ledger again and again, as processes that were killed do."""
    opened: list[Ledger] = []

    def open_again() -> Ledger:
        opened.append(Ledger(ledger_url))
        return opened[-1]

    yield open_again
    for each in opened:
        each.close()


def totals(ledger: Ledger) -> dict[tuple[Any, ...], tuple[float, float | None]]:
    rows = ledger.select(
        "SELECT app_id, node, kind, unknown_reason, SUM(energy_kwh), SUM(carbon_g) FROM bookings "
        "GROUP BY 1, 2, 3, 4"
    )
    return {tuple(row[:4]): (row[4], row[5]) for row in rows}


def joules(ledger: Ledger, app_id: str, kind: Kind = Kind.ACTUAL) -> float:
    return sum(3.6e6 * each[0] for key, each in totals(ledger).items() if key[0] == app_id and key[2] == kind)


async def test_a_life_is_booked(ledger: Ledger) -> None:
    books = b.accountant(ledger, strategy="cap")
    books.intensity("DE", 360.0, 900)
    b.feed(books, LIFE)
    await books.flush(END_S)
    # Driver and worker draw 25 W idle and 25 W dynamic each.
    driven, worked = 410 * 50, 380 * 50
    assert joules(ledger, "app") == pytest.approx(driven + worked)
    assert joules(ledger, "") == pytest.approx(600 * 100 + 790 * 25 - driven - worked)
    assert sum(each[1] or 0 for each in totals(ledger).values()) > 0
    (row,) = ledger.select("SELECT strategy, submitted_s, started_s, ended_s FROM applications")
    assert row == ("cap", 1010, 1100, 1510)


async def test_a_restart_goes_on_where_the_ledger_ended(reopened: Callable[[], Ledger]) -> None:
    first = b.accountant(reopened())
    first.intensity("DE", 100.0, 900)
    b.feed(first, LIFE[:7])
    await first.flush(1200)  # and then it is killed: nothing is closed
    ledger = reopened()
    second = b.accountant(ledger)
    now = 1300.0
    b.feed(
        second,
        [
            (e, now)
            for e in b.lists(b.node(), b.driver("n1", created_s=1010), b.pod("w1", "n1", created_s=1110))
        ],
    )
    second.intensity("DE", 100.0, now)
    b.feed(second, LIFE[8:])
    await second.flush(END_S)
    assert joules(ledger, "app") == pytest.approx(410 * 50 + 380 * 50)
    unknown = {key[3]: each for key, each in totals(ledger).items() if key[3]}
    assert unknown.keys() == {"not observed: the service was down"}
    assert all(carbon is None for _, carbon in unknown.values())
    (row,) = ledger.select("SELECT submitted_s, started_s, ended_s FROM applications")
    assert row == (1010, 1100, 1510)


async def test_a_gap_can_be_filled_in_before_it_is_booked(reopened: Callable[[], Ledger]) -> None:
    first = b.accountant(reopened())
    first.intensity("DE", 100.0, 900)
    b.feed(first, START)
    await first.flush(1100)
    ledger = reopened()
    second = b.accountant(ledger)
    second.intensity("DE", 200.0, 1100)
    b.feed(second, [(event, 1300.0) for event in b.lists(b.node())])
    await second.flush(1300)
    ((energy, carbon),) = totals(ledger).values()
    assert carbon == pytest.approx(energy * (100 + 2 * 200) / 3)


async def test_pods_and_nodes_that_vanished_while_down_end_where_the_ledger_did(
    reopened: Callable[[], Ledger],
) -> None:
    first = b.accountant(reopened())
    b.feed(first, [*LIFE[:2], (NodeSeen(b.node("n2")), 1000)][:1])
    b.feed(first, [(NodeSeen(b.node("n2")), 1000), *LIFE[1:7]])
    await first.flush(1200)
    ledger = reopened()
    before = joules(ledger, "app")
    second = b.accountant(ledger)
    b.feed(second, [(event, 2000.0) for event in b.lists(b.node())])
    await second.flush(2100)
    assert joules(ledger, "app") == pytest.approx(before)
    assert [row[0] for row in ledger.select("SELECT ended_s FROM applications")] == [1200]
    assert [row[0] for row in ledger.select("SELECT name FROM nodes")] == ["n1"]
    on_n2 = sum(each[0] for key, each in totals(ledger).items() if key[1] == "n2")
    assert on_n2 * 3.6e6 == pytest.approx(200 * 100)


def restarted(ledger: Ledger, *found: Event, now: float = 2000.0) -> Accountant:
    """The driver and a worker ran when the ledger was written, at 1200; the next process finds this."""
    first = b.accountant(ledger)
    b.feed(first, LIFE[:7])
    asyncio.run(first.flush(1200))
    second = b.accountant(ledger)
    b.feed(second, [(event, now) for event in (NodeSeen(b.node()), *found, Synced())])
    asyncio.run(second.flush(now + 100))
    return second


def ends(ledger: Ledger) -> list[Any]:
    return list(ledger.select("SELECT ended_s, end_estimated FROM applications"))


def test_what_finished_while_down_is_booked_until_its_containers_ended(ledger: Ledger) -> None:
    restarted(
        ledger,
        PodSeen(b.pod("w1", "n1", phase="Succeeded", ended_s=1500)),
        PodSeen(b.pod("app-driver", "n1", role=Role.LEADER, phase="Succeeded", ended_s=1510)),
    )
    assert joules(ledger, "app") == pytest.approx(410 * 50 + 380 * 50)
    assert joules(ledger, "") == pytest.approx(1100 * 100 + 790 * 25 - 410 * 50 - 380 * 50)
    assert ends(ledger) == [(1510, 0)]


@pytest.mark.parametrize(
    ("driver", "ended"),
    [
        pytest.param([], (1500, 1), id="deleted"),
        pytest.param([PodGone("app-driver")], (2000, 0), id="deleted during the first list"),
        pytest.param(
            [PodSeen(b.pod("app-driver", "n1", role=Role.LEADER, phase="Failed"))], (1500, 1), id="evicted"
        ),
        pytest.param(
            [PodSeen(b.pod("app-driver", "n1", role=Role.LEADER, phase="Failed", ended_s=900))],
            (1500, 0),
            id="ended before the ledger's moment",
        ),
        pytest.param(
            [PodSeen(b.pod("app-driver", "n1", role=Role.LEADER, phase="Failed", ended_s=9999))],
            (2000, 0),
            id="ended in the future",
        ),
    ],
)
def test_an_end_that_is_not_known_is_the_last_known_moment_and_marked(
    ledger: Ledger, driver: list[Event], ended: tuple[float, int]
) -> None:
    restarted(ledger, *driver, PodSeen(b.pod("w1", "n1", phase="Succeeded", ended_s=1500)))
    assert ends(ledger) == [ended]


def test_an_application_that_goes_on_has_no_estimated_end(ledger: Ledger) -> None:
    books = restarted(ledger, PodSeen(b.driver("n1", created_s=1010)))
    books.apply(PodGone("app-driver"), 2500)
    asyncio.run(books.flush(2600))
    assert ends(ledger) == [(2500, 0)]


# -- a ledger that does not answer -----------------------------------------------------------------


class Slow(Ledger):
    """A ledger whose disk or database does not answer until it is let go."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.answers = threading.Event()
        self.answers.set()
        self.asked = threading.Event()

    def write(self, batch: Batch) -> None:
        self.asked.set()
        assert self.answers.wait(60)
        super().write(batch)


async def test_the_end_does_not_wait_for_a_ledger_that_does_not_answer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Slow(str(tmp_path / "ledger"))
    books = b.accountant(ledger)
    b.feed(books, START)
    await books.flush(1100)
    ledger.answers.clear()
    books.close(1200, patience_s=0.01)
    assert not ledger.answers.is_set(), "it came back although the ledger has not answered"
    assert "did not answer within 0.01 s" in caplog.text
    ledger.answers.set()
    books.close(1200)
    assert ledger.until_s() == 1200, "the write that was under way is whole"
    ledger.close()


async def test_a_flush_that_hangs_is_cancelled_at_once_and_the_end_writes_after_it(tmp_path: Path) -> None:
    ledger = Slow(str(tmp_path / "ledger"))
    books = b.accountant(ledger)
    b.feed(books, START)
    ledger.answers.clear()
    flush = asyncio.create_task(books.flush(1100))
    await asyncio.to_thread(ledger.asked.wait, 60)
    flush.cancel()
    with pytest.raises(asyncio.CancelledError):
        await flush
    assert not ledger.answers.is_set(), "the flush has waited for the ledger"
    ledger.answers.set()
    books.close(1200)
    assert joules(ledger, "") == pytest.approx(200 * 100)
    ledger.close()


async def test_the_end_of_a_large_cluster_takes_no_longer(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path / "ledger"))
    books = b.accountant(ledger)
    b.feed(books, START)
    await books.flush(1100)
    for number in range(2, 200):
        books.apply(NodeSeen(b.node(f"n{number}")), 1100)
    books.close(1200, patience_s=0.0)
    books._worker.submit(lambda: None).result(60)
    assert ledger.until_s() == 1100, "a batch that was not metered whole is not written"
    ledger.close()


async def test_until_everything_was_seen_nothing_is_written(reopened: Callable[[], Ledger]) -> None:
    first = b.accountant(reopened())
    b.feed(first, LIFE[:7])
    await first.flush(1200)
    ledger = reopened()
    second = b.accountant(ledger)
    b.feed(second, [(NodeSeen(b.node()), 1300)])
    await second.flush(1400)
    assert ledger.load().until_s == 1200
    second.close(1400)
    assert reopened().load().until_s == 1200


async def played(url: str, crashes: list[float], flushes: list[float]) -> dict[tuple[Any, ...], Any]:
    """Play LIFE again from its beginning after every crash; unflushed work is lost with the process."""
    for until_s in [*sorted(crashes), END_S]:
        books = b.accountant(Ledger(url))
        books.intensity("DE", 100.0, 900)
        books.intensity("DE", Missing("stale"), 1200)
        books.intensity("DE", 300.0, 1250)
        marks = sorted(
            [*((at, 1, event) for event, at in LIFE), *((at, 0, None) for at in flushes)], key=_order
        )
        for at_s, _, event in marks:
            if at_s > until_s:
                break
            if event is None:
                await books.flush(at_s)
            else:
                books.apply(event, at_s)
        if until_s == END_S:
            books.close(END_S)
    ledger = Ledger(url, create=False)
    found = totals(ledger)
    ledger.close()
    return found


def _order(mark: tuple[float, int, Event | None]) -> tuple[float, int]:
    return mark[:2]


instants = st.lists(st.floats(1000, END_S), max_size=4)


@settings(max_examples=25)
@given(instants, instants)
def test_replaying_after_crashes_anywhere_doubles_and_loses_nothing(
    tmp_path_factory: pytest.TempPathFactory, crashes: list[float], flushes: list[float]
) -> None:
    where = tmp_path_factory.mktemp("ledger")
    whole = asyncio.run(played(str(where / "whole"), [], []))
    parts = asyncio.run(played(str(where / "parts"), crashes, flushes))
    down = "not observed: the service was down"
    assert not any(key[3] == down for key in parts), "the recording knows what happened in between"
    for key, (energy, carbon) in whole.items():
        assert parts[key][0] == pytest.approx(energy, rel=1e-6, abs=1e-12)
        assert parts[key][1] == (None if carbon is None else pytest.approx(carbon, rel=1e-6, abs=1e-9))
    assert {key for key, each in parts.items() if each[0] > 1e-12} <= whole.keys()


class Failing(Ledger):
    """A ledger whose next writes fail, before or after they are done."""

    fails: int = 0
    lies: int = 0

    def write(self, batch: Batch) -> None:
        if self.fails:
            self.fails -= 1
            raise LedgerError("no space")
        super().write(batch)
        if self.lies:
            self.lies -= 1
            raise LedgerError("the connection broke")


@pytest.mark.parametrize(("fails", "lies"), [(1, 0), (3, 0), (0, 1), (1, 2)])
async def test_what_could_not_be_written_is_written_later_and_once(
    tmp_path: Path, fails: int, lies: int
) -> None:
    ledger = Failing(str(tmp_path / "ledger"))
    books = b.accountant(ledger)
    b.feed(books, START)
    ledger.fails, ledger.lies = fails, lies
    failed = 0
    for now in range(1010, 1110, 10):
        await books.flush(now)
        failed += bool(books.last_error)
    assert failed == fails + lies
    assert (books.last_error, books.unwritten) == ("", 0)
    assert joules(ledger, "") == pytest.approx(100 * 100)
    ledger.close()


async def test_a_second_writer_is_noticed_and_books_nothing_twice(reopened: Callable[[], Ledger]) -> None:
    ledger = reopened()
    one, other = b.accountant(ledger), b.accountant(reopened())
    for books in (one, other):
        b.feed(books, START)
    await one.flush(1100)
    await other.flush(1101)
    assert "another extender" in other.last_error
    assert other.standing_by
    await other.flush(1200)
    assert (other.last_error, other.standing_by) == ("", False)
    assert joules(ledger, "") == pytest.approx((200 - 1) * 100), "the second between them was not booked"


async def test_one_that_stands_by_goes_on_where_the_leader_stopped(reopened: Callable[[], Ledger]) -> None:
    ledger = reopened()
    leader, other = b.accountant(ledger), b.accountant(reopened())
    for books in (leader, other):
        books.intensity("DE", 100.0, 900)
    for books in (leader, other):
        b.feed(books, LIFE[:7])
    for now in (1150, 1200, 1250):
        await leader.flush(now)
        await other.flush(now, lead=False)
    assert other.unwritten == 0
    await other.flush(1300, lead=False)  # the leader is gone
    b.feed(other, LIFE[7:])
    await other.flush(1400, lead=False)
    assert other.unwritten
    await other.flush(END_S)
    assert joules(ledger, "app") == pytest.approx(410 * 50 + 380 * 50)
    assert not any(key[3] for key in totals(ledger)), "the intensity was known all along"
    (row,) = ledger.select("SELECT submitted_s, started_s, ended_s FROM applications")
    assert row == (1010, 1100, 1510)
    assert list(ledger.select("SELECT uid FROM pods")) == []


async def test_one_that_stands_by_writes_nothing_when_it_is_closed(reopened: Callable[[], Ledger]) -> None:
    ledger = reopened()
    leader, other = b.accountant(ledger), b.accountant(reopened())
    for books in (leader, other):
        b.feed(books, START)
    await leader.flush(1100)
    await other.flush(1100, lead=False)
    other.close(1200, lead=False)
    assert ledger.until_s() == 1100


@settings(max_examples=25)
@given(data=st.data())
def test_however_leaders_change_nothing_is_booked_twice(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = str(tmp_path_factory.mktemp("ledger") / "ledger")

    async def play() -> float:
        replicas = [b.accountant(Ledger(path)) for _ in range(3)]
        for books in replicas:
            b.feed(books, START)
        now = 1000.0
        for _ in range(data.draw(st.integers(1, 12))):
            now += data.draw(st.floats(0.1, 100))
            books = data.draw(st.sampled_from(replicas))
            await books.flush(now, lead=data.draw(st.booleans()))
        ledger = Ledger(path)
        cells = ledger.select("SELECT SUM(energy_kwh), MIN(start_s), MAX(end_s) FROM bookings")
        ((energy_kwh, _, end_s),) = cells
        until_s = ledger.until_s()
        for each in (*replicas, ledger):
            each.close(now, lead=False) if not isinstance(each, Ledger) else each.close()
        assert end_s is None or end_s <= until_s
        booked_s = 0.0 if energy_kwh is None else 3.6e6 * energy_kwh / 100
        assert until_s is None or booked_s <= until_s - 1000 + 1e-6
        return booked_s

    asyncio.run(play())


async def test_a_flush_that_is_cancelled_loses_nothing(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path / "ledger"))
    books = b.accountant(ledger)
    b.feed(books, START)
    for number in range(2, 100):
        books.apply(NodeSeen(b.node(f"n{number}")), 1000)
    flush = asyncio.create_task(books.flush(1100))
    await asyncio.sleep(0)
    flush.cancel()
    with pytest.raises(asyncio.CancelledError):
        await flush
    books.close(1200)
    again = Ledger(str(tmp_path / "ledger"))
    assert joules(again, "") == pytest.approx(99 * 200 * 100)
    again.close()


async def test_the_cluster_goes_on_while_a_flush_is_under_way(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path / "ledger"))
    books = b.accountant(ledger)
    b.feed(books, START)
    for number in range(2, 200):
        books.apply(NodeSeen(b.node(f"n{number}")), 1000)
    flush = asyncio.create_task(books.flush(1100))
    await asyncio.sleep(0)
    books.apply(NodeGone("n150"), 1150)
    books.apply(NodeGone("n3"), 1150)
    await flush
    assert joules(ledger, "") == pytest.approx(199 * 100 * 100)
    await books.flush(1200)
    assert joules(ledger, "") == pytest.approx(197 * 200 * 100 + 2 * 150 * 100)
    ledger.close()


class Refusing(Ledger):
    """A ledger that chokes on some batches in a way nobody foresaw."""

    chokes: int = 0

    def write(self, batch: Batch) -> None:
        if self.chokes:
            self.chokes -= 1
            raise OverflowError("a number too large for it")
        super().write(batch)


async def test_a_batch_that_no_ledger_takes_does_not_keep_the_others_back(tmp_path: Path) -> None:
    ledger = Refusing(str(tmp_path / "ledger"))
    books = b.accountant(ledger)
    b.feed(books, START)
    await books.flush(1100)
    ledger.chokes = 1
    with pytest.raises(OverflowError):
        await books.flush(1200)
    await books.flush(1300)
    assert joules(ledger, "") == pytest.approx(200 * 100)
    assert books.dropped > 0
    ledger.close()


async def test_memory_for_what_cannot_be_written_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "MOST_UNWRITTEN", 20)
    ledger = Failing(str(tmp_path / "ledger"))
    books = b.accountant(ledger)
    b.feed(books, START)
    ledger.fails = 100
    for hour in range(1, 60):
        books.decided(b.driver(f"n{hour}"), FilterDecision(Outcome.ADMITTED, f"n{hour}"), hour * 3600.0)
        await books.flush(hour * 3600.0)
        assert books.unwritten <= 20
    assert books.dropped > 0
    ledger.fails = 0
    await books.flush(60 * 3600.0)
    (last,) = ledger.select("SELECT MAX(end_s) FROM bookings")
    assert last == (60 * 3600.0,), "the newest are kept"
    ledger.close()


async def test_decisions_are_logged_when_they_change(ledger: Ledger) -> None:
    books = b.accountant(ledger, strategy="tightly-pack")
    b.feed(books, START)
    scores = [0.5, None]
    refused = FilterDecision(Outcome.NO_ROOM, detail="no room")
    admitted = FilterDecision(Outcome.ADMITTED, "n1")
    for now, decision in ((1001, refused), (1002, refused), (1003, admitted)):
        books.decided(b.driver(), decision, now, score=lambda: scores.pop(), intensity=Missing("stale"))
    await books.flush(1100)
    rows = list(
        ledger.select("SELECT at_s, app_id, node, strategy, outcome, score, g_per_kwh FROM decisions")
    )
    assert rows == [
        (1001, "app", "", "tightly-pack", "no-room", None, None),
        (1003, "app", "n1", "tightly-pack", "admitted", 0.5, None),
    ]


async def test_readings_and_strategies_reach_the_ledger(ledger: Ledger) -> None:
    books = b.accountant(ledger)
    b.feed(books, [*START, (PodSeen(b.pod("w1", "n1", created_s=1000)), 1000)])
    books.reading("n1", NodeReading("rapl", 180.0), 1000)
    books.scheduled_by(b.APP, "pcaps")
    await books.flush(1100)
    assert set(ledger.select("SELECT DISTINCT source FROM bookings WHERE app_id = 'app'")) == {
        ("rapl/requests",)
    }
    assert list(ledger.select("SELECT strategy FROM applications")) == [("pcaps",)]


def test_synced_without_anything_before_is_fine(tmp_path: Path) -> None:
    books = b.accountant(Ledger(str(tmp_path / "ledger")))
    books.apply(Synced(), 10)
    books.close(20)
