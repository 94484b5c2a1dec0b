"""Client of the carbon service: asks for every carbon zone of the cluster, again and again.

A value that it cannot get becomes a signal without a value and with the reason. No failure of the network or
the service raises here, and no other work waits for an answer.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple
from urllib.parse import urlencode

import aiohttp

from extender.adapters.carbon.answers import Ahead, Pace, Present, Unknown, ahead, pace, present
from extender.core.carbon.signal import Kind, Signal, other_kind
from extender.support.backoff import Backoff
from extender.support.problems import Problems

Sink = Callable[[Signal], None]

WINDOW_HOURS: Final = 48
_MOST_BYTES: Final = 4 << 20
_AT_ONCE: Final = 4
_FIRST_RETRY_S: Final = 1.0
_NO_ZONES_S: Final = 1.0
_JITTER: Final = 0.1
_GRAIN_S: Final = 5.0

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class ClientHealth:
    """How the carbon service is doing. `last_good_s` is when a zone's value was last got (epoch seconds).

    `problems` holds, by zone, why its value is not known; a zone whose value is known is not in it.
    """

    url: str
    polls: int = 0
    failures: int = 0
    last_good_s: float | None = None
    problems: dict[str, str] = field(default_factory=dict[str, str])


class _Kept(NamedTuple):
    ahead: Ahead
    got_s: float


class CarbonClient:
    """Polls the carbon service at `url` and hands a signal of each zone to `sink`.

    The client calls `zones` before each poll. It translates times of a service that replays a trace into
    real time: an hour of a trace that runs 3600 times as fast is a second. How fast it runs is
    asked at each poll; while that fails the last answer counts, and before the first one nothing is known.
    Only intensities of one `kind` are passed on as values.
    """

    def __init__(
        self,
        url: str,
        zones: Callable[[], Sequence[str]],
        sink: Sink,
        clock: Callable[[], float],
        *,
        poll_s: float = 60.0,
        timeout_s: float = 10.0,
        kind: Kind = Kind.AVERAGE,
        stale_after_s: float = 21_600.0,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._problems = Problems(_log, "carbon zone %s: no value: %s")
        self.health = ClientHealth(url, problems=self._problems.current)
        self._url = url.rstrip("/")
        self._zones = zones
        self._sink = sink
        self._clock = clock
        self._poll_s = poll_s
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._kind = kind
        self._stale_after_s = stale_after_s
        self._draw = draw
        self._kept: dict[str, _Kept] = {}
        self._pace: Pace | Unknown = Unknown("the extender has not read the carbon service's clock yet")
        self._again = asyncio.Event()
        self.asked = asyncio.Event()
        """Set once the client has requested zones, whatever the result."""

    def wake(self) -> None:
        """Poll now: zones were added."""
        self._again.set()

    async def run(self) -> None:
        """Poll for ever. Ends only by cancellation."""
        backoff = Backoff(_FIRST_RETRY_S, self._poll_s, draw=self._draw)
        async with aiohttp.ClientSession(timeout=self._timeout) as session:
            while True:
                self._again.clear()
                zones = [zone for zone in self._zones() if zone]
                if not zones:
                    await self._wait(_NO_ZONES_S)
                elif await self.poll(session, zones):
                    backoff.reset()
                    await self._wait(self._poll_s * (1 - _JITTER + 2 * _JITTER * self._draw()))
                else:
                    await self._wait(backoff.next_s())

    async def poll(self, session: aiohttp.ClientSession, zones: Sequence[str]) -> int:
        """Ask once for these zones and tell the sink; gives how many values were got."""
        if not zones:
            return 0
        self.health.polls += 1
        good = 0
        for signal in await self._signals(session, zones):
            self._sink(signal)
            if signal.g_per_kwh is None:
                self._problems.report(signal.zone, signal.reason)
            else:
                good += 1
                self._problems.solved(signal.zone)
        if good:
            self.health.last_good_s = self._clock()
        else:
            self.health.failures += 1
        self.asked.set()
        return good

    async def _wait(self, pause_s: float) -> None:
        try:
            async with asyncio.timeout(pause_s):
                await self._again.wait()
        except TimeoutError:
            return

    async def _signals(self, session: aiohttp.ClientSession, zones: Sequence[str]) -> list[Signal]:
        pace = await self._ask_pace(session)
        if isinstance(pace, Unknown):
            now = self._clock()
            return [Signal(zone, now, None, pace.reason) for zone in zones]
        gate = asyncio.Semaphore(_AT_ONCE)

        async def ask(zone: str) -> Signal:
            async with gate:
                return await self._signal(session, zone, pace.speed)

        return await asyncio.gather(*(ask(zone) for zone in zones))

    async def _signal(self, session: aiohttp.ClientSession, zone: str, speed: float | None) -> Signal:
        body, forecast = await asyncio.gather(
            self._get(session, "/v1/now", zone=zone),
            self._get(session, "/v1/forecast", zone=zone, hours=str(WINDOW_HOURS)),
        )
        now = self._clock()
        value = body if isinstance(body, Unknown) else present(body, zone)
        if isinstance(value, Unknown):
            return Signal(zone, now, None, value.reason)
        if reason := other_kind(value.kind, self._kind):
            return Signal(zone, now, None, reason, value.kind)
        if value.stale_after_s is not None:
            speed = None  # only live values age; beside a replay they stay in real time
        steps = forecast if isinstance(forecast, Unknown) else ahead(forecast, zone)
        signal = Signal(
            zone,
            self._at_s(value, now, speed),
            value.g_per_kwh,
            kind=value.kind,
            estimated=value.estimated,
            stale_after_s=value.stale_after_s,
        )
        if isinstance(steps, Ahead):
            self._kept[zone] = _Kept(_translated(steps, value, now, speed), now)
        kept = self._kept.get(zone)
        # One forecast that failed must not end every hold: the last one says the same of most hours.
        if kept is None or now - kept.got_s > self._stale_after_s:
            return replace(
                signal, reason=f"no forecast: {steps.reason}" if isinstance(steps, Unknown) else ""
            )
        return replace(
            signal,
            forecast=kept.ahead.values,
            forecast_start_s=kept.ahead.start_s,
            step_s=kept.ahead.step_s,
            lower=kept.ahead.lower,
            upper=kept.ahead.upper,
            forecast_low=kept.ahead.low,
            forecast_high=kept.ahead.high,
        )

    def _at_s(self, value: Present, now: float, speed: float | None) -> float:
        if speed is not None:
            return now - (value.served_s - value.at_s) / speed
        # The service tells whole seconds; without rounding each poll would look like news. A service whose
        # clock is ahead cannot make a value younger than it is.
        return min(now, round(value.at_s / _GRAIN_S) * _GRAIN_S)

    async def _ask_pace(self, session: aiohttp.ClientSession) -> Pace | Unknown:
        """How fast the service's time runs, by the last answer. A replay read as real time would be stale."""
        body = await self._get(session, "/v1/clock")
        told = body if isinstance(body, Unknown) else pace(body)
        if isinstance(told, Pace):
            self._pace = told
        elif isinstance(self._pace, Unknown):
            self._pace = Unknown(f"the carbon service does not tell its clock: {told.reason}"[:200])
        return self._pace

    async def _get(self, session: aiohttp.ClientSession, path: str, **query: str) -> bytes | Unknown:
        url = f"{self._url}{path}?{urlencode(query)}" if query else self._url + path
        try:
            async with session.get(url, allow_redirects=False) as answer:
                if answer.status != 200:
                    return Unknown(f"the carbon service answered {answer.status}")
                body = await answer.content.read(_MOST_BYTES + 1)
                while len(body) <= _MOST_BYTES and not answer.content.at_eof():
                    body += await answer.content.read(_MOST_BYTES + 1 - len(body))
        except TimeoutError:
            return Unknown("the carbon service did not answer in time")
        except (aiohttp.ClientError, OSError, ValueError) as problem:
            return Unknown(f"the carbon service cannot be asked: {problem}"[:200])
        return body if len(body) <= _MOST_BYTES else Unknown(f"an answer of more than {_MOST_BYTES} bytes")


def _translated(steps: Ahead, value: Present, now: float, speed: float | None) -> Ahead:
    """A forecast in our time."""
    if speed is None:
        return steps
    start_s = now + (steps.start_s - value.served_s) / speed
    return replace(steps, start_s=start_s, step_s=steps.step_s / speed)
