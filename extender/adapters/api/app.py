"""Probes, metrics, and what people ask: the queue, applications explained, nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Annotated, Any

import msgspec
from fastapi import FastAPI, HTTPException, Query, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

import extender
from extender.adapters.api import carbon, models
from extender.adapters.api.dashboard.routes import add_dashboard
from extender.adapters.api.dashboard.snapshot import Snapshots
from extender.adapters.api.dashboard.stream import LiveSnapshots
from extender.adapters.api.explaining import DEFAULT_WATTS_PER_CORE, WhyUnscheduled, add_explain, not_read
from extender.adapters.api.metrics import Metrics
from extender.adapters.api.openapi import STAGE_PRIORITY, describe_plain_routes
from extender.adapters.api.ports import CacheHealth, ServiceHealth
from extender.adapters.api.stages import StagePriorities, in_force, progress
from extender.core import queries as views
from extender.core.facts import GangKey
from extender.core.store import Store

JSON = "application/json"


def create_app(
    store: Store,
    health: ServiceHealth,
    metrics: Metrics,
    clock: Callable[[], float],
    watts_per_core: float = DEFAULT_WATTS_PER_CORE,
    savings: Callable[[], Mapping[str, Any] | None] = lambda: None,
    why_unscheduled: WhyUnscheduled = not_read,
) -> FastAPI:
    """The API over one store. `clock` gives seconds since the epoch.

    `app.state.live` is the dashboard's stream: run its `run` beside the server, and `close` it first.
    """
    app = FastAPI(
        title="carbon-scheduler",
        version=extender.__version__,
        summary="Gang- and carbon-aware kube-scheduler extender",
        docs_url=None,  # that page would load scripts from elsewhere; the dashboard has one of its own
        redoc_url=None,
    )
    _add_probes(app, store, health, clock)
    _add_views(app, store, clock)
    add_explain(app, store, clock, watts_per_core, why_unscheduled)
    snapshots = Snapshots(store, health, savings)
    app.state.live = LiveSnapshots(snapshots.sections, snapshots.look, clock)
    add_dashboard(app, app.state.live, snapshots)
    _add_priorities(app, store)

    @app.get("/metrics", tags=["operation"], response_class=Response)
    async def read_metrics() -> Response:
        """Prometheus metrics."""
        return Response(metrics.render(), media_type=CONTENT_TYPE_LATEST)

    describe_plain_routes(app)
    return app


def _add_probes(app: FastAPI, store: Store, health: ServiceHealth, clock: Callable[[], float]) -> None:
    @app.get("/livez", tags=["operation"])
    async def live() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    @app.get("/readyz", tags=["operation"], responses={503: {"model": models.Problem}})
    async def ready() -> dict[str, str]:
        """All caches were filled, and those of nodes and pods are not old; until then filter is an error."""
        if not views.synced(store):
            missing = ", ".join(cache.name for cache in health.caches() if not cache.synced)
            raise HTTPException(503, f"not synced yet: {missing or 'about to be'}")
        stale = _stale(health.caches(), clock())
        if stale:
            raise HTTPException(503, "; ".join(stale))
        return {"status": "ok"}

    @app.get("/healthz", tags=["operation"])
    async def detail() -> models.Health:
        """The service in detail. Always 200; look at `status`."""
        return _health(store, health, clock())


def _add_views(app: FastAPI, store: Store, clock: Callable[[], float]) -> None:
    @app.get("/v1/queue", tags=["gangs"], response_model=list[models.QueueEntry])
    async def queue(
        explained: Annotated[
            int, Query(ge=0, le=1000, description="How many gangs at the head to explain.")
        ] = views.MOST_EXPLAINED,
    ) -> Any:
        """Waiting gangs in order, and why each waits."""
        return views.queue(store, clock(), explained)

    @app.get("/v1/applications", tags=["gangs"], response_model=list[models.Summary])
    async def applications() -> Any:
        """Every known gang."""
        return views.applications(store)

    @app.get(
        "/v1/applications/{namespace}/{app_id}",
        tags=["gangs"],
        response_model=models.Application,
        responses={404: {"model": models.Problem}},
    )
    async def application(namespace: str, app_id: str) -> Any:
        """One gang explained, with the stages that its driver reported."""
        return Response(explained(store, GangKey(namespace, app_id), clock()), media_type=JSON)

    @app.get("/v1/nodes", tags=["cluster"], response_model=list[models.Node])
    async def nodes() -> Any:
        """Every node: what it offers, what is used, reserved and free."""
        return views.nodes(store)

    @app.get("/v1/totals", tags=["cluster"], response_model=views.Totals)
    async def totals() -> Any:
        """Sums over the cluster in base units, and numbers of gangs by state."""
        return views.totals(store)

    @app.get("/v1/carbon", tags=["cluster"])
    async def carbon_view() -> carbon.Carbon:
        """The carbon signal by zone, the budget of executors, and who waits for cleaner power."""
        return carbon.carbon(store, clock())


def explained(store: Store, key: GangKey, now: float) -> bytes:
    """All that is known of one gang, as JSON of `models.Application`.

    Stages may be thousands: they are written as they are, without a model of each.

    Raises:
        HTTPException: 404, the gang is not known.
    """
    found = views.application(store, key.namespace, key.app_id, now)
    if found is None:
        raise HTTPException(404, _unknown(key))
    more = {"hold": carbon.hold_of(store, key, now), **dict(progress(store, key, now))}
    model = models.Application.model_validate(found).model_copy(update=more)
    return msgspec.json.encode({**model.model_dump(mode="json"), "stages": views.stages(store, key)})


def _unknown(key: GangKey) -> str:
    return f"no gang {key} is known; see /v1/applications"


def _add_priorities(app: FastAPI, store: Store) -> None:
    """A plain route: what it answers is written already, so that nothing is left to validate."""
    priorities = StagePriorities(store)

    async def priority(request: Request) -> Response:
        key = GangKey(request.path_params["namespace"], request.path_params["app_id"])
        body = priorities.answer(key)
        if body is None:
            return JSONResponse({"detail": _unknown(key)}, 404)
        return Response(body, media_type=JSON)

    # First of all routes: they are tried in order.
    app.router.routes.insert(0, Route(STAGE_PRIORITY, priority))


def _health(store: Store, health: ServiceHealth, now: float) -> models.Health:
    caches = [_cache(cache, now) for cache in health.caches()]
    problems = [f"node {name} is over-committed" for name in views.overcommitted(store)]
    problems += views.faults(store)
    if views.synced(store):
        problems += [
            f"the watch of {cache.name} is not connected: {cache.last_problem or 'no reason known'}"
            for cache in caches
            if not cache.connected
        ]
    problems += _stale(health.caches(), now)
    problems += health.problems()
    status = "not-ready" if not views.synced(store) else "degraded" if problems else "ok"
    counts = views.counts(store)
    return models.Health(
        status=status,
        problems=problems,
        caches=caches,
        nodes=counts.nodes,
        waiting=counts.waiting,
        binds_under_way=health.binds_under_way(),
        annotations_waiting=health.annotations_waiting(),
        carbon=_carbon_source(health, now),
        accounting=_accounting(health),
        stage_sources=_stage_sources(health),
        on=in_force(health.allowed(), views.switches(store)),
    )


def _stale(caches: Iterable[CacheHealth], now: float) -> list[str]:
    """Problems of watches that may have missed something."""
    return [
        f"the watch of {cache.name} has been silent for {age_s:.0f} s: what is known of them may be old"
        for cache in caches
        if (age_s := cache.stale_for_s(now))
    ]


def _carbon_source(health: ServiceHealth, now: float) -> models.CarbonSource | None:
    source = health.carbon_source()
    if source is None:
        return None
    return models.CarbonSource(
        url=source.url,
        polls=source.polls,
        failures=source.failures,
        last_good_age_s=None if source.last_good_s is None else max(0.0, now - source.last_good_s),
        problems=dict(source.problems),
    )


def _stage_sources(health: ServiceHealth) -> models.StageSources | None:
    sources = health.stage_sources()
    return None if sources is None else models.StageSources(**asdict(sources))


def _accounting(health: ServiceHealth) -> models.Accounting | None:
    books = health.books()
    if books is None:
        return None
    return models.Accounting(
        writes=books.writes,
        problem=books.problem,
        unwritten=books.unwritten,
        fallbacks=dict(books.fallbacks),
    )


def _cache(cache: CacheHealth, now: float) -> models.Cache:
    age_s = None if cache.last_event_s is None else max(0.0, now - cache.last_event_s)
    return models.Cache(
        name=cache.name,
        synced=cache.synced,
        connected=cache.connected,
        last_event_age_s=age_s,
        restarts=cache.restarts,
        lists=cache.lists,
        skipped=cache.skipped,
        last_problem=cache.last_problem,
    )
