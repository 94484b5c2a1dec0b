"""ENTSO-E's transparency platform: generation by type (A75, realised A16), times a factor for each type.

The result is the intensity of what a zone generates; imports and exports are not followed. An hour counts
only when every type that the answer knows is complete in it: a missing wind farm must not make a grid look
dirty, nor a missing coal plant clean. A point or a period that cannot be read costs its own hours and no
others. A series that cannot be read costs the whole answer, because every sum would lack it.
"""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final
from xml.etree.ElementTree import Element

from carbon_api.readings import Kind, Missing, Reading, Reason, number, read
from carbon_api.sources.base import Answer, answer
from carbon_api.sources.factors import FACTORS_G_PER_KWH, STORAGE
from carbon_api.sources.http import Fault, Web, base_url, moment
from carbon_api.sources.keys import KeyFile

URL: Final = "https://web-api.tp.entsoe.eu/api"
STEP_S: Final = 3600
HIGHEST_MW: Final = 500_000.0
"""No type of generation in any zone reaches this."""

_STEPS_S: Final = {"PT15M": 900, "PT30M": 1800, "PT60M": 3600, "PT1H": 3600}
_MOST_POSITIONS: Final = 100_000
_FORBIDDEN = re.compile(rb"<!(DOCTYPE|ENTITY)", re.IGNORECASE)

_Hours = dict[int, list[tuple[int, float]]]  # start of an hour -> seconds and MW of its parts


class Entsoe:
    """Client of the restful API. `zone` is an EIC code such as 10YFR-RTE------C."""

    name = "entso-e"
    kind = Kind.AVERAGE
    longest_s = 30 * 86_400.0

    def __init__(
        self, web: Web, key: KeyFile, url: str = URL, factors: Mapping[str, float] | None = None
    ) -> None:
        self._web = web
        self._key = key
        self._url = base_url(url, with_key=True)
        self._factors = FACTORS_G_PER_KWH | dict(factors or {})

    async def fetch(self, zone: str, start_s: float, end_s: float) -> Answer:
        """Hourly values of a window, computed from the generation mix."""
        key = self._key.read()
        if isinstance(key, Missing):
            return Answer(None, key)
        window = (math.floor(start_s / STEP_S) * STEP_S, math.ceil(end_s / STEP_S) * STEP_S)
        params = {
            "securityToken": key,
            "documentType": "A75",
            "processType": "A16",
            "in_Domain": zone,
            "periodStart": _stamp(window[0]),
            "periodEnd": _stamp(window[1]),
        }
        reply = await self._web.get(self._url, params)
        if isinstance(reply, Fault):
            return reply.answer()
        root = _root(reply.body)
        if isinstance(root, Missing):
            return Answer(None, root)
        return answer(zone, STEP_S, self.kind, self.name, window, self._readings(zone, root))

    def _readings(self, zone: str, root: Element) -> Iterator[Reading]:
        mix: dict[str, _Hours] = defaultdict(lambda: defaultdict(list))
        refused: list[Missing] = []
        for series in _all(root, "TimeSeries"):
            fault = self._add(zone, series, mix, refused)
            if fault is not None:
                yield fault
                return
        hours = sorted({hour for of_type in mix.values() for hour in of_type})
        for hour in hours:
            yield self._intensity(hour, mix)
        yield from refused  # after the gaps that they leave: the cause is what people want to read

    def _add(
        self, zone: str, series: Element, mix: dict[str, _Hours], refused: list[Missing]
    ) -> Missing | None:
        """Add one TimeSeries to the mix, or say why it cannot be. `refused` gets what is left out of it."""
        if _text(series, "outBiddingZone_Domain.mRID") is not None:
            return None  # what pumps consume, not what is generated
        domain = _text(series, "inBiddingZone_Domain.mRID")
        if domain != zone:
            return Missing(Reason.WRONG_ZONE, f"asked for {zone}, the answer is for {str(domain)[:20]}")
        if _text(series, "quantity_Measure_Unit.name") not in {"MAW", None}:
            return Missing(Reason.WRONG_UNIT, "the quantities are not in MW")
        group = _first(series, "MktPSRType")
        kind = None if group is None else _text(group, "psrType")
        if kind in STORAGE:
            return None
        if kind not in self._factors:
            return Missing(Reason.UNREADABLE, f"no factor is known for generation type {str(kind)[:20]}")
        for period in _all(series, "Period"):
            refused += _add_period(period, _text(series, "curveType") == "A03", mix[kind])
        return None

    def _intensity(self, hour: int, mix: Mapping[str, _Hours]) -> Reading:
        total_mw = emitted = 0.0
        for kind, hours in mix.items():
            parts = hours.get(hour, [])
            covered_s = sum(seconds for seconds, _ in parts)
            mean_mw = sum(seconds * mw for seconds, mw in parts) / STEP_S
            if covered_s != STEP_S or math.isnan(mean_mw):
                return Missing(Reason.GAP, f"generation of type {kind} is not complete in an hour")
            total_mw += mean_mw
            emitted += mean_mw * self._factors[kind]
        if total_mw <= 0.0:
            return Missing(Reason.GAP, "nothing was generated in an hour")
        return read(emitted / total_mw, float(hour), self.kind, self.name)


def _add_period(period: Element, repeats: bool, hours: _Hours) -> list[Missing]:
    """Add the quantities of one Period; returns what could not be read of it.

    A point that is missing or cannot be read is NaN. `repeats` is curve type A03, in which a point counts
    until the next one: an unreadable one hides all up to the next, and one without a place hides the period.
    """
    refused: list[Missing] = []
    interval = _first(period, "timeInterval")
    start_s = moment(None if interval is None else _text(interval, "start"))
    end_s = moment(None if interval is None else _text(interval, "end"))
    step_s = _STEPS_S.get(_text(period, "resolution") or "")
    if step_s is None or not 0.0 < end_s - start_s <= step_s * _MOST_POSITIONS or start_s % step_s:
        return [Missing(Reason.UNREADABLE, "a period has no usable interval or resolution")]
    count = int((end_s - start_s) // step_s)
    points: dict[int, float] = {}
    misplaced = False
    for point in _all(period, "Point"):
        position, quantity = _text(point, "position"), _quantity(_text(point, "quantity"))
        if position is None or not re.fullmatch(r"[0-9]{1,6}", position) or not 1 <= int(position) <= count:
            refused.append(Missing(Reason.UNREADABLE, "a point lies outside its period"))
            misplaced = True
            continue
        if isinstance(quantity, Missing):
            refused.append(quantity)
            quantity = math.nan
        points[int(position)] = quantity
    if misplaced and repeats:
        points = {}
    last = math.nan
    for position in range(1, count + 1):
        last = points.get(position, last if repeats else math.nan)
        at_s = int(start_s) + (position - 1) * step_s
        hours.setdefault(at_s - at_s % STEP_S, []).append((step_s, last))
    return refused


def _quantity(text: str | None) -> float | Missing:
    """Megawatts of a point."""
    try:
        value = number(float(text if text is not None else "nothing"))
    except ValueError:
        return Missing(Reason.NOT_A_NUMBER, "a quantity is not a number")
    if not isinstance(value, Missing) and not 0.0 <= value <= HIGHEST_MW:
        return Missing(Reason.ABSURD, f"a quantity of {value:g} MW")
    return value


def _root(body: bytes) -> Element | Missing:
    """The document, if it is one with generation in it."""
    if _FORBIDDEN.search(body):  # also what would make the parser unsafe: entities need a document type
        return Missing(Reason.UNREADABLE, "the answer is not a document of generation")
    try:
        root = ElementTree.fromstring(body)  # noqa: S314 - document types were refused
    except (ElementTree.ParseError, ValueError, LookupError):
        return Missing(Reason.UNREADABLE, "the answer is not XML")
    tag = _tag(root)
    if tag == "Acknowledgement_MarketDocument":
        return Missing(Reason.NOT_COVERED, "the platform has no data for this zone and time")
    if tag != "GL_MarketDocument":
        return Missing(Reason.UNREADABLE, "the answer is not a document of generation")
    return root


def _tag(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]  # the namespace carries a version that changes


def _all(parent: Element, tag: str) -> Iterator[Element]:
    return (child for child in parent if _tag(child) == tag)


def _first(parent: Element, tag: str) -> Element | None:
    return next(_all(parent, tag), None)


def _text(parent: Element, tag: str) -> str | None:
    found = _first(parent, tag)
    return None if found is None or found.text is None else found.text.strip()


def _stamp(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y%m%d%H%M")
