"""The UK Carbon Intensity API (NESO): half-hourly averages of Great Britain, without a key; data CC BY 4.0.

Only `actual` counts. The `forecast` beside it is never used in its place, not even when `actual` is null; and
for regions there are only forecasts, so only the national zone is offered.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from carbon_api.readings import Kind, Missing, Reading, Reason, read
from carbon_api.sources.base import Answer, answer
from carbon_api.sources.http import Fault, Web, base_url, mapping, moment, objects

URL: Final = "https://api.carbonintensity.org.uk"
ZONE: Final = "GB"
STEP_S: Final = 1800


class UkCarbonIntensity:
    """Client of `/intensity/{from}/{to}`."""

    name = "uk-carbon-intensity"
    kind = Kind.AVERAGE
    longest_s = 13 * 86_400.0

    def __init__(self, web: Web, url: str = URL) -> None:
        self._web = web
        self._url = base_url(url, with_key=False)

    async def fetch(self, zone: str, start_s: float, end_s: float) -> Answer:
        """Values of a window; the zone is GB."""
        if zone != ZONE:
            return Answer(None, Missing(Reason.UNKNOWN_ZONE, f"this source has only the zone {ZONE}"))
        path = f"/intensity/{_minute(start_s)}/{_minute(end_s)}"
        reply = await self._web.get(self._url + path, {})
        if isinstance(reply, Fault):
            return reply.answer()
        return answer(zone, STEP_S, self.kind, self.name, (start_s, end_s), self._readings(reply.json()))

    def _readings(self, document: object) -> Iterator[Reading]:
        entries = objects(document, "data")
        if isinstance(entries, Missing):
            yield entries
            return
        for entry in entries:
            start_s, end_s = moment(entry.get("from")), moment(entry.get("to"))
            if end_s - start_s != STEP_S:
                yield Missing(Reason.UNREADABLE, "an interval is not half an hour long")
                continue
            actual = mapping(entry.get("intensity")).get("actual")
            yield read(actual, start_s, self.kind, self.name)


def _minute(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%MZ")
