"""WattTime, API v3: marginal rates at five minutes, with a login whose token lives for half an hour.

Its unit is pounds per megawatt-hour and is converted here. The numbers are marginal: the `Kind` keeps them
from ever joining a series of averages.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from typing import Final

from carbon_api import times
from carbon_api.readings import Kind, Missing, Reading, Reason, number, read
from carbon_api.sources.base import Answer, answer
from carbon_api.sources.http import Fault, Reply, Web, base_url, mapping, moment, objects
from carbon_api.sources.keys import KeyFile

URL: Final = "https://api.watttime.org"
STEP_S: Final = 300
G_PER_KWH: Final = 0.45359237
"""Grams per kilowatt-hour in one pound per megawatt-hour (the pound is exactly 453.59237 g)."""

_TOKEN_LIFE_S: Final = 25 * 60.0  # thirty minutes, less a margin
_LONGEST_TOKEN: Final = 16_384


class WattTime:
    """Client of `/v3/historical`; logs in again when its token ends, and once when it is refused."""

    name = "watttime"
    kind = Kind.MARGINAL
    longest_s = 31 * 86_400.0

    def __init__(
        self,
        web: Web,
        username: KeyFile,
        password: KeyFile,
        url: str = URL,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._web = web
        self._username = username
        self._password = password
        self._url = base_url(url, with_key=True)
        self._monotonic = monotonic
        self._token = ""
        self._token_until_s = 0.0

    async def fetch(self, zone: str, start_s: float, end_s: float) -> Answer:
        """Values of a window; `zone` is one of WattTime's regions."""
        params = {
            "region": zone,
            "signal_type": "co2_moer",
            "start": times.iso(start_s),
            "end": times.iso(end_s),
        }
        reply = await self._get("/v3/historical", params)
        if isinstance(reply, Fault):
            return reply.answer()
        document = reply.json()
        if isinstance(document, Missing):
            return Answer(None, document)
        return answer(zone, STEP_S, self.kind, self.name, (start_s, end_s), self._readings(zone, document))

    async def _get(self, path: str, params: dict[str, str]) -> Reply | Fault:
        """A GET with the token. One that expired early is replaced once, and only once."""
        fault: Fault | None = None
        for _ in range(2):
            token = await self._login()
            if isinstance(token, Fault):
                return token
            reply = await self._web.get(self._url + path, params, {"Authorization": f"Bearer {token}"})
            if not (isinstance(reply, Fault) and reply.status == 401):
                return reply
            self._token, fault = "", reply
        assert fault is not None
        return fault

    async def _login(self) -> str | Fault:
        """A token that is still valid."""
        if self._token and self._monotonic() < self._token_until_s:
            return self._token
        username, password = self._username.read(), self._password.read()
        for part in (username, password):
            if isinstance(part, Missing):
                return Fault(part)
        pair = base64.b64encode(f"{username}:{password}".encode()).decode()
        reply = await self._web.get(f"{self._url}/login", {}, {"Authorization": f"Basic {pair}"})
        if isinstance(reply, Fault):
            return reply
        token = mapping(reply.json()).get("token")
        if not isinstance(token, str) or not 0 < len(token) < _LONGEST_TOKEN:
            return Fault(Missing(Reason.UNREADABLE, "the login answered no token"))
        if not token.isascii() or not token.isprintable():
            return Fault(Missing(Reason.UNREADABLE, "the login answered no usable token"))
        self._token, self._token_until_s = token, self._monotonic() + _TOKEN_LIFE_S
        return token

    def _readings(self, zone: str, document: object) -> Iterator[Reading]:
        meta = mapping(mapping(document).get("meta"))
        if meta.get("region") != zone:
            named = str(meta.get("region"))[:20]
            yield Missing(Reason.WRONG_ZONE, f"asked for {zone}, the answer is for {named}")
            return
        if meta.get("units") != "lbs_co2_per_mwh" or meta.get("signal_type") != "co2_moer":
            yield Missing(Reason.WRONG_UNIT, "the answer is not a marginal rate in lb/MWh")
            return
        if meta.get("data_point_period_seconds", STEP_S) != STEP_S:
            yield Missing(Reason.WRONG_UNIT, f"the values are not {STEP_S} s apart")
            return
        entries = objects(document, "data")
        if isinstance(entries, Missing):
            yield entries
            return
        for entry in entries:
            pounds = number(entry.get("value"))
            if isinstance(pounds, Missing):
                yield pounds
                continue
            at_s = moment(entry.get("point_time"))
            yield read(pounds * G_PER_KWH, at_s, self.kind, self.name)
