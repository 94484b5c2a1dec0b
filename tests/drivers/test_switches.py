"""Switches: a ConfigMap turns things off while everything runs, and never turns on what settings do not."""

from __future__ import annotations

import asyncio
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extender.core.policy import Switches
from extender.runtime.service import Service
from extender.runtime.switches import read_switches
from extender.settings.loading import SettingsError, load
from tests.cluster.apiserver import Object
from tests.drivers.support import DIAMOND, TokenCluster, job, listening
from tests.service.cluster import ready

NAME = "carbon/switches"


def config_map(**data: str) -> Object:
    return {
        "metadata": {"name": "switches", "namespace": "carbon", "uid": "u"},
        "data": {key.replace("_", "-"): value for key, value in data.items()},
    }


def turned(service: Service) -> asyncio.Event:
    """Set whenever the service took the ConfigMap in."""
    there, feeds = asyncio.Event(), service.sinks
    switch = feeds.switch

    def look(data: dict[str, str]) -> None:
        switch(data)
        there.set()

    feeds.switch = look  # type: ignore[method-assign, assignment]
    return there


@pytest.mark.parametrize("text", ["off", "OFF", " false ", "False"])
def test_off_is_off_however_it_is_written(text: str) -> None:
    assert read_switches({"pcaps": text}, Switches()) == (Switches(pcaps=False), [])


def test_an_absent_key_is_on() -> None:
    everything_off = Switches(False, False, False)
    assert read_switches({"stage-order": "off"}, everything_off) == (Switches(stage_order=False), [])
    assert read_switches({}, everything_off) == (Switches(), [])


@pytest.mark.parametrize("before", [Switches(), Switches(pcaps=False)])
def test_what_cannot_be_read_stays_as_it_was(before: Switches) -> None:
    switches, (problem,) = read_switches({"pcaps": "of"}, before)
    assert switches == before
    kept = "on" if before.pcaps else "off"
    assert problem == f"pcaps is 'of': use on or off; it stays {kept}"


def test_an_unknown_key_is_named_with_those_there_are() -> None:
    switches, (problem,) = read_switches({"stage_order": "off"}, Switches())
    assert switches == Switches()
    assert problem == "unknown switch 'stage_order'; there are pcaps, stage-order, executor-target"


@given(st.dictionaries(st.text(max_size=12) | st.just("pcaps"), st.text(max_size=5)), st.booleans())
def test_no_data_can_break_it(data: dict[str, str], before: bool) -> None:
    switches, _ = read_switches(data, Switches(before, before, before))
    assert {switches.pcaps, switches.stage_order, switches.executor_target} <= {True, False}


async def test_a_config_map_turns_stage_order_off_and_on_again(
    cluster: TokenCluster, names: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    cluster.put("configmaps", config_map(stage_order="off"))
    flags = {"stages.switches": NAME, "stages.order": "true", "stages.pcaps.enabled": "true"}
    async with listening(cluster, names, "a", **flags) as (service, client, (driver,)):
        seen = turned(service)
        assert "priorities" not in await driver.tell(1, job(0, *DIAMOND))
        _, health = await client.get("/healthz")
        assert health["on"] == {"pcaps": True, "stage_order": False, "executor_target": False}
        with caplog.at_level(logging.INFO, "extender.runtime.watch_sinks"):
            cluster.put("configmaps", config_map(stage_order="on", executor_target="on"))
            await seen.wait()
        assert "switches of ConfigMap carbon/switches: pcaps on, stage-order on" in caplog.text
        assert (await driver.tell(2))["priorities"]
        seen.clear()
        with caplog.at_level(logging.ERROR, "extender.runtime.watch_sinks"):
            cluster.put("configmaps", config_map(stage_order="no", pcaps="off"))
            await seen.wait()
        assert "ConfigMap carbon/switches: stage-order is 'no': use on or off; it stays on" in caplog.text
        assert (await driver.tell(3))["priorities"]
        _, health = await client.get("/healthz")
        assert health["on"] == {"pcaps": False, "stage_order": True, "executor_target": False}
        _, metrics = await client.get("/metrics")
        assert 'carbon_scheduler_on{what="pcaps"} 0.0' in metrics
        assert 'carbon_scheduler_on{what="stage_order"} 1.0' in metrics
        seen.clear()
        cluster.delete("configmaps", "switches", "carbon")
        await seen.wait()
        assert service.store.state.switches == Switches()


async def test_another_config_map_is_none_of_ours(cluster: TokenCluster) -> None:
    cluster.put("configmaps", config_map(pcaps="off"))
    async with ready(cluster, stages__switches="elsewhere/switches") as (service, _):
        assert service.store.state.switches == Switches()
    async with ready(cluster) as (service, _):
        assert service.store.state.switches == Switches()


@pytest.mark.parametrize("text", ["switches", "a/b/c", "a/", "/b", "A/b", "a/b c"])
def test_the_config_map_is_named_with_its_namespace(text: str) -> None:
    with pytest.raises(SettingsError, match="switches: must be namespace/name"):
        load(None, {"stages.switches": text})
