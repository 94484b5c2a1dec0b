"""What the watches deliver: ConfigMaps kept small, requests read once, leaders found by what they mount."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from extender.core.facts import GangKey, PodFacts, Role
from extender.core.gangs.spec import WAIT_FOR_CONFIGURATION, GangSpec, SpecProblem
from extender.engine import RequestIndex
from extender.runtime.watch_sinks import config_map_facts

LEADER = PodFacts(
    "u",
    "ns",
    "driver",
    role=Role.LEADER,
    gang=GangKey("ns", "a"),
    config_map="conf",
    template_config_map="template",
)


class CountingReader:
    """Reads a number of workers from the ConfigMap."""

    def __init__(self) -> None:
        self.reads = 0

    def read(
        self,
        leader: PodFacts,
        config_map: Mapping[str, str] | None,
        template: Mapping[str, str] | None = None,
    ) -> GangSpec | SpecProblem:
        self.reads += 1
        if config_map is None:
            return WAIT_FOR_CONFIGURATION
        workers = int(config_map["workers"])
        return GangSpec({}, workers, workers)


def raw(name: str, data: Mapping[str, str] | None) -> bytes:
    return json.dumps({"metadata": {"name": name, "namespace": "ns"}, "data": data}).encode()


def test_of_a_drivers_config_map_only_what_is_read_is_kept():
    facts = config_map_facts(
        raw("spark-drv-1-conf-map", {"spark.properties": "a=b", "log4j2.properties": "x"})
    )
    assert facts.key == "ns/spark-drv-1-conf-map"
    assert facts.data == {"spark.properties": "a=b"}


def test_a_template_is_kept_under_any_name():
    assert config_map_facts(raw("my-template", {"podspec-configmap-key": "spec: {}"})).data is not None


def test_a_drivers_config_map_without_properties_is_there_and_empty():
    assert config_map_facts(raw("spark-drv-1-conf-map", {"other": "x"})).data == {}


def test_config_maps_of_executors_and_of_others_are_not_kept():
    assert config_map_facts(raw("spark-exec-1-conf-map", {"spark.properties": "a=b"})).data is None
    assert config_map_facts(raw("kube-root-ca.crt", {"ca.crt": "x" * 2000})).data is None
    assert config_map_facts(raw("empty", None)).data is None


def test_a_request_is_read_once_for_each_version_of_what_it_is_read_from():
    reader = CountingReader()
    index = RequestIndex(reader)
    assert index.follow(LEADER) is WAIT_FOR_CONFIGURATION
    assert index.read(replace(LEADER, node="n0")) is WAIT_FOR_CONFIGURATION
    assert reader.reads == 1
    assert index.keep("ns/conf", {"workers": "3"}) == [LEADER]
    assert index.follow(LEADER) == GangSpec({}, 3, 3)
    assert index.follow(LEADER) == GangSpec({}, 3, 3)
    assert reader.reads == 2
    assert index.keep("ns/conf", {"workers": "3"}) == []
    assert index.keep("ns/conf", {"workers": "4"}) == [LEADER]
    index.follow(LEADER)
    index.follow(replace(LEADER, annotations={"x": "y"}))
    assert reader.reads == 4


def test_a_config_map_that_comes_before_its_driver_is_used():
    index = RequestIndex(CountingReader())
    assert index.keep("ns/conf", {"workers": "1"}) == []
    assert index.read(LEADER) == GangSpec({}, 1, 1)
    assert index.read(replace(LEADER, namespace="other")) is WAIT_FOR_CONFIGURATION


def test_a_leader_that_is_gone_is_not_found_any_more():
    index = RequestIndex(CountingReader())
    index.follow(LEADER)
    assert index.keep("ns/template", {}) == [LEADER]
    index.forget(LEADER.uid)
    index.forget(LEADER.uid)
    assert index.keep("ns/conf", {"workers": "1"}) == []


def test_what_is_gone_is_not_kept():
    index = RequestIndex(CountingReader())
    index.keep("ns/conf", {"workers": "1"})
    assert len(index) == 1
    index.keep("ns/conf", None)
    assert len(index) == 0
    assert index.read(LEADER) is WAIT_FOR_CONFIGURATION
