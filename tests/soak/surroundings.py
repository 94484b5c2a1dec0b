"""What surrounds the extender beside the API server: a carbon service, and a disk for its ledger."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, ClassVar, Final, TypeVar

from extender.adapters.accounting.ledger import Ledger, LedgerError
from extender.adapters.carbon.answers import Unknown
from extender.adapters.carbon.client import CarbonClient

T = TypeVar("T")

_STEP_S: Final = 20.0
_PERIOD_S: Final = 160.0
_DIRTY_S: Final = 100.0
_CLEAN, _DIRTY = 50.0, 600.0


class CarbonService:
    """The answers of a carbon service whose grid is dirty for 100 s and clean for 60 s, again and again.

    `how` it does: "well"; "garbage": it answers what no service should; "absurd": the present value is
    absurd, and the forecast is not; "gone": it does not answer.
    """

    def __init__(self, clock: Callable[[], float], draw: Callable[[str], Any]) -> None:
        self.how = "well"
        self._clock = clock
        self._draw = draw
        self._began_s = clock()

    def answer(self, path: str, zone: str) -> bytes | Unknown:
        """What comes back."""
        if self.how == "gone":
            return Unknown("the carbon service did not answer in time")
        if path == "/v1/clock":
            return b'{"speed": 1.0, "replay": false}'
        now = self._clock()
        if path == "/v1/now":
            reading = {"status": "ok", "g_per_kwh": self._value(now), "kind": "average", "age_s": 0.0}
            good: dict[str, Any] = {"zone": zone, "at": _text(now), "reading": reading}
        else:
            times = [now // _STEP_S * _STEP_S + number * _STEP_S for number in range(60)]
            points = [{"at": _text(at_s), "g_per_kwh": self._value(at_s)} for at_s in times]
            good = {"status": "ok", "zone": zone, "step_s": _STEP_S, "points": points}
            good |= {"lower": _CLEAN, "upper": _DIRTY}
        if self.how == "absurd" and "reading" in good:
            good["reading"]["g_per_kwh"] = 99_999.0
        return self._spoilt(good) if self.how == "garbage" else json.dumps(good).encode()

    def _value(self, at_s: float) -> float:
        return _DIRTY if (at_s - self._began_s) % _PERIOD_S < _DIRTY_S else _CLEAN

    def _spoilt(self, good: dict[str, Any]) -> bytes | Unknown:
        how = self._draw("garbage").randrange(8)
        if how == 0:
            return Unknown("the carbon service answered 500")
        if how == 1:
            return [b"", b"{", b"[]", b"null", b"\xff\xfe", b"<html>"][self._draw("bytes").randrange(6)]
        worse = json.loads(json.dumps(good))
        absurd = [-5.0, 1e300, 99_999.0][self._draw("absurd").randrange(3)]
        if how == 2:
            worse["zone"] = "XX"
        elif "reading" in worse:
            worse["reading"] |= [
                {"g_per_kwh": absurd},
                {"kind": "imagined"},
                {"age_s": -1e9},
                {"status": "?"},
                {"g_per_kwh": None},
            ][how - 3]
        else:
            worse["points"] = [{**each, "g_per_kwh": absurd} for each in worse["points"]]
        return json.dumps(worse).encode()


def _text(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat()


def carbon_client(service: CarbonService) -> Callable[..., CarbonClient]:
    """The product's client with this service instead of a socket."""

    class Client(CarbonClient):
        async def _get(self, session: Any, path: str, **query: str) -> bytes | Unknown:
            await asyncio.sleep(10.0 if service.how == "gone" else 0.01)
            return service.answer(path, query.get("zone", ""))

    return Client


class Disk(Ledger):
    """A ledger on a disk that may be full."""

    full: ClassVar[bool] = False

    @contextmanager
    def _transaction(self, *, write: bool = True) -> Iterator[Any]:
        if write and Disk.full:
            raise LedgerError("the ledger cannot grow (database or disk is full): free space on its disk")
        with super()._transaction(write=write) as connection:
            yield connection


def in_memory(url: str, _create: bool) -> Any:
    """As `ledger._sqlite`: one database for all that open it, gone with the last of them."""
    return (
        lambda: sqlite3.connect(f"file:{url}?mode=memory&cache=shared", uri=True, isolation_level=None),
        (sqlite3.Error,),
    )


class AtOnce:
    """A `Worker` that works in the thread that submits: runs do not depend on threads."""

    def __init__(self, _: str) -> None:
        pass

    def submit(self, job: Callable[[], T]) -> Future[T]:
        """Make the call."""
        future: Future[T] = Future()
        try:
            future.set_result(job())
        except Exception as problem:
            future.set_exception(problem)
        return future
