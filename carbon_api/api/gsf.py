"""The Web API of the Green Software Foundation's Carbon Aware SDK: its paths and shapes.

204 is an answer without values; 501 a zone without forecasts; 400 with ASP.NET's ValidationProblemDetails a
parameter that cannot be used, which names it. `rating` is gCO2e/kWh.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Final, TypeAlias

import numpy as np
import yaml
from fastapi import APIRouter, FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException as StarletteHTTPException

from carbon_api import times
from carbon_api.api.shared import MOST_POINTS, Parts, TimeText, json
from carbon_api.forecasts.base import Forecast
from carbon_api.prediction import LONGEST_HOURS
from carbon_api.readings import Missing, Value
from carbon_api.store import JUST_AFTER_S, Store, Zone

_MOST_BATCHED: Final = 50
_TAG: Final = "carbon-aware-sdk"

Location: TypeAlias = Annotated[str, Query(min_length=1, max_length=100, description="Id of a zone.")]
Locations: TypeAlias = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=100)]],
    Query(min_length=1, max_length=50, description="Ids of zones; may be given repeatedly."),
]
WindowMinutes: TypeAlias = Annotated[
    int | None, Query(ge=1, le=LONGEST_HOURS * 60, description="Length of the work, in minutes.")
]
_BAD_REQUEST_TYPE: Final = "https://tools.ietf.org/html/rfc9110#section-15.5.1"


class ValidationProblem(BaseModel):
    """Which parameters cannot be used, and why: ASP.NET's ValidationProblemDetails."""

    type: str
    title: str
    status: int
    errors: dict[str, list[str]]


class ProblemDetails(BaseModel):
    """Why there is no answer (RFC 9457)."""

    title: str
    status: int
    detail: str


def _described(model: type[BaseModel], description: str) -> dict[str, Any]:
    """A response that is a problem document."""
    content = {"application/problem+json": {"schema": model.model_json_schema()}}
    return {"description": description, "content": content}


_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    400: _described(ValidationProblem, "A parameter cannot be used."),
    422: {"description": "Not used: parameters that cannot be used are answered 400."},
}
_NOTHING: Final[dict[int | str, dict[str, Any]]] = {204: {"description": "Nothing is known."}}


class Emissions(BaseModel):
    """An interval of a location."""

    location: str
    time: str
    rating: float
    duration: str = Field(description="HH:MM:SS")


class DataPoint(BaseModel):
    """A stretch of a forecast; `duration` in minutes, `value` in gCO2e/kWh."""

    location: str
    timestamp: str
    duration: int
    value: float


class EmissionsForecast(BaseModel):
    """A forecast, averaged over windows, and the best windows in it."""

    requestedAt: str  # noqa: N815 - the SDK's names
    generatedAt: str  # noqa: N815
    location: str
    dataStartAt: str  # noqa: N815
    dataEndAt: str  # noqa: N815
    windowSize: int  # noqa: N815
    optimalDataPoints: list[DataPoint]  # noqa: N815
    forecastData: list[DataPoint]  # noqa: N815


class AverageIntensity(BaseModel):
    """The mean intensity of a stretch of time."""

    location: str
    startTime: str  # noqa: N815
    endTime: str  # noqa: N815
    carbonIntensity: float  # noqa: N815


class AverageRequest(BaseModel):
    """A stretch of time of a location."""

    location: str = Field(min_length=1, max_length=100)
    startTime: str = Field(json_schema_extra={"format": "date-time"})  # noqa: N815
    endTime: str = Field(json_schema_extra={"format": "date-time"})  # noqa: N815


class ForecastRequest(BaseModel):
    """A forecast as it would have been made at an earlier moment."""

    requestedAt: str = Field(json_schema_extra={"format": "date-time"})  # noqa: N815
    location: str = Field(min_length=1, max_length=100)
    dataStartAt: str | None = Field(None, json_schema_extra={"format": "date-time"})  # noqa: N815
    dataEndAt: str | None = Field(None, json_schema_extra={"format": "date-time"})  # noqa: N815
    windowSize: int | None = Field(None, ge=1, le=LONGEST_HOURS * 60)  # noqa: N815


class _Invalid(Exception):
    """A parameter that cannot be used."""

    def __init__(self, parameter: str, problem: str) -> None:
        super().__init__(problem)
        self.parameter = parameter


class _Route(APIRoute):
    """Answers errors as the SDK does: clients read `errors` of a 400, and the title of others."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The route's handler, with its exceptions as problem documents."""
        handler = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handler(request)
            except _Invalid as problem:
                return _problem({problem.parameter: [str(problem)]})
            except RequestValidationError as problem:
                errors: dict[str, list[str]] = {}
                for error in problem.errors():
                    errors.setdefault(_parameter(error["loc"]), []).append(str(error["msg"]))
                return _problem(errors)
            except StarletteHTTPException as problem:
                if problem.status_code == 400:  # the body is no text
                    return _problem({"body": [problem.detail]})
                found = {"title": "No answer", "status": problem.status_code, "detail": problem.detail}
                return _document(found, problem.status_code)

        return answer


def _parameter(location: tuple[int | str, ...]) -> str:
    """Name of a parameter, or where a field of the body stands: `location`, `0.startTime`, `body`."""
    return ".".join(str(part) for part in location[1:]) or str(location[0])


def _problem(errors: dict[str, list[str]]) -> Response:
    title = "One or more validation errors occurred."
    return _document({"type": _BAD_REQUEST_TYPE, "title": title, "status": 400, "errors": errors}, 400)


def _document(content: dict[str, Any], status: int) -> Response:
    answer = json(content, status)
    answer.headers["Content-Type"] = "application/problem+json; charset=utf-8"
    return answer


def _found(store: Store, location: str) -> Zone:
    zone = store.get(location)
    if isinstance(zone, Missing):
        raise _Invalid("location", f"Unknown location {location[:100]!r}: {zone.detail}")
    return zone


def _moment(parameter: str, text: str | None, default_s: float) -> float:
    """Epoch seconds of a parameter's time; `default_s` where it is absent."""
    if text is None:
        return default_s
    try:
        return times.parse(text)
    except ValueError as problem:
        raise _Invalid(parameter, str(problem)) from None


def add_gsf(app: FastAPI, parts: Parts) -> None:
    """Add `/emissions/*`, `/locations`, `/health` and `/api/v1/swagger.yaml`."""
    router = APIRouter(route_class=_Route)
    _add_actual(router, parts)
    _add_average(router, parts)
    _add_forecasts(router, parts)
    _add_operation(router, app)
    app.include_router(router)


def _add_operation(router: APIRouter, app: FastAPI) -> None:
    @router.get("/health", tags=[_TAG], response_class=PlainTextResponse)
    async def health() -> str:
        """`Healthy` while the process answers; see `/healthz` for the state of each source."""
        return "Healthy"

    @router.get("/api/v1/swagger.yaml", tags=[_TAG], response_class=Response)
    async def swagger() -> Response:
        """This service's OpenAPI document as YAML."""
        text = yaml.safe_dump(app.openapi(), sort_keys=False, allow_unicode=True)
        return Response(text, media_type="application/yaml")


def _add_actual(router: APIRouter, parts: Parts) -> None:
    described: dict[str, Any] = {
        "tags": [_TAG],
        "response_model": list[Emissions],
        "responses": _REFUSALS | _NOTHING,
    }

    @router.get("/emissions/bylocation", **described)
    async def by_location(location: Location, time: TimeText = None, toTime: TimeText = None) -> Response:  # noqa: N803
        """Intervals of a location: those from `time` to `toTime`, the one at `time`, or the present one."""
        return _listed(_emissions(_found(parts.store, location), time, toTime))

    @router.get("/emissions/bylocations", **described)
    async def by_locations(location: Locations, time: TimeText = None, toTime: TimeText = None) -> Response:  # noqa: N803
        """The same for several locations."""
        zones = [_found(parts.store, each) for each in location]
        return _listed([entry for zone in zones for entry in _emissions(zone, time, toTime)])

    @router.get("/emissions/bylocations/best", **described)
    async def best(location: Locations, time: TimeText = None, toTime: TimeText = None) -> Response:  # noqa: N803
        """The cleanest intervals among several locations; more than one if they are equally clean."""
        zones = [_found(parts.store, each) for each in location]
        if len({zone.kind for zone in zones}) > 1:
            raise _Invalid("location", "average and marginal intensities cannot be compared")
        entries = [entry for zone in zones for entry in _emissions(zone, time, toTime)]
        least = min((entry["rating"] for entry in entries), default=None)
        return _listed([entry for entry in entries if entry["rating"] == least])

    @router.get("/locations", tags=[_TAG])
    async def locations() -> dict[str, dict[str, str | None]]:
        """Every location. Coordinates are not known."""
        return {
            zone.id: {"name": zone.name, "latitude": None, "longitude": None} for zone in parts.store.zones()
        }


def _add_average(router: APIRouter, parts: Parts) -> None:
    @router.get(
        "/emissions/average-carbon-intensity",
        tags=[_TAG],
        response_model=AverageIntensity,
        responses=_REFUSALS | _NOTHING,
    )
    async def average(
        location: Location,
        startTime: Annotated[str, Query(json_schema_extra={"format": "date-time"})],  # noqa: N803
        endTime: Annotated[str, Query(json_schema_extra={"format": "date-time"})],  # noqa: N803
    ) -> Response:
        """The mean of the known values that overlap a stretch of past time, each by its share of it."""
        zone = _found(parts.store, location)
        mean = _average(zone, startTime, endTime)
        return Response(status_code=204) if mean is None else json(mean)

    @router.post(
        "/emissions/average-carbon-intensity/batch",
        tags=[_TAG],
        response_model=list[AverageIntensity],
        responses=_REFUSALS | _NOTHING,
    )
    async def average_batch(
        requests: Annotated[list[AverageRequest], Field(min_length=1, max_length=_MOST_BATCHED)],
    ) -> Response:
        """The means of several stretches, in the order of the requests; those without values are left out."""
        means = [
            _average(_found(parts.store, each.location), each.startTime, each.endTime) for each in requests
        ]
        return _listed([mean for mean in means if mean is not None])


def _add_forecasts(router: APIRouter, parts: Parts) -> None:
    described: dict[str, Any] = {
        "tags": [_TAG],
        "response_model": list[EmissionsForecast],
        "responses": _REFUSALS | {501: _described(ProblemDetails, "There is no forecast.")},
    }

    @router.get("/emissions/forecasts/current", **described)
    async def current(
        location: Locations,
        dataStartAt: TimeText = None,  # noqa: N803
        dataEndAt: TimeText = None,  # noqa: N803
        windowSize: WindowMinutes = None,  # noqa: N803
    ) -> Response:
        """Forecasts of locations as of now, and their best windows."""
        zones = [_found(parts.store, each) for each in location]
        asked = (dataStartAt, dataEndAt, windowSize)
        return json([await _forecast(parts, zone, zone.now_s(), *asked) for zone in zones])

    @router.post("/emissions/forecasts/batch", **described)
    async def batch(
        requests: Annotated[list[ForecastRequest], Field(min_length=1, max_length=_MOST_BATCHED)],
    ) -> Response:
        """Forecasts as they would have been made at earlier moments, from what was known then."""
        answers: list[dict[str, Any]] = []
        for each in requests:
            zone = _found(parts.store, each.location)
            issued_s = _moment("requestedAt", each.requestedAt, 0.0)
            asked = (each.dataStartAt, each.dataEndAt, each.windowSize)
            answers.append(await _forecast(parts, zone, issued_s, *asked))
        return json(answers)


def _listed(entries: list[dict[str, Any]]) -> Response:
    """The entries, or 204 if there are none."""
    return json(entries) if entries else Response(status_code=204)


def _emissions(zone: Zone, time: str | None, to_time: str | None) -> list[dict[str, Any]]:
    """The known intervals of the request."""
    if zone.series is None:
        return []
    if to_time is None:
        reading = zone.reading(None if time is None else _moment("time", time, 0.0))
        return [_entry(zone, reading)] if isinstance(reading, Value) else []
    end_s = min(_moment("toTime", to_time, 0.0), zone.now_s() + JUST_AFTER_S)
    start_s = max(_moment("time", time, end_s - zone.series.step_s), float(zone.series.start_s))
    if (end_s - start_s) / zone.series.step_s > MOST_POINTS:
        raise _Invalid("toTime", f"more than {MOST_POINTS} intervals; ask for a shorter time")
    series = zone.history(start_s, end_s)
    if isinstance(series, Missing):
        return []
    return [_entry(zone, reading) for _, reading in series.readings() if isinstance(reading, Value)]


def _entry(zone: Zone, value: Value) -> dict[str, Any]:
    step_s = 0 if zone.series is None else zone.series.step_s
    return {
        "location": zone.id,
        "time": times.iso(value.at_s),
        "rating": value.g_per_kwh,
        "duration": times.duration(step_s),
    }


def _average(zone: Zone, start: str, end: str) -> dict[str, Any] | None:
    """The mean of a stretch in the SDK's shape; None if nothing in it is known."""
    start_s, end_s = _moment("startTime", start, 0.0), _moment("endTime", end, 0.0)
    if end_s <= start_s:
        raise _Invalid("endTime", "endTime must be after startTime")
    mean = _mean(zone, start_s, end_s)
    if mean is None:
        return None
    return {
        "location": zone.id,
        "startTime": times.iso(start_s),
        "endTime": times.iso(end_s),
        "carbonIntensity": mean,
    }


def _mean(zone: Zone, start_s: float, end_s: float) -> float | None:
    """The mean over a stretch of time, weighted by overlap; None if nothing in it is known."""
    if zone.series is None or end_s <= start_s:
        return None
    step_s = zone.series.step_s
    series = zone.history(start_s - step_s + JUST_AFTER_S, end_s)
    if isinstance(series, Missing) or not series.present.any():
        return None
    starts = series.times[series.present].astype(np.float64)
    shares = np.minimum(starts + step_s, end_s) - np.maximum(starts, start_s)
    if shares.sum() <= 0.0:
        return None
    return float(np.average(series.values[series.present], weights=shares))


async def _forecast(
    parts: Parts,
    zone: Zone,
    issued_s: float,
    start: str | None,
    end: str | None,
    window_minutes: int | None,
) -> dict[str, Any]:
    """One forecast in the SDK's shape. 501 if there is none; times that do not fit it are invalid."""
    made = await parts.predictions.get(zone, LONGEST_HOURS, issued_s=issued_s)
    if isinstance(made, Missing):
        raise HTTPException(501, f"zone {zone.id}: {made}")
    last_s = float(made.start_s + made.step_s * len(made))
    start_s = _moment("dataStartAt", start, float(made.start_s))
    end_s = _moment("dataEndAt", end, last_s)
    if not made.start_s <= start_s < end_s <= last_s:
        covered = f"{times.iso(made.start_s)} to {times.iso(last_s)}"
        raise _Invalid("dataStartAt", f"dataStartAt and dataEndAt must be in order, within {covered}")
    window_s = made.step_s if window_minutes is None else window_minutes * 60
    points = _windows(zone.id, made, start_s, end_s, window_s)
    least = min((point["value"] for point in points), default=None)
    return {
        "requestedAt": times.iso(issued_s),
        "generatedAt": times.iso(made.issued_s),
        "location": zone.id,
        "dataStartAt": times.iso(start_s),
        "dataEndAt": times.iso(end_s),
        "windowSize": window_s // 60,
        "optimalDataPoints": [point for point in points if point["value"] == least],
        "forecastData": points,
    }


def _windows(
    zone_id: str, made: Forecast, start_s: float, end_s: float, window_s: int
) -> list[dict[str, Any]]:
    """Means of every window that starts with an interval (or at `start_s`) and ends by `end_s`."""
    starts = np.maximum(made.times.astype(np.float64), start_s)
    starts = np.unique(starts[(starts + window_s <= end_s) & (made.times + made.step_s > start_s)])
    # The integral up to a moment is linear within an interval, so any window is a difference of two.
    edges = np.append(made.times, made.times[-1] + made.step_s).astype(np.float64)
    integral = np.concatenate(([0.0], np.cumsum(made.mean * made.step_s)))
    sums = np.interp(starts + window_s, edges, integral) - np.interp(starts, edges, integral)
    return [
        {
            "location": zone_id,
            "timestamp": times.iso(at_s),
            "duration": window_s // 60,
            "value": float(round(total / window_s, 6)),
        }
        for at_s, total in zip(starts.tolist(), sums.tolist(), strict=True)
    ]
