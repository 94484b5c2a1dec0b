"""Exporters of power that Prometheus scrapes: Kepler, Scaphandre, DCGM; CPU usage from cAdvisor.

The exporters cover different parts of a node. Kepler reads RAPL zones of the CPU (here `package`: cores,
caches and memory controller, not the rest of the machine); its pods' watts are the active part only.
Scaphandre's host power is the board's (RAPL psys) where the hardware has it, else packages and DRAM.
DCGM reads whole GPU boards.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from extender.adapters.accounting.amounts import Missing
from extender.adapters.accounting.prometheus import Prometheus, Sample
from extender.adapters.accounting.readings import NodeReading, NodeReadings, PodRef, PodWatts

WINDOW: Final = "2m"
"""Range of the rates. Counters and not Kepler's watt gauges: no peak is lost between two scrapes."""

MOST_GPU_W: Final = 5000.0
"""DCGM writes blank values as numbers near 2^63; no board draws this."""

WORST_SUM: Final = 1.1
"""Pods and host are sampled a little apart: a sum of pods up to this times the host is believed."""

_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_WORD = re.compile(r"[a-zA-Z0-9_.-]+")


class Kepler:
    """Kepler 0.10 and later. `zones` are RAPL zones that do not contain each other.

    `package` is the safe choice. `dram` may be added on servers, where it is no part of the package.
    `core` and `uncore` are parts of `package` and `psys` contains it: added to another zone they would
    count energy twice, and are refused with `ValueError`.
    """

    def __init__(self, prometheus: Prometheus, zones: Sequence[str] = ("package",)) -> None:
        nested = set(zones) & {"core", "uncore", "psys"} if len(set(zones)) > 1 else set[str]()
        if nested or not zones or not all(_WORD.fullmatch(zone) for zone in zones):
            raise ValueError(
                f"Kepler zones {list(zones)}: name one zone, or package and dram; others contain each other"
            )
        self._prometheus = prometheus
        self._select = f'zone=~"{"|".join(sorted(set(zones)))}"'

    async def __call__(self) -> NodeReadings | Missing:
        """Watts of nodes and pods, by the counters' rates."""
        node = "sum by (node_name) (rate({metric}{{{select}}}[{window}]))"
        pod = "sum by (node_name, pod_namespace, pod_name) (rate({metric}{{{select}}}[{window}]))"
        answers: list[list[Sample]] = []
        for query, metric in (
            (node, "kepler_node_cpu_joules_total"),
            (node, "kepler_node_cpu_idle_joules_total"),
            (pod, "kepler_pod_cpu_joules_total"),
        ):
            expression = query.format(metric=metric, select=self._select, window=WINDOW)
            samples = await self._prometheus.query(expression)
            if isinstance(samples, Missing):
                return samples
            answers.append(samples)
        total, idle = (_by_label(samples, "node_name") for samples in answers[:2])
        if not total:
            return Missing(f"no series kepler_node_cpu_joules_total{{{self._select}}} with a node_name")
        pods = _by_node_and_pod(answers[2], "node_name", "pod_namespace", "pod_name")
        return {
            name: NodeReading("kepler", watts, idle.get(name), pods.get(name))
            for name, watts in total.items()
            if watts > 0
        }


class Scaphandre:
    """Scaphandre 1.x with `--containers`. `node_label` is the label that carries the node's name.

    Scaphandre does not name its node; a relabelling of the scrape does (`__meta_kubernetes_pod_node_name`).
    """

    def __init__(self, prometheus: Prometheus, node_label: str = "node") -> None:
        self._prometheus = prometheus
        self._label = _checked_label(node_label)

    async def __call__(self) -> NodeReadings | Missing:
        """Watts of hosts and pods. Pods that exceed their host are not believed, and that is noted."""
        label = self._label
        hosts = await self._prometheus.query(f"sum by ({label}) (scaph_host_power_microwatts) / 1e6")
        if isinstance(hosts, Missing):
            return hosts
        pods = await self._prometheus.query(
            f"sum by ({label}, kubernetes_pod_namespace, kubernetes_pod_name) "
            '(scaph_process_power_consumption_microwatts{kubernetes_pod_name!=""}) / 1e6'
        )
        if isinstance(pods, Missing):
            return pods
        total = _by_label(hosts, label)
        if not total:
            return Missing(
                f"no series scaph_host_power_microwatts with label {label}: "
                "relabel __meta_kubernetes_pod_node_name to it, or name another label"
            )
        by_node = _by_node_and_pod(pods, label, "kubernetes_pod_namespace", "kubernetes_pod_name")
        return {name: _host(watts, by_node.get(name)) for name, watts in total.items() if watts > 0}


def _host(watts: float, pods: PodWatts | None) -> NodeReading:
    if pods is None:
        return NodeReading("scaphandre", watts)
    claimed = sum(pods.values())
    if claimed > watts * WORST_SUM:
        note = f"scaphandre: pods claim {claimed:.0f} W of a host of {watts:.0f} W and are not believed"
        return NodeReading("scaphandre", watts, notes=(note,))
    return NodeReading("scaphandre", watts, pods_w=pods)


class Dcgm:
    """NVIDIA's dcgm-exporter. `node_label` is the label that carries the node's name."""

    def __init__(self, prometheus: Prometheus, node_label: str = "Hostname") -> None:
        self._prometheus = prometheus
        self._label = _checked_label(node_label)

    async def __call__(self) -> NodeReadings | Missing:
        """Watts of all boards of a node, and of the pods that have them."""
        samples = await self._prometheus.query("DCGM_FI_DEV_POWER_USAGE")
        if isinstance(samples, Missing):
            return samples
        boards = _boards(samples, self._label)
        if not boards:
            return Missing(f"no series DCGM_FI_DEV_POWER_USAGE with labels {self._label} and UUID")
        out: dict[str, NodeReading] = {}
        for node in {node for node, _ in boards}:
            here = [board for (where, _), board in boards.items() if where == node]
            pods: dict[PodRef, float] = {}
            for watts, users in here:
                for user in users:
                    pods[user] = pods.get(user, 0.0) + watts / len(users)
            total_w = sum(watts for watts, _ in here)
            # Without a pod on any board the exporter may not map pods at all: then requests decide.
            out[node] = NodeReading("", gpu_w=total_w, pods_gpu_w=pods or None, gpu_source="dcgm")
        return out


def _boards(samples: Iterable[Sample], node_label: str) -> dict[tuple[str, str], tuple[float, set[PodRef]]]:
    """Watts and users by (node, UUID). A shared board has a series for each slice, with the board's power."""
    samples = list(samples)
    # Prometheus renames the exporter's own `pod` label unless honor_labels is set; what is then
    # called `pod` is the exporter itself.
    renamed = any("exported_pod" in sample.labels for sample in samples)
    pod_label, namespace_label = ("exported_pod", "exported_namespace") if renamed else ("pod", "namespace")
    out: dict[tuple[str, str], tuple[float, set[PodRef]]] = {}
    for sample in samples:
        node, board = sample.labels.get(node_label, ""), sample.labels.get("UUID", "")
        if not node or not board or not 0 <= sample.value <= MOST_GPU_W:
            continue
        watts, users = out.get((node, board), (0.0, set[PodRef]()))
        pod = sample.labels.get(pod_label, "")
        if pod and "dcgm-exporter" not in pod:
            users.add(PodRef(sample.labels.get(namespace_label, ""), pod))
        out[node, board] = max(watts, sample.value), users
    return out


class CpuUsage:
    """Cores in use by pods (cAdvisor): for the models, where no meter reads power."""

    def __init__(self, prometheus: Prometheus, node_label: str = "node") -> None:
        self._prometheus = prometheus
        self._label = _checked_label(node_label)

    async def __call__(self) -> NodeReadings | Missing:
        """Cores in use, without watts."""
        label = self._label
        samples = await self._prometheus.query(
            f"sum by ({label}, namespace, pod) "
            f'(rate(container_cpu_usage_seconds_total{{container!="",pod!=""}}[{WINDOW}]))'
        )
        if isinstance(samples, Missing):
            return samples
        pods = _by_node_and_pod(samples, label, "namespace", "pod")
        if not pods:
            return Missing(f"no series container_cpu_usage_seconds_total with labels {label}, namespace, pod")
        return {name: NodeReading("usage", pods_cores=cores) for name, cores in pods.items()}


def _checked_label(name: str) -> str:
    if not _LABEL.fullmatch(name):
        raise ValueError(f"{name!r} is not the name of a Prometheus label")
    return name


def _by_label(samples: Iterable[Sample], label: str) -> dict[str, float]:
    return {
        sample.labels[label]: sample.value
        for sample in samples
        if sample.labels.get(label) and sample.value >= 0
    }


def _by_node_and_pod(
    samples: Iterable[Sample], node: str, namespace: str, pod: str
) -> Mapping[str, PodWatts]:
    out: dict[str, dict[PodRef, float]] = {}
    for sample in samples:
        labels = sample.labels
        if labels.get(node) and labels.get(pod) and sample.value >= 0:
            ref = PodRef(labels.get(namespace, ""), labels[pod])
            pods = out.setdefault(labels[node], {})
            pods[ref] = pods.get(ref, 0.0) + sample.value
    return out
