"""The sinks of the watches: what the API server delivers becomes a change for the engine."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from extender.adapters.spark.conf import PROPERTIES_KEY
from extender.adapters.spark.template import TEMPLATE_KEY
from extender.adapters.webhooks.ports import Perform
from extender.core import queries
from extender.core.events import NodeGone, NodeSeen, PodGone, PodSeen, SwitchesSeen, Synced
from extender.core.facts import NodeFacts, PodFacts
from extender.engine import Change, ConfigMapGone, ConfigMapSeen, Engine
from extender.objects.structs import Metadata, decode_config_map
from extender.runtime.switches import describe, read_switches

_KEPT_KEYS: Final = (PROPERTIES_KEY, TEMPLATE_KEY)
_EXECUTOR_PREFIX: Final = "spark-exec-"
_SUFFIX: Final = "-conf-map"

_log = logging.getLogger(__name__)


def config_map_facts(raw: bytes, switches: str | None = None) -> ConfigMapSeen:
    """Project a ConfigMap. Those of drivers and of executor templates keep two keys, all others none.

    Executors mount ConfigMaps like the drivers' own; nothing is ever read from them. Of `switches`
    (`namespace/name`) all is kept.
    """
    config_map = decode_config_map(raw)
    metadata = config_map.metadata or Metadata()
    name, data = metadata.name or "", config_map.data or {}
    key = f"{metadata.namespace or ''}/{name}"
    if key == switches:
        return ConfigMapSeen(key, data)
    kept = {key: data[key] for key in _KEPT_KEYS if key in data}
    spark = (bool(kept) or name.endswith(_SUFFIX)) and not name.startswith(_EXECUTOR_PREFIX)
    return ConfigMapSeen(key, kept if spark else None)


class WatchSinks:
    """The sinks of the three watches, and the moment at which all of them have delivered once.

    `also_awaited` names further kinds that call `listed`. `switches` is `namespace/name` of the ConfigMap by
    which an operator turns things off. Each of `namespaces` has a watch of its ConfigMaps; "" means all.
    """

    def __init__(
        self,
        engine: Engine,
        perform: Perform,
        clock: Callable[[], float],
        on_synced: Callable[[], None],
        also_awaited: Iterable[str] = (),
        switches: str | None = None,
        namespaces: Iterable[str] = ("",),
    ) -> None:
        self.engine = engine
        self.nodes = NodeSink(self)
        self.pods = PodSink(self)
        self.config_maps = {each: ConfigMapSink(self, config_maps_of(each)) for each in namespaces}
        self.switches = switches
        self._perform = perform
        self._clock = clock
        self._on_synced = on_synced
        self._awaited = {"nodes", "pods", *map(config_maps_of, self.config_maps), *also_awaited}

    @property
    def awaited(self) -> frozenset[str]:
        """Kinds of which no complete list has been seen yet."""
        return frozenset(self._awaited)

    def observe(self, change: Change) -> None:
        """Give a change to the engine and carry out what it answers."""
        self._perform(self.engine.observe(change, self._clock()))

    def listed(self, kind: str) -> None:
        """A complete list of this kind was delivered; the first time of the last kind makes us ready.

        A later complete list of pods also tells the store which pods it may stop waiting for.
        """
        if kind not in self._awaited:
            if kind == "pods" and not self._awaited:
                self.observe(Synced())
            return
        self._awaited.discard(kind)
        if not self._awaited:
            self.observe(Synced())
            self._on_synced()

    def switch(self, data: Mapping[str, str]) -> None:
        """Turn off or on again what an operator says; no data: all that the settings allow is on."""
        before = queries.switches(self.engine.store)
        switches, problems = read_switches(data, before)
        for problem in problems:
            _log.error("ConfigMap %s: %s", self.switches, problem)
        if switches != before:
            _log.info("switches of ConfigMap %s: %s", self.switches, describe(switches))
            self.observe(SwitchesSeen(switches))


def config_maps_of(namespace: str) -> str:
    """The kind as which the ConfigMaps of a namespace, or of all, are awaited and shown."""
    return f"config maps of {namespace}" if namespace else "config maps"


class NodeSink:
    """Sink of nodes, by name."""

    def __init__(self, sinks: WatchSinks) -> None:
        self._sinks = sinks

    def seen(self, item: NodeFacts) -> None:
        """A node was added or changed."""
        self._sinks.observe(NodeSeen(item))

    def gone(self, key: str) -> None:
        """A node was deleted."""
        self._sinks.observe(NodeGone(key))

    def listed(self) -> None:
        """All nodes were seen."""
        self._sinks.listed("nodes")


class PodSink:
    """Sink of pods, by uid."""

    def __init__(self, sinks: WatchSinks) -> None:
        self._sinks = sinks

    def seen(self, item: PodFacts) -> None:
        """A pod was added or changed."""
        self._sinks.observe(PodSeen(item))

    def gone(self, key: str) -> None:
        """A pod was deleted."""
        self._sinks.observe(PodGone(key))

    def listed(self) -> None:
        """All pods were seen."""
        self._sinks.listed("pods")


class ConfigMapSink:
    """Sink of ConfigMaps, by `namespace/name`. `kind` is the name of their watch."""

    def __init__(self, sinks: WatchSinks, kind: str) -> None:
        self._sinks = sinks
        self._kind = kind

    def seen(self, item: ConfigMapSeen) -> None:
        """A ConfigMap was added or changed."""
        if item.key == self._sinks.switches:
            self._sinks.switch(item.data or {})
        else:
            self._sinks.observe(item)

    def gone(self, key: str) -> None:
        """A ConfigMap was deleted."""
        if key == self._sinks.switches:
            self._sinks.switch({})
        else:
            self._sinks.observe(ConfigMapGone(key))

    def listed(self) -> None:
        """All ConfigMaps were seen."""
        self._sinks.listed(self._kind)
