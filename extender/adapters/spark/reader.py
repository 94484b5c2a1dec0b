"""An application's request, from all places that may state it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Final

from extender.adapters.spark.annotations import (
    PALANTIR_COUNT,
    PALANTIR_CPU,
    PALANTIR_MEMORY,
    PREFIX,
    OwnStatement,
    PalantirStatement,
    read_own,
    read_palantir,
)
from extender.adapters.spark.conf import Bounds, SparkConf
from extender.adapters.spark.flexibility import read_flexibility
from extender.adapters.spark.refusal import Refused
from extender.adapters.spark.template import ExecutorTemplate, read_template
from extender.core.facts import Admitted, PodFacts
from extender.core.gangs.spec import WAIT_FOR_CONFIGURATION, GangSpec, SpecProblem
from extender.core.nodes.resources import CPU, MEMORY
from extender.core.nodes.terms import ANYWHERE, PlacementTerms
from extender.core.queue.packing import PACKERS
from extender.objects.structs import PodSpec

_NO_TEMPLATE: Final = ExecutorTemplate(PodSpec())
_EXAMPLES: Final = {CPU: "such as 2 or 500m", MEMORY: "such as 4Gi", "count": "such as 3"}
_FIELDS: Final = {CPU: "cpu", MEMORY: "memory", "count": "count"}
_PALANTIR_KEYS: Final = {CPU: PALANTIR_CPU, MEMORY: PALANTIR_MEMORY, "count": PALANTIR_COUNT}


class SpecReader:
    """Reads gang requests: our annotations, then Palantir's, then Spark's configuration.

    The sources are joined field by field, the first one that states a field wins, with one
    exception: sizes are often annotated without Spark's memory overhead, and Spark requests what its
    configuration says whatever the annotations say. So of an annotated and a configured size the larger
    counts, and a configuration that the leader mounts is waited for.
    """

    def __init__(self, packers: Collection[str] = tuple(PACKERS)) -> None:
        self._packers = packers

    def read(
        self,
        leader: PodFacts,
        config_map: Mapping[str, str] | None,
        template: Mapping[str, str] | None = None,
    ) -> GangSpec | SpecProblem:
        """The request of `leader`'s gang, or why that cannot be known (yet).

        `config_map` and `template` are the data of the ConfigMaps named by `leader.config_map` and
        `leader.template_config_map`; None while they are not known. Never raises: whatever
        annotations and ConfigMaps contain, the answer is a request or a problem naming key, value and fix.
        """
        try:
            own = read_own(leader.annotations, self._packers)
            palantir = read_palantir(leader.annotations)
            flexibility = read_flexibility(leader.annotations)
            if _awaited(leader, config_map, template):
                return WAIT_FOR_CONFIGURATION
            conf = None if config_map is None else SparkConf.from_config_map(config_map)
            executor = None
            if template is not None:
                executor = read_template(template, conf.template_container if conf else "")
            bounds = _bounds(own, palantir, conf)
            return GangSpec(
                worker=_size(own, palantir, conf, executor, leader.admitted),
                min_workers=bounds.least,
                max_workers=bounds.most,
                worker_terms=_terms(leader, own, conf, executor),
                packer=own.packer,
                source=_source(own, palantir, conf),
                flexibility=flexibility,
                worker_slots=0 if conf is None else conf.tasks_at_once(),
                weight=own.weight,
            )
        except Refused as refused:
            return refused.problem


def _awaited(
    leader: PodFacts, config_map: Mapping[str, str] | None, template: Mapping[str, str] | None
) -> bool:
    """Whether a ConfigMap that the leader mounts, and cannot start without, is not known yet."""
    return bool(leader.config_map and config_map is None) or bool(
        leader.template_config_map and template is None
    )


def _bounds(own: OwnStatement, palantir: PalantirStatement, conf: SparkConf | None) -> Bounds:
    if own.least is not None and own.most is not None:
        return Bounds(own.least, own.most)
    below = palantir.bounds or (conf.bounds() if conf is not None else None)
    if below is None:
        raise _missing("count", own, palantir)
    least = below.least if own.least is None else own.least
    most = below.most if own.most is None else own.most
    if least > most:
        if own.least is not None:
            raise Refused(
                *own.stated["min-count"], f"it is above the application's maximum of {most}; lower it"
            )
        raise Refused(*own.stated["max-count"], f"it is below the application's minimum of {least}; raise it")
    return Bounds(least, most)


def _size(
    own: OwnStatement,
    palantir: PalantirStatement,
    conf: SparkConf | None,
    executor: ExecutorTemplate | None,
    added: Admitted,
) -> dict[str, int]:
    """Size of one worker pod. Annotations state whole pods, so sidecars are not added to them."""
    size: dict[str, int] = {}
    if conf is not None:
        spark = conf.devices()
        spark[CPU] = conf.cpu_milli()
        spark[MEMORY] = conf.memory_bytes()
        size = (executor or _NO_TEMPLATE).requests(spark, added)
    for name, amount in ({**palantir.amounts, **own.amounts}).items():
        size[name] = max(amount, size.get(name, 0))
    for name in (CPU, MEMORY):
        if name not in size and not own.complete:
            raise _missing(name, own, palantir)
    return {name: amount for name, amount in size.items() if amount}


def _terms(
    leader: PodFacts, own: OwnStatement, conf: SparkConf | None, executor: ExecutorTemplate | None
) -> PlacementTerms:
    """Where workers may run: as Spark will write it into their pods, else where the leader may run."""
    if conf is None and executor is None:
        terms = leader.terms
        if own.node_selector is not None:
            # The leader's affinity was only a guess for the workers, and a selector is better than it.
            terms = replace(terms, affinity=None)
    else:
        terms = ANYWHERE if executor is None else executor.terms
        selector = {} if conf is None else conf.node_selector()
        if selector:
            terms = replace(terms, node_selector=_pairs({**dict(terms.node_selector), **selector}))
    if own.node_selector is not None:
        terms = replace(terms, node_selector=_pairs(own.node_selector))
    if own.tolerations is not None:
        terms = replace(terms, tolerations=own.tolerations)
    return ANYWHERE if terms == ANYWHERE else terms


def _pairs(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels.items()))


def _missing(field: str, own: OwnStatement, palantir: PalantirStatement) -> Refused:
    if not own.stated and palantir.empty:
        return Refused(
            f"{PREFIX}executor-count",
            None,
            "the leader mounts no Spark driver ConfigMap; annotate it with executor-count, executor-cpu and "
            "executor-memory (outside Spark worker-...), or use spark-submit in cluster mode",
        )
    if own.stated or palantir.empty:
        noun = own.noun
        key = f"{PREFIX}{noun}-{_FIELDS[field]}"
    else:
        noun, key = "executor", _PALANTIR_KEYS[field]
    what = f"the number of {noun}s" if field == "count" else f"what one {noun} pod requests"
    return Refused(key, None, f"write {what}, {_EXAMPLES[field]}")


def _source(own: OwnStatement, palantir: PalantirStatement, conf: SparkConf | None) -> str:
    parts = (
        ("annotations", bool(own.stated)),
        ("palantir-annotations", not palantir.empty),
        ("spark-configuration", conf is not None),
    )
    return "+".join(name for name, used in parts if used)
