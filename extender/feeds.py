"""What the watches deliver, turned into events of the store."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from extender.core.events import NodeGone, NodeSeen, PodGone, PodSeen, SpecRead, SwitchesSeen, Synced
from extender.core.facts import NodeFacts, PodFacts, Role
from extender.core.gangs import GangSpec, SpecProblem
from extender.core.store import Store
from extender.kube.objects import Metadata, decode_config_map
from extender.spark.conf import PROPERTIES_KEY
from extender.spark.template import TEMPLATE_KEY
from extender.switches import describe, read_switches
from extender.webhooks.ports import Perform

_KEPT_KEYS: Final = (PROPERTIES_KEY, TEMPLATE_KEY)
_EXECUTOR_PREFIX: Final = "spark-exec-"
_SUFFIX: Final = "-conf-map"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ConfigMapFacts:
    """A ConfigMap: its `namespace/name`, and of its data what Spark's dialect reads (None: not Spark's)."""

    key: str
    data: Mapping[str, str] | None


def config_map_facts(raw: bytes, switches: str | None = None) -> ConfigMapFacts:
    """Project a ConfigMap. Those of drivers and of executor templates keep two keys, all others none.

    Executors mount ConfigMaps like the drivers' own; nothing is ever read from them. Of `switches`
    (`namespace/name`) all is kept.
    """
    config_map = decode_config_map(raw)
    metadata = config_map.metadata or Metadata()
    name, data = metadata.name or "", config_map.data or {}
    key = f"{metadata.namespace or ''}/{name}"
    if key == switches:
        return ConfigMapFacts(key, data)
    kept = {key: data[key] for key in _KEPT_KEYS if key in data}
    spark = (bool(kept) or name.endswith(_SUFFIX)) and not name.startswith(_EXECUTOR_PREFIX)
    return ConfigMapFacts(key, kept if spark else None)


class Reader(Protocol):
    """Reads a gang's request from its leader and the ConfigMaps the leader mounts."""

    def read(
        self,
        leader: PodFacts,
        config_map: Mapping[str, str] | None,
        template: Mapping[str, str] | None = None,
    ) -> GangSpec | SpecProblem:
        """The request, or why it is not known. Never raises."""
        ...


@dataclass(slots=True)
class _Leader:
    pod: PodFacts
    config_map: Mapping[str, str] | None
    template: Mapping[str, str] | None
    spec: GangSpec | SpecProblem


class SpecIndex:
    """Requests of gangs: read once for each version of a leader and of the ConfigMaps it mounts."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._config_maps: dict[str, Mapping[str, str]] = {}
        self._leaders: dict[str, _Leader] = {}
        self._mounting: dict[str, dict[str, None]] = {}

    def __len__(self) -> int:
        """ConfigMaps kept."""
        return len(self._config_maps)

    def read(self, leader: PodFacts) -> GangSpec | SpecProblem:
        """The request of the gang led by this pod, or why it is not known (yet)."""
        config_map, template = (
            self._data(leader, leader.config_map),
            self._data(leader, leader.template_config_map),
        )
        known = self._leaders.get(leader.uid)
        if (
            known is not None
            and known.config_map is config_map
            and known.template is template
            and _asks_alike(known.pod, leader)
        ):
            return known.spec
        spec = self._reader.read(leader, config_map, template)
        if known is not None:
            self._leaders[leader.uid] = _Leader(leader, config_map, template, spec)
        return spec

    def follow(self, leader: PodFacts) -> GangSpec | SpecProblem:
        """As `read`; from now on the leader is found by the ConfigMaps it mounts."""
        spec = self.read(leader)
        if leader.uid not in self._leaders:
            config_map, template = (
                self._data(leader, leader.config_map),
                self._data(leader, leader.template_config_map),
            )
            self._leaders[leader.uid] = _Leader(leader, config_map, template, spec)
        self._leaders[leader.uid].pod = leader
        for name in _mounted(leader):
            self._mounting.setdefault(name, {})[leader.uid] = None
        return spec

    def forget(self, uid: str) -> None:
        """A pod is gone or has ended."""
        known = self._leaders.pop(uid, None)
        for name in _mounted(known.pod) if known is not None else ():
            uids = self._mounting.get(name, {})
            uids.pop(uid, None)
            if not uids:
                self._mounting.pop(name, None)

    def keep(self, key: str, data: Mapping[str, str] | None) -> list[PodFacts]:
        """A ConfigMap appeared, changed, or (None) is gone; returns the leaders that mount it."""
        before = self._config_maps.get(key)
        if data is None:
            self._config_maps.pop(key, None)
        elif data != before:
            self._config_maps[key] = data
        if data == before:
            return []
        return [self._leaders[uid].pod for uid in self._mounting.get(key, ())]

    def _data(self, leader: PodFacts, name: str) -> Mapping[str, str] | None:
        return self._config_maps.get(f"{leader.namespace}/{name}") if name else None


def _mounted(leader: PodFacts) -> list[str]:
    names = (leader.config_map, leader.template_config_map)
    return [f"{leader.namespace}/{name}" for name in names if name]


def _asks_alike(before: PodFacts, now: PodFacts) -> bool:
    return (
        before.annotations == now.annotations
        and before.terms == now.terms
        and before.requests == now.requests
        and before.config_map == now.config_map
        and before.template_config_map == now.template_config_map
    )


class Feeds:
    """The sinks of the three watches, and the moment at which all of them have delivered once.

    `also_awaited` names further kinds of which `listed` tells. `switches` is `namespace/name` of the
    ConfigMap that turns things off.
    """

    def __init__(
        self,
        store: Store,
        specs: SpecIndex,
        perform: Perform,
        clock: Callable[[], float],
        on_synced: Callable[[], None],
        also_awaited: Iterable[str] = (),
        switches: str | None = None,
    ) -> None:
        self.store = store
        self.specs = specs
        self.perform = perform
        self.clock = clock
        self.nodes = NodeFeed(self)
        self.pods = PodFeed(self)
        self.config_maps = ConfigMapFeed(self)
        self.switches = switches
        self._on_synced = on_synced
        self._awaited = {"nodes", "pods", "config maps", *also_awaited}

    @property
    def awaited(self) -> frozenset[str]:
        """Kinds of which no complete list has been seen yet."""
        return frozenset(self._awaited)

    def listed(self, kind: str) -> None:
        """A complete list of this kind was delivered; the first time of the last kind makes us ready.

        A later complete list of pods also tells the store which pods it may stop waiting for.
        """
        if kind not in self._awaited:
            if kind == "pods" and not self._awaited:
                self.perform(self.store.apply(Synced(), self.clock()))
            return
        self._awaited.discard(kind)
        if not self._awaited:
            self.perform(self.store.apply(Synced(), self.clock()))
            self._on_synced()

    def learn(self, leader: PodFacts) -> None:
        """Tell the store what the gang led by this pod asks for."""
        self.perform(self.store.apply(SpecRead(leader, self.specs.follow(leader)), self.clock()))

    def switch(self, data: Mapping[str, str]) -> None:
        """Turn off or on again what an operator says; no data: all that the settings allow is on."""
        before = self.store.state.switches
        switches, problems = read_switches(data, before)
        for problem in problems:
            _log.error("ConfigMap %s: %s", self.switches, problem)
        if switches != before:
            _log.info("switches of ConfigMap %s: %s", self.switches, describe(switches))
            self.perform(self.store.apply(SwitchesSeen(switches), self.clock()))


class NodeFeed:
    """Sink of nodes, by name."""

    def __init__(self, feeds: Feeds) -> None:
        self._feeds = feeds

    def seen(self, item: NodeFacts) -> None:
        """A node was added or changed."""
        feeds = self._feeds
        feeds.perform(feeds.store.apply(NodeSeen(item), feeds.clock()))

    def gone(self, key: str) -> None:
        """A node was deleted."""
        feeds = self._feeds
        feeds.perform(feeds.store.apply(NodeGone(key), feeds.clock()))

    def listed(self) -> None:
        """All nodes were seen."""
        self._feeds.listed("nodes")


class PodFeed:
    """Sink of pods, by uid."""

    def __init__(self, feeds: Feeds) -> None:
        self._feeds = feeds

    def seen(self, item: PodFacts) -> None:
        """A pod was added or changed; a leader's request is read along with it."""
        feeds = self._feeds
        feeds.perform(feeds.store.apply(PodSeen(item), feeds.clock()))
        if item.role is not Role.LEADER or item.scheduler_name not in feeds.store.policy.scheduler_names:
            return
        if item.finished:
            feeds.specs.forget(item.uid)
        else:
            feeds.learn(item)

    def gone(self, key: str) -> None:
        """A pod was deleted."""
        feeds = self._feeds
        feeds.specs.forget(key)
        feeds.perform(feeds.store.apply(PodGone(key), feeds.clock()))

    def listed(self) -> None:
        """All pods were seen."""
        self._feeds.listed("pods")


class ConfigMapFeed:
    """Sink of ConfigMaps, by `namespace/name`. The leaders that wait for one are read again."""

    def __init__(self, feeds: Feeds) -> None:
        self._feeds = feeds

    def seen(self, item: ConfigMapFacts) -> None:
        """A ConfigMap was added or changed."""
        if item.key == self._feeds.switches:
            self._feeds.switch(item.data or {})
            return
        for leader in self._feeds.specs.keep(item.key, item.data):
            self._feeds.learn(leader)

    def gone(self, key: str) -> None:
        """A ConfigMap was deleted. What was read from it stays: a running driver's may go before it."""
        if key == self._feeds.switches:
            self._feeds.switch({})
            return
        self._feeds.specs.keep(key, None)

    def listed(self) -> None:
        """All ConfigMaps were seen."""
        self._feeds.listed("config maps")
