"""One ledger, two real replicas: one writes, the other goes on when it is killed, nothing is booked twice."""

from __future__ import annotations

import time
from pathlib import Path

from extender.adapters.accounting.ledger import Ledger
from tests.e2e.harness.bodies import SimulatedDriver, SparkApp
from tests.e2e.harness.controlplane import ControlPlane
from tests.e2e.harness.extender import Extender
from tests.e2e.harness.waiting import holds_for, wait_for

FLUSH_S = 2.0  # three of them without a write, as on a machine that stalls, make the other take over
CORES, NODES = 16, 2


def writes(extender: Extender) -> bool:
    """Whether it says that it writes the ledger."""
    return extender.get("/healthz")["accounting"]["writes"]


def booked_s(path: Path) -> float:
    """Seconds of all nodes together that are in the ledger."""
    ledger = Ledger(str(path), create=False)
    ((core_s,),) = ledger.select("SELECT SUM(core_s) FROM bookings WHERE kind = 'actual'")
    ledger.close()
    return (core_s or 0.0) / CORES / NODES


def test_a_replica_goes_on_with_the_ledger_of_one_that_was_killed(
    installed: ControlPlane, namespace: str, fake_nodes, start_pair, work: Path
) -> None:
    fake_nodes(NODES, cpu=str(CORES), memory="64Gi")
    path = work / "ledger.sqlite"
    options = {"accounting.ledger": str(path), "accounting.flush_s": str(FLUSH_S)}
    first = start_pair("first", leader_elect=True, **options)
    wait_for(path.exists, "a ledger", 10)
    wait_for(lambda: booked_s(path) > 0, "a first booking", 10, first.extender.log_text)
    began_s = time.time() - booked_s(path)
    second = start_pair("second", leader_elect=True, **options)
    app = SimulatedDriver(installed.admin, SparkApp("app", namespace, 2)).submit()
    app.await_bound(2)
    wait_for(lambda: writes(first.extender) != writes(second.extender), "one writer", 10)
    # A busy machine can lose the lease: then the second leads, and writes.
    writer, other = (first, second) if writes(first.extender) else (second, first)
    holds_for(lambda: not writes(other.extender), "the other stands by", 3)

    writer.kill()
    wait_for(lambda: writes(other.extender), "the other writes", 15, other.extender.log_text)
    app.finish()
    time_of_end_s = time.time()
    wait_for(lambda: booked_s(path) >= time_of_end_s - began_s - 4, "no gap", 10, other.extender.log_text)
    assert booked_s(path) <= time.time() - began_s + FLUSH_S, "nothing twice"
    assert other.extender.get("/healthz")["accounting"]["problem"] == ""
    wait_for(lambda: ended(path) == [app.app.app_id], "the application ended", 10, other.extender.log_text)


def ended(path: Path) -> list[str]:
    """Applications that ended, by the ledger."""
    ledger = Ledger(str(path), create=False)
    rows = list(ledger.select("SELECT app_id FROM applications WHERE ended_s IS NOT NULL"))
    ledger.close()
    return [app_id for (app_id,) in rows]
