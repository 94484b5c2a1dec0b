"""Power of a node when no meter reads it: models of CPU, memory and GPU.

Where the defaults come from (all are averages of many machines; calibrate your own where it matters):

- CPU watts a vCPU, idle and full, and memory watts: Cloud Carbon Footprint, Methodology, appendix I.
  They are derived from SPECpower_ssj2008 results of the processors the clouds run.
- Shape of the curve: SPECpower_ssj2008 result of 5 July 2016, number 00737 (Dell PowerEdge R830).
  Servers are not linear: a tenth of the load takes a fifth of the way from idle to peak.
- GPU watts, idle and full: the same methodology, appendix III.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from extender.adapters.accounting.amounts import BYTES_PER_GIB
from extender.core.facts import NodeFacts
from extender.core.nodes.resources import CPU, GPU, MEMORY

INSTANCE_TYPE_LABEL: Final = "node.kubernetes.io/instance-type"
GPU_PRODUCT_LABEL: Final = "nvidia.com/gpu.product"
MEMORY_W_PER_GIB: Final = 0.392 * BYTES_PER_GIB / 1e9
"""0.392 W a gigabyte, here for a gibibyte."""


class CpuModel(Protocol):
    """Power of a whole node's processors."""

    @property
    def idle_w(self) -> float:
        """Power without load."""
        ...

    def watts(self, utilisation: float) -> float:
        """Power at a utilisation of 0..1; values outside are cut."""
        ...


@dataclass(frozen=True, slots=True)
class LinearPower:
    """`idle + utilisation * (peak - idle)`. Raises `ValueError` unless 0 <= idle <= peak."""

    idle_w: float
    peak_w: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.peak_w) and 0 <= self.idle_w <= self.peak_w):
            raise ValueError(
                f"idle {self.idle_w} W, peak {self.peak_w} W: both must be numbers with 0 <= idle <= peak"
            )

    def watts(self, utilisation: float) -> float:
        """Power at a utilisation of 0..1."""
        return self.idle_w + _fraction(utilisation) * (self.peak_w - self.idle_w)


@dataclass(frozen=True, slots=True)
class CurvePower:
    """Straight lines between measured points, which lie at equal steps of utilisation from 0 to 1.

    SPECpower gives eleven: active idle, then 10 % to 100 %. Raises `ValueError` for fewer than two
    points or values that are not watts.
    """

    points_w: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.points_w) < 2:
            raise ValueError("a power curve needs at least two points: idle and full load")
        if not all(math.isfinite(point) and point >= 0 for point in self.points_w):
            raise ValueError(f"power curve {self.points_w}: every point must be a number of watts, 0 or more")

    @property
    def idle_w(self) -> float:
        """Power without load."""
        return self.points_w[0]

    def watts(self, utilisation: float) -> float:
        """Power at a utilisation of 0..1."""
        place = _fraction(utilisation) * (len(self.points_w) - 1)
        left = min(int(place), len(self.points_w) - 2)
        low, high = self.points_w[left], self.points_w[left + 1]
        return low + (place - left) * (high - low)

    def between(self, idle_w: float, peak_w: float) -> CurvePower:
        """The same shape for a machine with another idle and peak power."""
        own_idle, own_peak = self.points_w[0], self.points_w[-1]
        if own_peak <= own_idle:
            raise ValueError("a curve whose peak does not exceed its idle power has no shape to scale")
        scale = (peak_w - idle_w) / (own_peak - own_idle)
        return CurvePower(tuple(idle_w + (point - own_idle) * scale for point in self.points_w))


def _fraction(utilisation: float) -> float:
    if math.isnan(utilisation):
        raise ValueError("utilisation is not a number")
    return min(1.0, max(0.0, utilisation))


SPECPOWER_R830: Final = CurvePower((86.4, 181, 215, 253, 287, 315, 340, 377, 421, 483, 562))


@dataclass(frozen=True, slots=True)
class PerCore:
    """CPU power of a machine of unknown make, by its vCPUs. `curve` gives the shape; None is linear."""

    idle_w: float
    peak_w: float
    curve: CurvePower | None = None

    def of(self, cores: float) -> CpuModel:
        """The model of a machine with this many vCPUs."""
        idle_w, peak_w = self.idle_w * cores, self.peak_w * cores
        return LinearPower(idle_w, peak_w) if self.curve is None else self.curve.between(idle_w, peak_w)


PER_CORE: Final[Mapping[str, PerCore]] = {
    "aws": PerCore(0.74, 3.5, SPECPOWER_R830),
    "gcp": PerCore(0.71, 4.26, SPECPOWER_R830),
    "azure": PerCore(0.78, 3.76, SPECPOWER_R830),
    "linear": PerCore(0.74, 3.5),
}
"""Defaults by name; `linear` is aws without the curve."""


@dataclass(frozen=True, slots=True)
class GpuModel:
    """Power of one device; busy means: given to a pod. A device is taken as busy all the time it is given."""

    idle_w: float
    peak_w: float

    def __post_init__(self) -> None:
        LinearPower(self.idle_w, self.peak_w)


GPUS: Final[Mapping[str, GpuModel]] = {
    "T4": GpuModel(8, 71),
    "V100": GpuModel(35, 306),
    "A100": GpuModel(46, 407),
    "A10G": GpuModel(18, 153),
    "P100": GpuModel(36, 306),
    "P4": GpuModel(9, 76.5),
    "K80": GpuModel(35, 306),
}
"""By a word of the product name as NVIDIA's device plugin labels it (`Tesla-T4`, `NVIDIA-A100-SXM4-40GB`)."""

ANY_GPU: Final = GPUS["A100"]


@dataclass(frozen=True, slots=True)
class NodeModel:
    """Everything needed to say what a node draws. `memory_w` is drawn whatever the load."""

    name: str
    cpu: CpuModel
    memory_w: float = 0.0
    gpu: GpuModel = ANY_GPU


@dataclass(frozen=True, slots=True)
class NodePower:
    """Power of a node in watts, in the parts that are attributed by different rules."""

    idle_w: float
    dynamic_w: float
    gpu_idle_w: float = 0.0
    gpu_dynamic_w: float = 0.0

    @property
    def total_w(self) -> float:
        """All parts."""
        return self.idle_w + self.dynamic_w + self.gpu_idle_w + self.gpu_dynamic_w

    def times(self, factor: float) -> NodePower:
        """Every part times a factor (PUE)."""
        return NodePower(
            self.idle_w * factor,
            self.dynamic_w * factor,
            self.gpu_idle_w * factor,
            self.gpu_dynamic_w * factor,
        )


def estimate(model: NodeModel, utilisation: float, gpus: int = 0, gpus_given: int = 0) -> NodePower:
    """Power by the model at a CPU utilisation of 0..1, with `gpus_given` of `gpus` devices given to pods."""
    idle_w = model.cpu.idle_w
    return NodePower(
        idle_w=idle_w + model.memory_w,
        dynamic_w=model.cpu.watts(utilisation) - idle_w,
        gpu_idle_w=gpus * model.gpu.idle_w,
        gpu_dynamic_w=min(gpus, gpus_given) * (model.gpu.peak_w - model.gpu.idle_w),
    )


@dataclass(frozen=True, slots=True)
class PowerModels:
    """Which model a node has: by its instance type, else by its cores and memory.

    `pue` is the power usage effectiveness of the site: what the building draws for one watt of the
    machine. It multiplies models and readings alike. Raises `ValueError` for a PUE below 1.
    """

    per_core: PerCore = PER_CORE["aws"]
    per_core_name: str = "per-core"
    by_instance_type: Mapping[str, NodeModel] = field(default_factory=dict[str, NodeModel])
    gpus: Mapping[str, GpuModel] = field(default_factory=lambda: GPUS)
    pue: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.pue) and self.pue >= 1):
            raise ValueError(f"pue {self.pue}: must be 1 or more")

    def of(self, node: NodeFacts) -> NodeModel:
        """The model of a node."""
        known = self.by_instance_type.get(node.labels.get(INSTANCE_TYPE_LABEL, ""))
        if known is not None:
            return known
        cores = node.allocatable.get(CPU, 0) / 1000
        memory_w = node.allocatable.get(MEMORY, 0) / BYTES_PER_GIB * MEMORY_W_PER_GIB
        return NodeModel(self.per_core_name, self.per_core.of(cores), memory_w, self._gpu(node))

    def _gpu(self, node: NodeFacts) -> GpuModel:
        if not node.allocatable.get(GPU, 0):
            return ANY_GPU
        words = node.labels.get(GPU_PRODUCT_LABEL, "").split("-")
        return next((model for word, model in self.gpus.items() if word in words), ANY_GPU)
