"""What `/metrics` exposes is what the list of metrics says, by the conventions of Prometheus."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client.parser import text_string_to_metric_families

from extender.adapters.api.metric_families import FAMILIES, PREFIX, Type
from extender.adapters.api.metrics import Metrics
from extender.adapters.api.ports import CacheHealth, ServiceHealth, StageSourcesHealth
from extender.core.carbon.signal import Signal
from extender.core.events import CarbonSeen, Tick
from extender.core.policy import CapPolicy, CarbonPolicy, Policy, Switches
from tests.gang.world import World, node, spec
from tools.metrics_page import TARGET, page

ROOT = Path(__file__).resolve().parents[2]
USED_IN = [
    *(ROOT / "manifests/components/monitoring").rglob("*.yaml"),
    *(ROOT / "manifests/components/monitoring").rglob("*.json"),
    *(ROOT / "docs").glob("*.md"),
    ROOT / "tests/e2e/alerts.yaml",
    ROOT / "README.md",
]
SERIES = {
    name
    for each in FAMILIES
    for name in (
        [f"{each.exposed_name}_{part}" for part in ("bucket", "count", "sum")] + [each.exposed_name]
        if each.type is Type.HISTOGRAM
        else [each.exposed_name]
    )
}


def health() -> ServiceHealth:
    """A service in which everything is configured."""
    cache = CacheHealth("pods", True, True, 900.0, 1, 2, 3, "")
    return cast(
        ServiceHealth,
        SimpleNamespace(
            caches=lambda: [cache],
            binds_under_way=lambda: 1,
            annotations_waiting=lambda: 1,
            stage_sources=StageSourcesHealth,
            problems=lambda: ["a problem"],
            allowed=Switches,
        ),
    )


def signal(now: float) -> Signal:
    """A clean hour now and dirty ones after it."""
    forecast = (100.0, *[500.0] * 23)
    return Signal("DE", now, 100.0, forecast=forecast, forecast_start_s=now, lower=100.0, upper=500.0)


@pytest.fixture
def exposed() -> dict[str, Any]:
    """Families by name, of a service in which every metric has a sample."""
    world = World(Policy(carbon=CarbonPolicy(cap=CapPolicy(enabled=True, min_executors=1, max_executors=5))))
    world.add(node("n1", labels={"carbon-scheduler/carbon-zone": "DE"}))
    world.tell(CarbonSeen(signal(world.now)))
    world.leader("a", spec(1))
    world.schedule("a-driver")
    world.leader("waits", spec(100))
    world.filter("waits-driver")
    world.tell(Tick())
    world.store.faults.total["pod"] += 1
    metrics = Metrics(world.store, health(), lambda: world.now)
    metrics.answered("filter", "admitted", 0.001)
    metrics.annotated(wake=True)
    metrics.ungated()
    metrics.batch("taken")
    metrics.updates_lost("agent", 1)
    metrics.reviewed("accepted")
    metrics.restarted("clock")
    text = metrics.render().decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def own(exposed: dict[str, Any]) -> Iterator[Any]:
    """Families of the extender; the client library adds moments of creation to counters."""
    return (family for name, family in exposed.items() if not name.endswith("_created"))


def test_every_metric_is_exposed_as_the_list_says(exposed: dict[str, Any]) -> None:
    found = {each.name: (each.type, each.documentation) for each in own(exposed)}
    assert found == {each.full_name: (each.type.value, each.help) for each in FAMILIES}


def test_every_metric_has_samples_with_its_labels(exposed: dict[str, Any]) -> None:
    for each in FAMILIES:
        samples = exposed[each.full_name].samples
        assert samples, each.name
        assert all(set(sample.labels) - {"le"} == set(each.labels) for sample in samples), each.name


def test_counters_end_in_total_and_nothing_else_does() -> None:
    assert all((each.exposed_name.endswith("_total")) == (each.type is Type.COUNTER) for each in FAMILIES)
    assert not [each.name for each in FAMILIES if each.name.endswith("_total")]


def test_names_are_unique() -> None:
    assert len({each.name for each in FAMILIES}) == len(FAMILIES)


def test_every_cache_figure_that_only_grows_is_a_counter(exposed: dict[str, Any]) -> None:
    growing = ("restarts", "lists", "skipped")
    assert [exposed[f"{PREFIX}cache_{name}"].type for name in growing] == ["counter"] * 3
    assert [exposed[f"{PREFIX}cache_{name}"].samples[0].value for name in growing] == [1, 2, 3]


def used(path: Path) -> Sequence[str]:
    """Metrics of the extender that a file names."""
    return re.findall(rf"\b{PREFIX}[a-z][a-z_]*[a-z]", path.read_text(encoding="utf-8"))


def test_rules_dashboards_and_documents_name_metrics_that_exist() -> None:
    found = {name: path.name for path in USED_IN for name in used(path)}
    assert len(found) > 20
    assert {name: where for name, where in found.items() if name not in SERIES} == {}


def test_the_page_is_made_from_the_list() -> None:
    assert TARGET.read_text(encoding="utf-8") == page(), "run: python -m tools.metrics_page"
