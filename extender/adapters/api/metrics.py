"""Prometheus metrics: what was answered, counted as it happens; the state, read when asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from extender.adapters.api import carbon
from extender.adapters.api.ports import ServiceHealth
from extender.adapters.api.stages import in_force
from extender.core import queries
from extender.core.queries import missing_room, totals
from extender.core.store import Store

BUCKETS_S: Final = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.015, 0.03, 0.1, 0.3, 1.0, 5.0)

_PREFIX: Final = "carbon_scheduler_"


class Metrics:
    """All metrics of one service, in a registry of their own. `clock` is seconds since the epoch."""

    def __init__(self, store: Store, health: ServiceHealth, clock: Callable[[], float]) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_StateCollector(store, health, clock))
        self._requests = Counter(
            f"{_PREFIX}requests",
            "Webhook calls by verb and outcome.",
            ["verb", "outcome"],
            registry=self.registry,
        )
        self._durations = Histogram(
            f"{_PREFIX}request_duration_seconds",
            "Time from the received body to the sent reply.",
            ["verb"],
            buckets=BUCKETS_S,
            registry=self.registry,
        )
        self._annotations = Counter(
            f"{_PREFIX}pod_annotations",
            "Annotations asked for: reservations that changed, and wakes of refused leaders.",
            ["purpose"],
            registry=self.registry,
        )
        self._gates = Counter(
            f"{_PREFIX}gates_removed",
            "Scheduling gates asked to be taken off pods.",
            registry=self.registry,
        )
        self._batches = Counter(
            f"{_PREFIX}agent_batches",
            "Reports of agents in drivers, by result: taken, repeated, refused.",
            ["result"],
            registry=self.registry,
        )
        self._updates_lost = Counter(
            f"{_PREFIX}agent_updates_lost",
            "Updates that do not count: dropped by an agent whose queue was full, or nonsense.",
            ["by"],
            registry=self.registry,
        )
        self._reviews = Counter(
            f"{_PREFIX}token_reviews",
            "Tokens of drivers that the API server was asked about, by result.",
            ["result"],
            registry=self.registry,
        )
        self._restarts = Counter(
            f"{_PREFIX}part_restarts", "Parts of the service that failed.", ["part"], registry=self.registry
        )

    def answered(self, verb: str, outcome: str, duration_s: float) -> None:
        """A webhook call was answered."""
        self._requests.labels(verb, outcome).inc()
        self._durations.labels(verb).observe(duration_s)

    def annotated(self, *, wake: bool) -> None:
        """A pod is going to be annotated."""
        self._annotations.labels("wake" if wake else "reservation").inc()

    def ungated(self) -> None:
        """A pod's hold gate is going to be taken off."""
        self._gates.inc()

    def batch(self, result: str) -> None:
        """A driver reported: `taken`, `repeated` or `refused`."""
        self._batches.labels(result).inc()

    def updates_lost(self, by: str, number: int) -> None:
        """Updates of stages that do not count."""
        if number:
            self._updates_lost.labels(by).inc(number)

    def reviewed(self, result: str) -> None:
        """The API server was asked about a token: `accepted`, `invalid`, `unbound` or `failed`."""
        self._reviews.labels(result).inc()

    def restarted(self, part: str) -> None:
        """A part of the service failed and is started again."""
        self._restarts.labels(part).inc()

    def render(self) -> bytes:
        """Text exposition."""
        return generate_latest(self.registry)


class _StateCollector(Collector):
    def __init__(self, store: Store, health: ServiceHealth, clock: Callable[[], float]) -> None:
        self._store = store
        self._health = health
        self._clock = clock

    def describe(self) -> Iterable[Metric]:
        """Nothing: describing would need a collection."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Gauges of the store and of the watches."""
        yield from self._of_state()
        yield from self._of_caches()
        yield from self._of_carbon()
        yield from self._of_stages()
        health = self._health
        yield _gauge("binds_under_way", "Bindings being written.", health.binds_under_way())
        yield _gauge("problems", "Problems beside watches and nodes: see /healthz.", len(health.problems()))
        yield _gauge("annotations_waiting", "Pods with unwritten annotations.", health.annotations_waiting())

    def _of_state(self) -> Iterator[Metric]:
        sums, faults = totals(self._store), queries.fault_counts(self._store)
        over = len(queries.overcommitted(self._store))
        yield _gauge("ready", "1 once all caches are synced.", float(queries.synced(self._store)))
        yield _gauge("nodes", "Nodes that exist.", sums.nodes)
        yield _gauge("overcommitted_nodes", "Nodes with more used and reserved than they offer.", over)
        yield _by("gangs", "Gangs by state.", "state", sums.gangs)
        yield _by("waiting_gangs", "Gangs in the queue, by pool.", "pool", sums.waiting_by_pool)
        yield _by(
            "waiting_missing",
            "What gangs that wait for room request in all beyond what is free in all, in base units.",
            "resource",
            missing_room(self._store),
        )
        yield _gauge("slots", "Slots of admitted gangs.", sums.slots)
        yield _gauge("slots_open", "Slots no worker has yet.", sums.slots_open)
        claims = queries.claims(self._store)
        yield _gauge("claims", "Pods that were answered a node and are not bound yet.", claims)
        yield _gauge("faults_open", "Gangs, pods and nodes that could not be handled.", faults.open)
        raised = CounterMetricFamily(
            f"{_PREFIX}faults", "Errors of the extender, by what it was looking at.", labels=["kind"]
        )
        for kind, number in sorted(faults.total.items()):
            raised.add_metric([kind], number)
        yield raised
        for name, help_text, amounts in (
            ("allocatable", "What all nodes offer, in base units.", sums.allocatable),
            ("used", "What bound pods request, in base units.", sums.used),
            ("reserved", "Room reserved for pods that are not bound, in base units.", sums.reserved),
        ):
            yield _by(name, help_text, "resource", amounts)

    def _of_carbon(self) -> Iterator[Metric]:
        """Unknown has no sample: it never reads as a number."""
        now = self._clock()
        zones, budget = carbon.zones(self._store, now), queries.budget(self._store)
        known = {each.zone: each.g_per_kwh for each in zones if each.g_per_kwh is not None}
        ages = {each.zone: each.age_s for each in zones if each.age_s is not None}
        stale = {each.zone: float(each.stale) for each in zones}
        yield _by("carbon_intensity_g_per_kwh", "gCO2e/kWh now, while it is known.", "zone", known)
        yield _by("carbon_age_seconds", "Age of the last good value.", "zone", ages)
        yield _by("carbon_stale", "1 while the zone is neutral: unknown or too old.", "zone", stale)
        held = len(carbon.held(self._store, now))
        yield _gauge("held_gangs", "Gangs kept waiting for cleaner power.", held)
        if budget is not None:
            yield _gauge("executor_budget", "Executors the carbon intensity allows.", budget)

    def _of_stages(self) -> Iterator[Metric]:
        sums = queries.stage_totals(self._store)
        yield _gauge("stage_graphs", "Applications whose stages are known.", sums.applications)
        yield _gauge("stages_open", "Stages with tasks that have not succeeded yet.", sums.stages_open)
        work = "Work left in known stages, in task-seconds."
        yield _gauge("stages_remaining_seconds", work, sums.remaining_s)
        yield _gauge("stages_left_out", "Stages and parents that are not in the graphs.", sums.left_out)
        sources = self._health.stage_sources()
        if sources is not None:
            yield _gauge("stage_logs_followed", "Event logs that are read.", sources.followed)
            yield _gauge("stage_drivers_answering", "REST APIs that answer.", sources.answering)
            yield _gauge("stage_applications_left_out", "Beyond the most watched.", sources.left_out)
            yield _gauge("stage_source_problems", "Logs and drivers that fail.", len(sources.problems))
        on = in_force(self._health.allowed(), queries.switches(self._store))
        yield _by("on", "1 while the settings and no switch say so.", "what", {k: float(v) for k, v in on})

    def _of_caches(self) -> Iterator[Metric]:
        caches, now = self._health.caches(), self._clock()
        yield _by("cache_synced", "1 once listed.", "cache", {c.name: float(c.synced) for c in caches})
        yield _by(
            "cache_connected", "1 while watching.", "cache", {c.name: float(c.connected) for c in caches}
        )
        ages = {c.name: max(0.0, now - c.last_event_s) for c in caches if c.last_event_s is not None}
        yield _by("cache_age_seconds", "Time since the watch last spoke.", "cache", ages)
        yield _by("cache_restarts", "Watches that broke.", "cache", {c.name: c.restarts for c in caches})
        yield _by("cache_lists", "Complete lists.", "cache", {c.name: c.lists for c in caches})
        yield _by("cache_skipped", "Unreadable objects.", "cache", {c.name: c.skipped for c in caches})


def _gauge(name: str, help_text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(_PREFIX + name, help_text, value=value)


def _by(name: str, help_text: str, label: str, values: Mapping[Any, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(_PREFIX + name, help_text, labels=[label])
    for key, value in values.items():
        family.add_metric([str(key)], value)
    return family
