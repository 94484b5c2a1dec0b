"""Prometheus metrics: what was answered, counted as it happens; the state, read when asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from extender.adapters.api import carbon
from extender.adapters.api import metric_families as families
from extender.adapters.api.metric_families import Family, Type
from extender.adapters.api.ports import ServiceHealth
from extender.adapters.api.stages import in_force
from extender.core import queries
from extender.core.queries import missing_room, totals
from extender.core.store import Store

BUCKETS_S: Final = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.015, 0.03, 0.1, 0.3, 1.0, 5.0)


class Metrics:
    """All metrics of one service, in a registry of their own. `clock` is seconds since the epoch."""

    def __init__(self, store: Store, health: ServiceHealth, clock: Callable[[], float]) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_StateCollector(store, health, clock))
        self._requests = self._counter(families.REQUESTS)
        self._durations = Histogram(
            families.REQUEST_DURATION.full_name,
            families.REQUEST_DURATION.help,
            families.REQUEST_DURATION.labels,
            buckets=BUCKETS_S,
            registry=self.registry,
        )
        self._annotations = self._counter(families.POD_ANNOTATIONS)
        self._gates = self._counter(families.GATES_REMOVED)
        self._named = self._counter(families.NODES_NAMED)
        self._batches = self._counter(families.AGENT_BATCHES)
        self._updates_lost = self._counter(families.AGENT_UPDATES_LOST)
        self._reviews = self._counter(families.TOKEN_REVIEWS)
        self._restarts = self._counter(families.PART_RESTARTS)

    def _counter(self, family: Family) -> Counter:
        return Counter(family.full_name, family.help, family.labels, registry=self.registry)

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

    def node_named(self) -> None:
        """The node of a pod is going to be named."""
        self._named.inc()

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
        yield _one(families.BINDS_UNDER_WAY, health.binds_under_way())
        yield _one(families.PROBLEMS, len(health.problems()))
        yield _one(families.ANNOTATIONS_WAITING, health.annotations_waiting())

    def _of_state(self) -> Iterator[Metric]:
        sums, faults = totals(self._store), queries.fault_counts(self._store)
        yield _one(families.READY, float(queries.synced(self._store)))
        yield _one(families.NODES, sums.nodes)
        yield _one(families.OVERCOMMITTED_NODES, len(queries.overcommitted(self._store)))
        yield _by(families.GANGS, sums.gangs)
        yield _by(families.WAITING_GANGS, sums.waiting_by_pool)
        yield _by(families.WAITING_MISSING, missing_room(self._store))
        yield _one(families.SLOTS, sums.slots)
        yield _one(families.SLOTS_OPEN, sums.slots_open)
        yield _one(families.CLAIMS, queries.claims(self._store))
        yield _one(families.FAULTS_OPEN, faults.open)
        yield _by(families.FAULTS, dict(sorted(faults.total.items())))
        yield _by(families.ALLOCATABLE, sums.allocatable)
        yield _by(families.USED, sums.used)
        yield _by(families.RESERVED, sums.reserved)

    def _of_carbon(self) -> Iterator[Metric]:
        """Unknown has no sample: it never reads as a number."""
        now = self._clock()
        zones, budget = carbon.zones(self._store, now), queries.budget(self._store)
        known = {each.zone: each.g_per_kwh for each in zones if each.g_per_kwh is not None}
        ages = {each.zone: each.age_s for each in zones if each.age_s is not None}
        yield _by(families.CARBON_INTENSITY, known)
        yield _by(families.CARBON_AGE, ages)
        yield _by(families.CARBON_STALE, {each.zone: float(each.stale) for each in zones})
        yield _one(families.HELD_GANGS, len(carbon.held(self._store, now)))
        if budget is not None:
            yield _one(families.EXECUTOR_BUDGET, budget)

    def _of_stages(self) -> Iterator[Metric]:
        sums = queries.stage_totals(self._store)
        yield _one(families.STAGE_GRAPHS, sums.applications)
        yield _one(families.STAGES_OPEN, sums.stages_open)
        yield _one(families.STAGES_REMAINING, sums.remaining_s)
        yield _one(families.STAGES_LEFT_OUT, sums.left_out)
        sources = self._health.stage_sources()
        if sources is not None:
            yield _one(families.LOGS_FOLLOWED, sources.followed)
            yield _one(families.DRIVERS_ANSWERING, sources.answering)
            yield _one(families.APPLICATIONS_LEFT_OUT, sources.left_out)
            yield _one(families.SOURCE_PROBLEMS, len(sources.problems))
        on = in_force(self._health.allowed(), queries.switches(self._store))
        yield _by(families.ON, {what: float(value) for what, value in on})

    def _of_caches(self) -> Iterator[Metric]:
        caches, now = self._health.caches(), self._clock()
        ages = {c.name: max(0.0, now - c.last_event_s) for c in caches if c.last_event_s is not None}
        yield _by(families.CACHE_SYNCED, {c.name: float(c.synced) for c in caches})
        yield _by(families.CACHE_CONNECTED, {c.name: float(c.connected) for c in caches})
        yield _by(families.CACHE_AGE, ages)
        yield _by(families.CACHE_RESTARTS, {c.name: c.restarts for c in caches})
        yield _by(families.CACHE_LISTS, {c.name: c.lists for c in caches})
        yield _by(families.CACHE_SKIPPED, {c.name: c.skipped for c in caches})


def _one(family: Family, value: float) -> Metric:
    made = _empty(family)
    made.add_metric((), value)
    return made


def _by(family: Family, values: Mapping[Any, float]) -> Metric:
    """One sample for each value of the family's label."""
    made = _empty(family)
    for label, value in values.items():
        made.add_metric([str(label)], value)
    return made


def _empty(family: Family) -> GaugeMetricFamily | CounterMetricFamily:
    kind = CounterMetricFamily if family.type is Type.COUNTER else GaugeMetricFamily
    return kind(family.full_name, family.help, labels=family.labels)
