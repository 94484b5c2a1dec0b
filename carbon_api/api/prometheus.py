"""Prometheus metrics under grid-intensity-go's names. An unknown value has no sample."""

from __future__ import annotations

from collections.abc import Iterable

from fastapi import FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from carbon_api.api.shared import Parts
from carbon_api.readings import Kind, Missing
from carbon_api.store import Store

UNITS = "gCO2e per kWh"
_LABELS = ("provider", "region")


class Intensities(Collector):
    """Reads the store when Prometheus asks."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def collect(self) -> Iterable[GaugeMetricFamily | CounterMetricFamily]:
        """The metrics of all zones at this moment."""
        values = {
            Kind.AVERAGE: GaugeMetricFamily(
                "grid_intensity_carbon_average",
                "Average carbon intensity of the grid in this region.",
                labels=(*_LABELS, "units"),
            ),
            Kind.MARGINAL: GaugeMetricFamily(
                "grid_intensity_carbon_marginal",
                "Marginal carbon intensity of the grid in this region.",
                labels=(*_LABELS, "units"),
            ),
        }
        age = GaugeMetricFamily(
            "grid_intensity_data_age_seconds", "Seconds since the value's interval began.", labels=_LABELS
        )
        estimated = GaugeMetricFamily(
            "grid_intensity_estimated", "1 if the source calls the value estimated.", labels=_LABELS
        )
        missing = GaugeMetricFamily(
            "grid_intensity_missing", "1 for the reason why there is no value.", labels=(*_LABELS, "reason")
        )
        up = GaugeMetricFamily(
            "grid_intensity_source_up", "1 if the last question to the source was answered.", labels=_LABELS
        )
        failures = CounterMetricFamily(
            "grid_intensity_source_failures", "Questions that the source did not answer.", labels=_LABELS
        )
        refused = GaugeMetricFamily(
            "grid_intensity_refused_entries",
            "Entries of the source's newest answer that could not be used.",
            labels=_LABELS,
        )
        for zone in self._store.zones():
            where = (zone.source, zone.id)
            reading = zone.reading()
            if isinstance(reading, Missing):
                missing.add_metric((*where, reading.reason), 1)
            else:
                values[reading.kind].add_metric((*where, UNITS), reading.g_per_kwh)
                age.add_metric(where, zone.age_s(reading))
                estimated.add_metric(where, float(reading.estimated))
            up.add_metric(where, float(zone.up))
            failures.add_metric(where, zone.failures)
            refused.add_metric(where, zone.refused)
        return [*values.values(), age, estimated, missing, up, failures, refused]


def add_prometheus(app: FastAPI, parts: Parts) -> None:
    """Add `/metrics`."""
    registry = CollectorRegistry()
    registry.register(Intensities(parts.store))

    @app.get("/metrics", tags=["operation"], response_class=Response)
    async def metrics() -> Response:
        """Prometheus metrics."""
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
