"""Electricity Maps, API v3: hourly averages of many zones, with a key.

Three traps: a zone it does not know becomes the caller's own (so the returned zone is compared), the value
can be null, and the estimation flag has two spellings.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from carbon_api import times
from carbon_api.readings import Kind, Missing, Reading, Reason, read
from carbon_api.sources.base import Answer, answer
from carbon_api.sources.http import Fault, Web, base_url, mapping, moment, objects
from carbon_api.sources.keys import KeyFile

URL: Final = "https://api.electricitymaps.com/v3"
STEP_S: Final = 3600
_DAY_S: Final = 86_400.0


class ElectricityMaps:
    """Client of `/carbon-intensity/*`. Factors are life-cycle unless `direct` is set."""

    name = "electricity-maps"
    kind = Kind.AVERAGE
    longest_s = 10 * _DAY_S

    def __init__(
        self,
        web: Web,
        key: KeyFile,
        url: str = URL,
        direct: bool = False,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._web = web
        self._wall = wall
        self._key = key
        self._url = base_url(url, with_key=True)
        self._factors = "direct" if direct else "lifecycle"

    async def fetch(self, zone: str, start_s: float, end_s: float) -> Answer:
        """Values of a window. The last day comes from `/history`, which every plan has."""
        key = self._key.read()
        if isinstance(key, Missing):
            return Answer(None, key)
        params = {
            "zone": zone,
            "emissionFactorType": self._factors,
            "shouldUseFallbackCallerLookup": "false",
        }
        path, field = "history", "history"
        if start_s < self._wall() - _DAY_S:
            path, field = "past-range", "data"
            params |= {"start": times.iso(start_s), "end": times.iso(end_s)}
        reply = await self._web.get(f"{self._url}/carbon-intensity/{path}", params, {"auth-token": key})
        if isinstance(reply, Fault):
            return reply.answer()
        document = reply.json()
        if isinstance(document, Missing):
            return Answer(None, document)
        window = (start_s, end_s)
        return answer(zone, STEP_S, self.kind, self.name, window, self._readings(zone, document, field))

    def _readings(self, zone: str, document: object, field: str) -> Iterator[Reading]:
        if (fault := self._wrong(zone, mapping(document), must_name=True)) is not None:
            yield fault
            return
        entries = objects(document, field)
        if isinstance(entries, Missing):
            yield entries
            return
        for entry in entries:
            if (fault := self._wrong(zone, entry, must_name=False)) is not None:
                yield fault
                continue
            at_s = moment(entry.get("datetime"))
            yield read(
                entry.get("carbonIntensity"),
                at_s,
                self.kind,
                self.name,
                _estimated(entry),
                zero_possible=self._factors == "direct",
            )

    def _wrong(self, zone: str, part: Mapping[str, Any], must_name: bool) -> Missing | None:
        """Why a part of the answer does not fit the request."""
        if (must_name or "zone" in part) and part.get("zone") != zone:
            named = str(part.get("zone"))[:20]
            return Missing(Reason.WRONG_ZONE, f"asked for {zone}, the answer is for {named}")
        if part.get("temporalGranularity", "hourly") != "hourly":
            return Missing(Reason.WRONG_UNIT, "the values are not hourly")
        if part.get("emissionFactorType", self._factors) != self._factors:
            return Missing(Reason.WRONG_UNIT, f"the factors are not {self._factors}")
        return None


def _estimated(entry: Mapping[str, Any]) -> bool:
    return bool(entry.get("isEstimated") or entry.get("estimationMethod") or entry.get("estimatedMethod"))
