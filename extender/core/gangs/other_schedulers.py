"""Workers that another scheduler binds (Spark may name one for executors only)."""

from __future__ import annotations

from extender.core.facts import GangKey, PodFacts


class WorkersOfOtherSchedulers:
    """Bound workers of other schedulers, by gang: they count once a leader that we serve names the gang."""

    def __init__(self) -> None:
        self._workers: dict[GangKey, dict[str, PodFacts]] = {}
        self._keys: dict[str, GangKey] = {}

    def __contains__(self, uid: str) -> bool:
        return uid in self._keys

    def see(self, key: GangKey, worker: PodFacts) -> None:
        """A worker of this gang runs."""
        self._keys[worker.uid] = key
        self._workers.setdefault(key, {})[worker.uid] = worker

    def lose(self, uid: str) -> None:
        """A worker ended or is gone."""
        key = self._keys.pop(uid, None)
        if key is not None:
            del self._workers[key][uid]
            if not self._workers[key]:
                del self._workers[key]

    def of(self, key: GangKey) -> dict[str, PodFacts]:
        """Workers that name this gang, by uid."""
        return self._workers.get(key, {})
