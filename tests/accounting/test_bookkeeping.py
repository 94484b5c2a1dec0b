"""Accounting beside the store: whatever fails in it, scheduling goes on, and one replica writes."""

from __future__ import annotations

import asyncio
import logging
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from extender.adapters.accounting.accountant import DAY_S, Accountant
from extender.adapters.accounting.books import CELL_S, Books
from extender.adapters.accounting.ledger import Ledger, LedgerError
from extender.adapters.accounting.readings import NodeReading, Readings
from extender.adapters.spark import SpecReader
from extender.core.events import NodeSeen, PodBound, PodGone, PodSeen, SpecRead, StagesReported, Synced
from extender.core.facts import GangKey
from extender.core.offers import Listed
from extender.core.outcomes import Outcome
from extender.core.stages.events import JobStarted, MoreTasksEnded, StageInfo
from extender.core.store import Store
from extender.engine import Engine
from extender.runtime.ledger_recorder import LAPSE_FLUSHES, Bookkeeper
from extender.settings.loading import load
from tests.gang.world import World, node, size, spec
from tests.options import dotted

FLUSH_S, MOMENT_S = 60.0, 0.25


class Replica:
    """A store with books; all replicas of a test share the clock `now` and the watch."""

    now = 1_000.0
    patience_s = 60.0

    def __init__(self, ledger: Path | str, **more: float) -> None:
        options = {name: str(value) for name, value in more.items()}
        settings = load(
            None, dotted({"accounting.ledger": str(ledger), "accounting.flush_s": str(FLUSH_S), **options})
        )
        self.engine = Engine(settings.to_policy(), SpecReader())
        self.store = self.engine.store
        self.books = Bookkeeper(settings, self.store, lambda: Replica.now, patience_s=self.patience_s)
        self.engine.observers.append(self.books)

    def asked(self) -> None:
        """kube-scheduler asks this one."""
        self.store.leadership.called(Replica.now)


@pytest.fixture(autouse=True)
def clock() -> None:
    Replica.now = 1_000.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger"


def start(*replicas: Replica) -> None:
    """A node, and a pod outside gangs that runs on it."""
    pod = World().pod("busy", node="n1", phase="Running", seen=False)
    for replica in replicas:
        for event in (NodeSeen(node("n1")), PodSeen(pod), Synced()):
            replica.engine.observe(event, Replica.now)


async def turn(*replicas: Replica, seconds: float = FLUSH_S) -> None:
    """Time passes, then each has its turn, a moment after the other."""
    Replica.now += seconds
    for replica in replicas:
        await replica.books.turn()
        Replica.now += MOMENT_S if len(replicas) > 1 else 0.0


def booked_s(path: Path) -> float:
    """Seconds of the node that are in the ledger: each is booked once, used or not."""
    ledger = Ledger(str(path))
    ((core_s,),) = ledger.select("SELECT SUM(core_s) FROM bookings WHERE kind = 'actual'")
    ledger.close()
    return (core_s or 0.0) / 8


def until_s(path: Path) -> float | None:
    ledger = Ledger(str(path))
    found = ledger.until_s()
    ledger.close()
    return found


def failing(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, problem: Exception) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise problem

    monkeypatch.setattr(owner, name, fail)


# -- failures --------------------------------------------------------------------------------------


def test_a_defect_never_reaches_the_store_and_is_logged_once(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    replica = Replica(path)
    start(replica)
    with monkeypatch.context() as broken, caplog.at_level(logging.ERROR):
        failing(broken, Accountant, "apply", KeyError("n2"))
        failing(broken, Accountant, "decided", ZeroDivisionError())
        for number in range(5):
            replica.engine.observe(NodeSeen(node(f"n{number}")), Replica.now)
            made = World().pod("p", uid=f"u{number}", seen=False)
            assert replica.engine.filter(made, Listed(["n1"]), Replica.now).outcome is Outcome.SINGLE_PLACED
    assert len(caplog.records) == 2
    assert "NodeSeen was not booked: 'n2'" in replica.books.problem
    assert "a decision was not logged: ZeroDivisionError" in replica.books.problem


@pytest.mark.parametrize("problem", [OSError(28, "No space left"), LedgerError("locked"), RuntimeError()])
async def test_what_could_not_be_written_is_written_later(
    path: Path, monkeypatch: pytest.MonkeyPatch, problem: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    replica = Replica(path)
    start(replica)
    await turn(replica)
    with monkeypatch.context() as broken, caplog.at_level(logging.WARNING):
        failing(broken, Ledger, "_transaction", problem)
        for _ in range(5):
            await turn(replica)
        assert str(problem) in replica.books.problem or type(problem).__name__ in replica.books.problem
    assert len(caplog.records) == 1
    await turn(replica)
    await turn(replica)
    assert until_s(path) == Replica.now
    if isinstance(problem, LedgerError):
        assert replica.books.problem == ""
        assert booked_s(path) == Replica.now - 1_000


class Meters:
    """Meter readers of which some turns fail."""

    def __init__(self, *answers: Readings | Exception) -> None:
        self._answers = list(answers)

    async def read(self, nodes: list[str]) -> Readings:
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_meters_that_fail_do_not_keep_the_ledger_from_being_written(path: Path) -> None:
    replica = Replica(path)
    start(replica)
    replica.asked()
    read = Readings({"n1": NodeReading("rapl", 77.0)})
    meters = Meters(ValueError("garbage"), read, read)
    Replica.now += 10
    await replica.books.turn(meters)  # type: ignore[arg-type]
    assert replica.books.problem == "power was not read: garbage"
    assert until_s(path) == Replica.now
    for _ in range(2):
        Replica.now += 10
        await replica.books.turn(meters)  # type: ignore[arg-type]
    assert replica.books.problem == ""
    ledger = Ledger(str(path))
    sources = {row[0].partition("/")[0] for row in ledger.select("SELECT DISTINCT source FROM bookings")}
    ledger.close()
    assert sources == {"per-core", "rapl"}


async def test_the_running_task_outlives_any_failure(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(None, {"accounting.ledger": str(path), "accounting.flush_s": "0.01"})
    store = Store(settings.to_policy())
    books = Bookkeeper(settings, store, lambda: 0.0)
    tried = asyncio.Event()
    turns = 0

    async def fail(*_: Any, **__: Any) -> None:
        nonlocal turns
        turns += 1
        if turns == 8:
            tried.set()
        raise RuntimeError("again")

    monkeypatch.setattr(Accountant, "flush", fail)
    running = asyncio.create_task(books.run())
    await tried.wait()
    assert not running.done()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    books.close()


async def test_a_ledger_that_is_away_at_the_start_is_opened_later(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as away:
        failing(away, Ledger, "load", LedgerError("connection refused"))
        replica = Replica(path)
        assert replica.books.problem == "the ledger cannot be opened yet: connection refused"
        start(replica)
        world = World()
        leader = world.leader("app", spec(0), seen=False)
        gone = world.pod("gone", seen=False)
        for event in (PodSeen(leader), SpecRead(leader, spec(0)), PodSeen(gone)):
            replica.engine.observe(event, Replica.now)
        Replica.now += 10
        replica.engine.observe(PodBound(leader.uid, "n1"), Replica.now)
        replica.engine.observe(PodGone(gone.uid), Replica.now)
        await turn(replica)
        assert "refused" in replica.books.problem
        replica.books.close()
    await turn(replica)
    await turn(replica)
    assert replica.books.problem == ""
    ledger = Ledger(str(path))
    assert list(ledger.select("SELECT submitted_s, started_s FROM applications")) == [(1000, 1010)]
    assert [row[0] for row in ledger.select("SELECT uid FROM pods ORDER BY uid")] == [
        "uid-app-driver",
        "uid-busy",
    ]
    ledger.close()
    assert booked_s(path) == Replica.now - 1_000, "what was there is booked from when it came"


async def test_the_start_does_not_wait_for_a_ledger_that_does_not_answer(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, opened = threading.Event(), Ledger.load

    def slow(ledger: Ledger) -> Books:
        assert answers.wait(60)
        return opened(ledger)

    monkeypatch.setattr(Ledger, "load", slow)
    monkeypatch.setattr(Replica, "patience_s", 0.01)
    replica = Replica(path)
    assert not answers.is_set(), "the start has waited for the ledger"
    assert replica.books.problem == "the ledger cannot be opened yet: it has not answered for 0.01 s"
    start(replica)
    replica.books.close()
    answers.set()
    await turn(replica)
    assert replica.books.problem == ""
    assert booked_s(path) == Replica.now - 1_000


async def test_what_ended_before_the_ledger_could_be_opened_ends_when_it_did(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Replica(path)
    start(first)
    world = World()
    leaders = [world.leader(name, spec(0), node="n1", phase="Running", seen=False) for name in "ab"]
    for leader in leaders:
        first.engine.observe(PodSeen(leader), Replica.now)
    await turn(first)
    with monkeypatch.context() as away:
        failing(away, Ledger, "load", LedgerError("connection refused"))
        second = Replica(path)
        for each in (NodeSeen(node("n1")), *map(PodSeen, leaders), Synced()):
            second.engine.observe(each, Replica.now)
        second.engine.observe(PodGone(leaders[0].uid), Replica.now + 10)
        ended = replace(leaders[1], phase="Succeeded", ended_s=Replica.now + 5)
        second.engine.observe(PodSeen(ended), Replica.now + 11)
        second.engine.observe(PodGone(ended.uid), Replica.now + 12)
    second.asked()
    ends = [Replica.now + 10, Replica.now + 5]
    await turn(second, seconds=14)
    ledger = Ledger(str(path))
    rows = list(ledger.select("SELECT ended_s, end_estimated FROM applications ORDER BY app_id"))
    assert rows == [(end_s, 0) for end_s in ends]
    ledger.close()


# -- stages ----------------------------------------------------------------------------------------


async def test_what_drivers_report_of_their_stages_is_booked(path: Path) -> None:
    replica = Replica(path)
    start(replica)
    leader = World().leader("app", spec(0), node="n1", phase="Running", seen=False)
    replica.engine.observe(PodSeen(leader), Replica.now)
    scan = StageInfo(3, 30, 4, name="scan")
    Replica.now += 30
    events = (JobStarted(0, (scan,)), MoreTasksEnded(3, 0, 4, 20_000))
    replica.engine.observe(StagesReported(GangKey("ns", "app"), events), Replica.now)
    await turn(replica)
    ledger = Ledger(str(path))
    assert list(ledger.select("SELECT app_id, stage, name, task_s FROM stages")) == [
        ("app", "30", "scan", pytest.approx(20))
    ]
    ledger.close()


# -- pruning ---------------------------------------------------------------------------------------


def cells(ledger: str) -> tuple[float, float]:
    """First and last cell of a ledger."""
    books = Ledger(ledger)
    ((first_s, last_s),) = books.select("SELECT MIN(cell_s), MAX(cell_s) FROM bookings")
    books.close()
    return first_s, last_s


async def days(replica: Replica, count: int) -> None:
    """So many days with four writes each."""
    for _ in range(4 * count):
        await turn(replica, seconds=DAY_S / 4)


async def test_the_ledger_keeps_all_unless_it_is_told_otherwise(ledger_url: str) -> None:
    replica = Replica(ledger_url)
    start(replica)
    await days(replica, 5)
    assert cells(ledger_url)[0] == 900
    replica.books.close()


async def test_what_is_older_than_the_days_to_keep_is_deleted_at_the_start_and_once_a_day(
    ledger_url: str,
) -> None:
    replica = Replica(ledger_url)
    start(replica)
    await days(replica, 5)
    replica.books.close()
    replica = Replica(ledger_url, accounting__keep_days=2)
    start(replica)
    replica.asked()
    await turn(replica, seconds=5)
    first_s, last_s = cells(ledger_url)
    assert first_s == pytest.approx(Replica.now - 2 * DAY_S, abs=CELL_S)
    assert last_s == pytest.approx(Replica.now, abs=CELL_S)
    await turn(replica, seconds=DAY_S / 2)
    assert cells(ledger_url)[0] == first_s, "not at every write"
    await turn(replica, seconds=DAY_S / 2)
    assert cells(ledger_url)[0] == pytest.approx(first_s + DAY_S, abs=CELL_S)
    assert not replica.books.problem
    replica.books.close()


async def test_only_the_replica_that_writes_deletes(path: Path) -> None:
    one, two = Replica(path), Replica(path, accounting__keep_days=600 / DAY_S)
    start(one, two)
    for _ in range(30):
        one.asked()
        await turn(one, two)
    assert cells(str(path))[0] == 900
    two.asked()
    await turn(one, two, seconds=5)
    assert cells(str(path))[0] == pytest.approx(Replica.now - 600, abs=CELL_S)


async def test_a_failed_deletion_is_told_and_tried_at_the_next_write(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = Replica(path, accounting__keep_days=1)
    start(replica)
    with monkeypatch.context() as broken:
        failing(broken, Ledger, "prune", LedgerError("the ledger is in use"))
        await days(replica, 3)
        assert replica.books.problem == "old bookings were not deleted: the ledger is in use"
        assert until_s(path) == Replica.now, "it is written all the same"
    await turn(replica)
    assert replica.books.problem == ""
    assert cells(str(path))[0] == pytest.approx(Replica.now - DAY_S, abs=CELL_S)


# -- several replicas ------------------------------------------------------------------------------


async def test_of_two_replicas_the_one_that_is_asked_books(path: Path) -> None:
    one, two = Replica(path), Replica(path)
    start(one, two)
    for _ in range(5):
        one.asked()
        await turn(one, two)
    assert not one.books.problem
    assert not two.books.problem
    assert (one.books.writes, two.books.writes) == (True, False)
    assert two.books.unwritten == 0
    assert booked_s(path) == pytest.approx(Replica.now - 1_000, abs=2 * MOMENT_S)


async def test_a_change_of_leader_costs_no_more_than_one_interval(path: Path) -> None:
    one, two = Replica(path), Replica(path)
    start(one, two)
    leaders = (one, one, two, two, two, one, one)
    for leader in leaders:
        Replica.now += FLUSH_S - 5
        leader.asked()
        await turn(one, two, seconds=5)
    await turn(one, two)
    assert not one.books.problem
    assert until_s(path) == pytest.approx(Replica.now, abs=2 * MOMENT_S)
    lost_s = Replica.now - 1_000 - booked_s(path)
    assert 0 <= lost_s <= 2 * FLUSH_S


async def test_on_an_idle_cluster_the_one_that_wrote_last_goes_on(path: Path) -> None:
    one, two = Replica(path), Replica(path)
    start(one, two)
    one.asked()
    for _ in range(10):
        await turn(one, two)
        assert until_s(path) == pytest.approx(Replica.now, abs=2 * MOMENT_S)
    assert one.books.writes


async def test_when_the_writer_dies_on_an_idle_cluster_the_other_goes_on(path: Path) -> None:
    one, two = Replica(path), Replica(path)
    start(one, two)
    one.asked()
    await turn(one, two)
    written_s = until_s(path)
    for _ in range(LAPSE_FLUSHES - 1):
        await turn(two)
        assert until_s(path) == written_s
    await turn(two)
    await turn(two)
    assert until_s(path) == pytest.approx(Replica.now, abs=2 * MOMENT_S)
    lost_s = Replica.now - 1_000 - booked_s(path)
    assert lost_s <= 2 * MOMENT_S, "nothing of the time in between is lost"


async def test_a_restart_leaves_the_ledger_to_the_replica_that_writes_it(path: Path) -> None:
    one = Replica(path)
    start(one)
    one.asked()
    await turn(one)
    two = Replica(path)
    start(two)
    for _ in range(5):
        await turn(two, one, seconds=FLUSH_S / 2)
        await turn(seconds=FLUSH_S / 2)
    two.books.close()
    assert not one.books.problem
    assert one.books.writes


async def test_after_a_long_outage_a_restart_writes_at_once(path: Path) -> None:
    one = Replica(path)
    start(one)
    one.asked()
    await turn(one)
    Replica.now += 10 * FLUSH_S
    two = Replica(path)
    start(two)
    await turn(two)
    assert until_s(path) == pytest.approx(Replica.now, abs=2 * MOMENT_S)


async def test_a_writer_whose_ledger_another_one_wrote_goes_on_when_it_is_asked(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = Replica(path), Replica(path)
    start(one, two)
    one.asked()
    two.asked()
    await turn(one, two, seconds=1)
    one.asked()
    two.asked()
    await turn(one, two, seconds=1)
    for _ in range(4):
        one.asked()
        await turn(one, two)
    assert not one.books.problem
    assert until_s(path) == pytest.approx(Replica.now, abs=2 * MOMENT_S)


# -- scores ----------------------------------------------------------------------------------------


def scores(path: Path, replica: Replica) -> dict[str, float | None]:
    """What the decision log says, by pod."""
    replica.books.close()
    ledger = Ledger(str(path))
    found = dict(ledger.select("SELECT pod, score FROM decisions"))
    ledger.close()
    return found


def test_the_score_is_the_place_in_the_order_of_preference_when_the_node_was_chosen(path: Path) -> None:
    replica = Replica(path)
    engine = replica.engine
    for name, free in (("fullest", 3), ("middle", 5), ("emptiest", 8)):
        engine.observe(NodeSeen(node(name, free, free)), Replica.now)
    engine.observe(Synced(), Replica.now)
    world = World()
    wanted = spec(2, 4)
    leader = world.leader("app", wanted, requests=size(4, 4), seen=False)
    for event in (PodSeen(leader), SpecRead(leader, wanted)):
        engine.observe(event, Replica.now)
    assert engine.filter(leader, Listed(["fullest", "middle", "emptiest"]), Replica.now).node == "middle"
    refused = world.pod("huge", requests=size(9), seen=False)
    assert not engine.filter(refused, Listed(["fullest", "middle", "emptiest"]), Replica.now).node
    single = world.pod("single", requests=size(1), seen=False)
    assert engine.filter(single, Listed(["emptiest"]), Replica.now).node == "emptiest"
    found = scores(path, replica)
    assert found == {
        "app-driver": pytest.approx(1 / 3),  # one of three nodes came before, although it is full now
        "huge": None,
        "single": pytest.approx(2 / 3),
    }


def test_weights_are_in_the_score(path: Path) -> None:
    replica = Replica(path)
    engine = replica.engine
    costs = {"clean": 0.0, "dirty": 0.75}
    for name in costs:
        engine.observe(NodeSeen(node(name)), Replica.now)
    engine.observe(Synced(), Replica.now)
    table = engine.store.state.nodes
    table.cost = lambda: np.array([costs.get(name, 0.0) for name in table.names])
    single = World().pod("single", seen=False)
    assert engine.filter(single, Listed(["dirty"]), Replica.now).node == "dirty"
    assert scores(path, replica) == {"single": pytest.approx(0.75)}
