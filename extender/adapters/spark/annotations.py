"""Annotations on a leader pod that say what its gang needs: ours, and the archived Palantir extender's.

A key that is present must be readable even where it is not needed: a typing error that changes
nothing today is found today, and not on the day somebody relies on it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from extender.adapters.spark.conf import Bounds
from extender.adapters.spark.flexibility import KEYS as FLEXIBILITY_KEYS
from extender.adapters.spark.refusal import Refused, written
from extender.adapters.spark.scalars import MOST_EVER, amount, count, go_boolean, quantity_count
from extender.core.explain.notices import STATUS
from extender.core.gangs.reservation import MOST_WORKERS, RESERVATION
from extender.core.nodes.resources import CPU, GPU, MEMORY, PODS
from extender.core.nodes.terms import Toleration, int64
from extender.core.wakes import WAKE
from extender.objects.projection import placement_terms
from extender.objects.structs import DECODE_ERRORS, PodSpec, Quantities, TolerationObject

PREFIX: Final = "carbon-scheduler/"
PACKER_KEY: Final = "carbon-scheduler/packer"
WEIGHT_KEY: Final = "carbon-scheduler/weight"
EXECUTOR: Final = "executor"
WORKER: Final = "worker"

FIELDS: Final = (
    "cpu",
    "memory",
    "gpu",
    "resources",
    "count",
    "min-count",
    "max-count",
    "node-selector",
    "tolerations",
)
"""Names that may follow `carbon-scheduler/executor-` and `carbon-scheduler/worker-`, which mean the same."""

_SIZES: Final = (("cpu", CPU, 1), ("memory", MEMORY, 1 << 20), ("gpu", GPU, 0))
"""Field, resource, and the least amount that can be meant: `executor-memory: "4"` would be four bytes."""
_UNREADABLE: Final = (*DECODE_ERRORS, UnicodeEncodeError)
_MOST_WEIGHT: Final = 100
_COMPARING: Final = frozenset({"Gt", "Lt"})
_OPERATORS: Final = frozenset({"", "Equal", "Exists"}) | _COMPARING
_read_quantities = msgspec.json.Decoder(Quantities).decode
_read_labels = msgspec.json.Decoder(dict[str, str]).decode
_read_tolerations = msgspec.json.Decoder(list[TolerationObject]).decode

KNOWN_KEYS: Final = frozenset({PACKER_KEY, WEIGHT_KEY, *FLEXIBILITY_KEYS, RESERVATION, WAKE, STATUS})
"""Keys under our prefix besides those of `FIELDS`; the last three are written by the extender itself."""

PALANTIR_DYNAMIC: Final = "spark-dynamic-allocation-enabled"
PALANTIR_CPU: Final = "spark-executor-cpu"
PALANTIR_MEMORY: Final = "spark-executor-mem"
PALANTIR_GPU: Final = "spark-executor-nvidia.com/gpu"
PALANTIR_COUNT: Final = "spark-executor-count"
PALANTIR_MIN: Final = "spark-dynamic-allocation-min-executor-count"
PALANTIR_MAX: Final = "spark-dynamic-allocation-max-executor-count"
PALANTIR_DRIVER: Final = (
    ("spark-driver-cpu", CPU),
    ("spark-driver-cpus", CPU),
    ("spark-driver-mem", MEMORY),
    ("spark-driver-nvidia.com/gpu", GPU),
)
"""Read for errors only: the driver pod's own requests are what it takes."""


@dataclass(frozen=True, slots=True)
class OwnStatement:
    """Content of `carbon-scheduler/...` annotations; empty or None where they say nothing.

    `amounts` is the size of one whole worker pod in base units. `stated` holds, by field, the
    annotation key and its text, for refusals.
    """

    amounts: Mapping[str, int] = field(default_factory=dict[str, int])
    least: int | None = None
    most: int | None = None
    packer: str = ""
    weight: int = 1
    node_selector: Mapping[str, str] | None = None
    tolerations: tuple[Toleration, ...] | None = None
    stated: Mapping[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])

    @property
    def noun(self) -> str:
        """The word the author used: `worker`, or Spark's `executor`."""
        generic = any(key.startswith(f"{PREFIX}{WORKER}-") for key, _ in self.stated.values())
        return WORKER if generic else EXECUTOR

    @property
    def complete(self) -> bool:
        """Whether these annotations alone make a request.

        An executor always requests cpu and memory. A pod of another kind of gang may leave one out.
        """
        if self.least is None or self.most is None:
            return False
        if self.noun == WORKER:
            return bool(self.amounts)
        return CPU in self.amounts and MEMORY in self.amounts


@dataclass(frozen=True, slots=True)
class PalantirStatement:
    """Executors as Palantir's annotation keys describe them."""

    amounts: Mapping[str, int] = field(default_factory=dict[str, int])
    bounds: Bounds | None = None

    @property
    def empty(self) -> bool:
        """Whether the keys say nothing of executors."""
        return not self.amounts and self.bounds is None


def read_own(annotations: Mapping[str, str], packers: Collection[str]) -> OwnStatement:
    """Read our own keys; `packers` are the names that `carbon-scheduler/packer` may have.

    Raises:
        Refused: a key is unknown, unreadable, or contradicts another one.
    """
    _refuse_unknown(annotations)
    stated = _stated_fields(annotations)
    least, most = _own_bounds(stated)
    packer = annotations.get(PACKER_KEY, "")
    if PACKER_KEY in annotations and packer not in packers:
        raise Refused(PACKER_KEY, packer, f"use one of {', '.join(packers)}")
    weight = annotations.get(WEIGHT_KEY)
    return OwnStatement(
        amounts=_own_amounts(stated),
        least=least,
        most=most,
        packer=packer,
        weight=1 if weight is None else count(WEIGHT_KEY, weight, least=1, most=_MOST_WEIGHT, noun="shares"),
        node_selector=_own_selector(stated),
        tolerations=_own_tolerations(stated),
        stated=stated,
    )


def _refuse_unknown(annotations: Mapping[str, str]) -> None:
    """A key under our prefix that we do not know is a typing error, and would be ignored in silence."""
    for key in sorted(annotations):
        field = key.removeprefix(PREFIX)
        if field != key and key not in KNOWN_KEYS and not field.startswith((f"{EXECUTOR}-", f"{WORKER}-")):
            raise Refused(key, annotations[key], "unknown key; docs/annotations.md lists those that exist")


def _stated_fields(annotations: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Key and text by field; a field written both ways must say the same."""
    stated: dict[str, tuple[str, str]] = {}
    for key in sorted(annotations):
        for noun in (EXECUTOR, WORKER):
            if not key.startswith(f"{PREFIX}{noun}-"):
                continue
            name, text = key[len(PREFIX) + len(noun) + 1 :], annotations[key]
            if name not in FIELDS:
                raise Refused(key, text, f"unknown key; {noun}- is followed by one of {', '.join(FIELDS)}")
            earlier = stated.setdefault(name, (key, text))
            if earlier[1] != text:
                raise _contradiction((key, text), earlier)
    return stated


def _contradiction(one: tuple[str, str], other: tuple[str, str]) -> Refused:
    return Refused(*one, f"contradicts {written(*other)}; keep one of the two")


def _own_amounts(stated: Mapping[str, tuple[str, str]]) -> dict[str, int]:
    amounts = {
        resource: amount(resource, *stated[name], least=least)
        for name, resource, least in _SIZES
        if name in stated
    }
    if "resources" not in stated:
        return amounts
    key, text = stated["resources"]
    fix = 'write a JSON object of quantities, such as {"example.com/fpga": "1"}'
    try:
        quantities = _read_quantities(text)
    except _UNREADABLE:
        raise Refused(key, text, fix) from None
    for name, resource, _ in _SIZES:
        if name in stated and resource in quantities:
            raise _contradiction((key, text), stated[name])
    for resource, quantity in quantities.items():
        if resource == PODS or not resource:
            raise Refused(key, text, "name resources other than pods; every worker is one pod anyway")
        entry = f"{key}[{resource}]"
        if quantity is None:
            raise Refused(entry, "null", fix)
        amounts[resource] = amount(resource, entry, str(quantity), least=int(resource in (CPU, MEMORY)))
    return amounts


def _own_bounds(stated: Mapping[str, tuple[str, str]]) -> tuple[int | None, int | None]:
    fixed = count(*stated["count"]) if "count" in stated else None
    least = count(*stated["min-count"]) if "min-count" in stated else None
    most = count(*stated["max-count"], most=MOST_EVER) if "max-count" in stated else None
    if fixed is not None:
        for name in ("min-count", "max-count"):
            if name in stated:
                raise _contradiction(stated["count"], stated[name])
        return fixed, fixed
    if least is not None and most is not None and least > most:
        limit = written(*stated["max-count"])
        raise Refused(*stated["min-count"], f"it is above {limit}; lower it or raise that")
    return least, most


def _own_selector(stated: Mapping[str, tuple[str, str]]) -> Mapping[str, str] | None:
    if "node-selector" not in stated:
        return None
    try:
        return _read_labels(stated["node-selector"][1])
    except _UNREADABLE:
        raise Refused(
            *stated["node-selector"], 'write a JSON object of label values, such as {"pool": "spark"}'
        ) from None


def _own_tolerations(stated: Mapping[str, tuple[str, str]]) -> tuple[Toleration, ...] | None:
    if "tolerations" not in stated:
        return None
    fix = 'write a JSON list, such as [{"key": "spot", "operator": "Exists"}]'
    try:
        tolerations = _read_tolerations(stated["tolerations"][1])
    except _UNREADABLE:
        raise Refused(*stated["tolerations"], fix) from None
    if any((each.operator or "") not in _OPERATORS for each in tolerations):
        raise Refused(*stated["tolerations"], "operator must be Equal, Exists, Gt or Lt")
    if any(each.operator in _COMPARING and int64(each.value or "") is None for each in tolerations):
        raise Refused(*stated["tolerations"], "with Gt and Lt the value must be an integer of 64 bits")
    return placement_terms(PodSpec(tolerations=tolerations)).tolerations


def read_palantir(annotations: Mapping[str, str]) -> PalantirStatement:
    """Read the keys of the archived Palantir extender.

    Raises:
        Refused: a key is unreadable, or one that the others call for is missing.
    """
    text = annotations.get(PALANTIR_DYNAMIC)
    dynamic = text is not None and go_boolean(PALANTIR_DYNAMIC, text)
    for key, resource in PALANTIR_DRIVER:
        if (text := annotations.get(key)) is not None:
            amount(resource, key, text)
    amounts = {
        resource: amount(resource, key, text, least=least)
        for key, resource, least in (
            (PALANTIR_CPU, CPU, 1),
            (PALANTIR_MEMORY, MEMORY, 1),
            (PALANTIR_GPU, GPU, 0),
        )
        if (text := annotations.get(key)) is not None
    }
    fixed = _palantir_count(annotations, PALANTIR_COUNT, MOST_WORKERS)
    least = _palantir_count(annotations, PALANTIR_MIN, MOST_WORKERS)
    most = _palantir_count(annotations, PALANTIR_MAX, MOST_EVER)
    if not dynamic:
        return PalantirStatement(amounts, None if fixed is None else Bounds(fixed, fixed))
    if least is None or most is None:
        key = PALANTIR_MIN if least is None else PALANTIR_MAX
        raise Refused(key, None, f"{PALANTIR_DYNAMIC}=true needs it; write a number of executors")
    if least > most:
        raise Refused(PALANTIR_MIN, str(least), f"it is above {PALANTIR_MAX}={most}; lower it or raise that")
    return PalantirStatement(amounts, Bounds(least, most))


def _palantir_count(annotations: Mapping[str, str], key: str, most: int) -> int | None:
    text = annotations.get(key)
    return None if text is None else quantity_count(key, text, most=most)
