"""Exporters behind a Prometheus that answers what the test says, over real HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from extender.adapters.accounting.amounts import Missing
from extender.adapters.accounting.exporters import CpuUsage, Dcgm, Kepler, Scaphandre
from extender.adapters.accounting.prometheus import Prometheus
from extender.adapters.accounting.readings import MeterReader, NodeReading, NodeReadings, PodRef

Series = tuple[dict[str, str], float | str]


class Answers:
    """What Prometheus answers: vectors by a word of the query, or one raw answer to everything."""

    def __init__(self) -> None:
        self.vectors: dict[str, list[Series]] = {}
        self.raw: tuple[int, bytes] | None = None
        self.asked: list[str] = []

    async def handle(self, request: web.Request) -> web.Response:
        query = str((await request.post())["query"])
        self.asked.append(query)
        if self.raw is not None:
            return web.Response(status=self.raw[0], body=self.raw[1])
        series = next((each for word, each in self.vectors.items() if word in query), [])
        result = [{"metric": labels, "value": [1.5, str(value)]} for labels, value in series]
        return web.json_response({"status": "success", "data": {"resultType": "vector", "result": result}})


@pytest.fixture
def answers() -> Answers:
    """Filled by the test."""
    return Answers()


@pytest.fixture
async def prometheus(answers: Answers) -> AsyncIterator[Prometheus]:
    """A client of a server that gives `answers`."""
    app = web.Application()
    app.router.add_post("/api/v1/query", answers.handle)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        yield Prometheus(str(server.make_url("/")), session)


def known(readings: NodeReadings | Missing) -> Mapping[str, NodeReading]:
    assert not isinstance(readings, Missing), readings
    return readings


def reason(readings: object) -> str:
    assert isinstance(readings, Missing)
    return readings.reason


async def test_kepler_gives_nodes_idle_and_pods(prometheus: Prometheus, answers: Answers) -> None:
    pod = {"node_name": "n1", "pod_namespace": "team", "pod_name": "w"}
    answers.vectors = {
        "kepler_node_cpu_joules_total": [({"node_name": "n1"}, 80.0), ({"node_name": "n2"}, 0.0)],
        "kepler_node_cpu_idle_joules_total": [({"node_name": "n1"}, 30.0)],
        "kepler_pod_cpu_joules_total": [(pod, 40.0)],
    }
    readings = known(await Kepler(prometheus)())
    assert readings == {"n1": NodeReading("kepler", 80.0, 30.0, {PodRef("team", "w"): 40.0})}
    assert all('zone=~"package"' in query for query in answers.asked), "subdomains must not be added"


@pytest.mark.parametrize("zones", [(), ("package", "core"), ("psys", "package"), ('x"}',)])
def test_kepler_zones_that_contain_each_other_are_refused(zones: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="contain each other"):
        Kepler(Prometheus("http://nowhere", None), zones)  # type: ignore[arg-type]


async def test_kepler_without_series_says_what_it_looked_for(prometheus: Prometheus) -> None:
    assert "kepler_node_cpu_joules_total" in reason(await Kepler(prometheus)())


async def test_scaphandre_gives_hosts_and_pods(prometheus: Prometheus, answers: Answers) -> None:
    pod = {"node": "n1", "kubernetes_pod_namespace": "team", "kubernetes_pod_name": "w"}
    answers.vectors = {
        "scaph_host_power_microwatts": [({"node": "n1"}, 90.0)],
        "scaph_process_power": [(pod, 20.0)],
    }
    assert known(await Scaphandre(prometheus)()) == {
        "n1": NodeReading("scaphandre", 90.0, pods_w={PodRef("team", "w"): 20.0})
    }


async def test_scaphandre_pods_of_absurd_size_are_not_believed(
    prometheus: Prometheus, answers: Answers
) -> None:
    pod = {"node": "n1", "kubernetes_pod_namespace": "team", "kubernetes_pod_name": "w"}
    answers.vectors = {
        "scaph_host_power_microwatts": [({"node": "n1"}, 90.0)],
        "scaph_process_power": [(pod, 20_000.0)],
    }
    reading = known(await Scaphandre(prometheus)())["n1"]
    assert reading.pods_w is None
    assert "not believed" in reading.notes[0]


async def test_scaphandre_without_node_labels_says_how_to_get_them(
    prometheus: Prometheus, answers: Answers
) -> None:
    answers.vectors = {"scaph_host_power_microwatts": [({}, 90.0)]}
    assert "relabel" in reason(await Scaphandre(prometheus)())


def board(uuid: str, **labels: str) -> dict[str, str]:
    return {"Hostname": "g1", "UUID": uuid, **labels}


async def test_dcgm_adds_boards_and_finds_their_pods(prometheus: Prometheus, answers: Answers) -> None:
    answers.vectors = {
        "DCGM": [
            (board("a", exported_pod="w1", exported_namespace="ml", pod="nvidia-dcgm-exporter-x"), 200.0),
            (board("b", pod="nvidia-dcgm-exporter-x"), 50.0),
            (board("c"), 9223372036854775794.0),
        ]
    }
    assert known(await Dcgm(prometheus)()) == {
        "g1": NodeReading("", gpu_w=250.0, pods_gpu_w={PodRef("ml", "w1"): 200.0}, gpu_source="dcgm")
    }


async def test_slices_of_one_board_count_its_power_once(prometheus: Prometheus, answers: Answers) -> None:
    answers.vectors = {
        "DCGM": [
            (board("a", GPU_I_ID="1", pod="w1", namespace="ml"), 200.0),
            (board("a", GPU_I_ID="2", pod="w2", namespace="ml"), 200.0),
        ]
    }
    reading = known(await Dcgm(prometheus)())["g1"]
    assert reading.gpu_w == 200
    assert reading.pods_gpu_w == {PodRef("ml", "w1"): 100, PodRef("ml", "w2"): 100}


async def test_the_exporters_own_pod_is_no_user_of_a_board(prometheus: Prometheus, answers: Answers) -> None:
    answers.vectors = {"DCGM": [(board("a", pod="nvidia-dcgm-exporter-x", namespace="gpu-operator"), 50.0)]}
    assert known(await Dcgm(prometheus)())["g1"].pods_gpu_w is None


async def test_usage_of_cores(prometheus: Prometheus, answers: Answers) -> None:
    answers.vectors = {"container_cpu": [({"node": "n1", "namespace": "team", "pod": "w"}, 1.5)]}
    assert known(await CpuUsage(prometheus)()) == {
        "n1": NodeReading("usage", pods_cores={PodRef("team", "w"): 1.5})
    }


def test_a_label_cannot_smuggle_a_query_in() -> None:
    with pytest.raises(ValueError, match="not the name"):
        CpuUsage(Prometheus("http://nowhere", None), "node) or vector(1")  # type: ignore[arg-type]


async def test_values_that_are_no_numbers_are_left_out(prometheus: Prometheus, answers: Answers) -> None:
    answers.vectors = {"x": [({"a": "1"}, "NaN"), ({"a": "2"}, "+Inf"), ({"a": "3"}, "5")]}
    samples = await prometheus.query("x")
    assert not isinstance(samples, Missing)
    assert [sample.labels["a"] for sample in samples] == ["3"]


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (200, b"<html>not what you think</html>", "no Prometheus answer"),
        (502, b"", "HTTP 502"),
        (400, json.dumps({"status": "error", "error": "parse error"}).encode(), "parse error"),
        (
            200,
            json.dumps({"status": "success", "data": {"resultType": "matrix", "result": []}}).encode(),
            "matrix",
        ),
        (
            200,
            json.dumps({"status": "success", "data": {"resultType": "vector", "result": [1]}}).encode(),
            "unread",
        ),
        (
            200,
            b'{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"x"]}]}}',
            "unre",
        ),
        (200, b"\xff\xfe", "no Prometheus answer"),
    ],
)
async def test_a_bad_answer_is_missing_with_a_reason(
    prometheus: Prometheus, answers: Answers, status: int, body: bytes, words: str
) -> None:
    answers.raw = (status, body)
    assert words in reason(await prometheus.query("x"))


async def test_nobody_there_is_missing(unused_tcp_port: int) -> None:
    async with aiohttp.ClientSession() as session:
        answer = await Prometheus(f"http://127.0.0.1:{unused_tcp_port}", session).query("x")
    assert str(unused_tcp_port) in reason(answer)


def meter(answer: Any) -> Any:
    async def read() -> Any:
        return answer

    return read


async def test_each_node_is_answered_by_the_first_meter_that_knows_it() -> None:
    reader = MeterReader(
        [
            ("kepler", meter({"n1": NodeReading("kepler", 50.0)})),
            (
                "scaphandre",
                meter({"n1": NodeReading("scaphandre", 9.0), "n2": NodeReading("scaphandre", 60.0)}),
            ),
        ]
    )
    readings = await reader.read(["n1", "n2", "n3"])
    assert readings.nodes["n1"] == NodeReading("kepler", 50.0)
    assert readings.nodes["n2"] == NodeReading("scaphandre", 60.0, notes=("kepler: knows no node n2",))
    assert reason(readings.nodes["n3"]) == "kepler: knows no node n3; scaphandre: knows no node n3"


async def test_a_fallback_says_why() -> None:
    reader = MeterReader(
        [("kepler", meter(Missing("down"))), ("rapl", meter({"n1": NodeReading("rapl", 40.0)}))],
        [("dcgm", meter({"n1": NodeReading("", gpu_w=70.0, gpu_source="dcgm")}))],
    )
    readings = await reader.read(["n1"])
    assert readings.failed == {"kepler": Missing("down")}
    assert readings.nodes["n1"] == NodeReading(
        "rapl", 40.0, gpu_w=70.0, gpu_source="dcgm", notes=("kepler: down",)
    )


async def test_gpus_alone_are_better_than_nothing() -> None:
    gpu = NodeReading("", gpu_w=70.0, gpu_source="dcgm")
    readings = await MeterReader([], [("dcgm", meter({"n1": gpu}))]).read(["n1"])
    assert readings.nodes["n1"] == NodeReading(
        "", gpu_w=70.0, gpu_source="dcgm", notes=("no meter is configured",)
    )
