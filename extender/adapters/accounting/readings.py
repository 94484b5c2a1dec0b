"""Meters' readings of a node, in the order of the meters. A fallback is part of the answer, never silent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from extender.adapters.accounting.amounts import Missing


class PodRef(NamedTuple):
    """A pod as exporters label it."""

    namespace: str
    name: str


PodWatts = Mapping[PodRef, float]


@dataclass(frozen=True, slots=True)
class NodeReading:
    """Power of a node as measured. None where the source does not measure it; the model fills in.

    `total_w` is without GPUs. `idle_w` is the part of it drawn without load. `pods_w` are watts above
    idle. `pods_cores` are CPU cores in use. `notes` tell which better source was not there, and why.
    """

    source: str
    total_w: float | None = None
    idle_w: float | None = None
    pods_w: PodWatts | None = None
    gpu_w: float | None = None
    pods_gpu_w: PodWatts | None = None
    pods_cores: PodWatts | None = None
    gpu_source: str = ""
    notes: tuple[str, ...] = ()


NodeReadings = Mapping[str, NodeReading]
"""By node name."""

Meter = Callable[[], Awaitable[NodeReadings | Missing]]
"""Reads all nodes it knows, or says why it cannot read any. Never raises for what the network does."""


@dataclass(frozen=True, slots=True)
class Readings:
    """Results of one round of reading: every requested node, and why sources failed as a whole."""

    nodes: Mapping[str, NodeReading | Missing]
    failed: Mapping[str, Missing] = field(default_factory=dict[str, Missing])


class MeterReader:
    """Asks meters in order of trust; each node is answered by the first that knows it.

    `meters` and `gpu_meters` are (name, meter) pairs. GPUs are read separately, because exporters of
    CPU power mostly do not see them.
    """

    def __init__(
        self, meters: Sequence[tuple[str, Meter]], gpu_meters: Sequence[tuple[str, Meter]] = ()
    ) -> None:
        self._meters = meters
        self._gpu_meters = gpu_meters

    async def read(self, nodes: Iterable[str]) -> Readings:
        """One reading a node. A node that no source knows is Missing, with every source's reason."""
        names = list(nodes)
        failed: dict[str, Missing] = {}
        cpu = await _first(self._meters, names, failed)
        gpu = await _first(self._gpu_meters, names, failed)
        return Readings({name: _joined(cpu[name], gpu[name]) for name in names}, failed)


async def _first(
    meters: Sequence[tuple[str, Meter]], nodes: list[str], failed: dict[str, Missing]
) -> dict[str, NodeReading | Missing]:
    answers: dict[str, NodeReading] = {}
    reasons: dict[str, list[str]] = {name: [] for name in nodes}
    for source, meter in meters:
        open_nodes = [name for name in nodes if name not in answers]
        if not open_nodes:
            break
        readings = await meter()
        if isinstance(readings, Missing):
            failed[source] = readings
        for name in open_nodes:
            if isinstance(readings, Missing):
                reasons[name].append(f"{source}: {readings.reason}")
            elif (reading := readings.get(name)) is None:
                reasons[name].append(f"{source}: knows no node {name}")
            else:
                answers[name] = replace(reading, notes=(*reading.notes, *reasons[name]))
    missing = "no meter is configured"
    return {name: answers.get(name) or Missing("; ".join(reasons[name]) or missing) for name in nodes}


def _joined(cpu: NodeReading | Missing, gpu: NodeReading | Missing) -> NodeReading | Missing:
    if isinstance(gpu, Missing):
        return cpu
    if isinstance(cpu, Missing):
        return replace(gpu, notes=(*gpu.notes, cpu.reason))
    return replace(
        cpu,
        gpu_w=gpu.gpu_w,
        pods_gpu_w=gpu.pods_gpu_w,
        gpu_source=gpu.gpu_source,
        notes=(*cpu.notes, *gpu.notes),
    )
