"""Code that the interfaces share: the service's parts, times in queries, answers without model validation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeAlias

import msgspec
from fastapi import HTTPException, Query, Request, Response
from pydantic import BaseModel

from carbon_api import times
from carbon_api.clock import Clock
from carbon_api.prediction import Predictions
from carbon_api.readings import Missing
from carbon_api.settings import Settings
from carbon_api.store import Store, Zone

MOST_POINTS: Final = 200_000
"""More intervals than this are not answered at once: five-minute values of nearly two years."""

_LARGEST_BODY_BYTES: Final = 1_000_000


@dataclass(frozen=True)
class Parts:
    """The parts that an interface may use. `clock` is the one of replayed zones, if there are any."""

    settings: Settings
    store: Store
    predictions: Predictions
    clock: Clock
    replays: bool


class Problem(BaseModel):
    """Why a request was not answered."""

    detail: str


TimeText: TypeAlias = Annotated[
    str | None, Query(json_schema_extra={"format": "date-time"}, description="ISO 8601; UTC without offset.")
]


def moment(text: str | None, default_s: float) -> float:
    """Epoch seconds of a query's time. Answers 400 if it cannot be read."""
    if text is None:
        return default_s
    try:
        return times.parse(text)
    except ValueError as problem:
        raise HTTPException(400, str(problem)) from None


def found(store: Store, zone_id: str, status: int = 404) -> Zone:
    """The zone, or an answer with this status that says which there are."""
    zone = store.get(zone_id)
    if isinstance(zone, Missing):
        raise HTTPException(status, f"unknown zone {zone_id[:100]!r}: {zone.detail}")
    return zone


def json(content: Any, status: int = 200) -> Response:
    """A JSON answer, encoded as it is."""
    return Response(msgspec.json.encode(content), status, media_type="application/json")


async def body(request: Request) -> Any:
    """The JSON of a request of bearable size. Raises `ValueError` if it is none."""
    raw = bytearray()
    async for part in request.stream():
        raw += part
        if len(raw) > _LARGEST_BODY_BYTES:
            raise ValueError("the body is too large")
    try:
        return msgspec.json.decode(bytes(raw))
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise ValueError("the body is not JSON") from None
