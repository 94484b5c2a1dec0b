"""The budget of executors as a ResourceQuota: pods above it are refused when they are created.

An annotation on the quota keeps its earlier amounts, so that they are restored on exit, and also by the
next start after a crash. Another annotation names the replica that keeps it. Every replica knows the same
budget, so it does not matter which one does, only that it is one: a pod that the quota refuses is never seen
by kube-scheduler, so its calls (as for writes to pods) cannot decide which replica writes.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

import msgspec

from extender.adapters.kubernetes.client import ApiClient, ApiError
from extender.core.leadership import Standstill
from extender.core.nodes.resources import CPU, MEMORY
from extender.objects.quantity import QuantityError, base_units
from extender.support.backoff import Sleep, retried
from extender.support.problems import Problems

ORIGINAL: Final = "carbon-scheduler/original-hard"
"""Annotation: `spec.hard` as it was before us, as JSON; `null` if the quota is ours."""

KEEPER: Final = "carbon-scheduler/quota-keeper"
"""Annotation: the replica that keeps the quota, and when it last said so."""

INTERVAL_S: Final = 2.0
RENEW_S: Final = 10.0
LAPSE_S: Final = 35.0
"""A keeper that has not said so for this long is gone: another replica takes the quota over."""

_ATTEMPTS: Final = 3
_CONFLICT: Final = 409
_log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Share:
    """An amount of cpu (millicores) and memory (bytes)."""

    cpu_milli: int = 0
    memory_bytes: int = 0

    @classmethod
    def of(cls, amounts: Mapping[str, int]) -> Share:
        """The cpu and memory of requests in base units."""
        return cls(amounts.get(CPU, 0), amounts.get(MEMORY, 0))

    @classmethod
    def read(cls, hard: Mapping[str, Any]) -> Share | None:
        """As `spec.hard` or `status.used` has it; None where either is missing or unreadable."""
        try:
            return cls(*(base_units(name, hard[name]) for name in (CPU, MEMORY)))
        except (KeyError, QuantityError):
            return None

    def times(self, count: int) -> Share:
        """That many of it."""
        return Share(self.cpu_milli * count, self.memory_bytes * count)

    def plus(self, other: Share) -> Share:
        """Both together."""
        return Share(self.cpu_milli + other.cpu_milli, self.memory_bytes + other.memory_bytes)

    def at_least(self, other: Share) -> Share:
        """The larger cpu and the larger memory of both."""
        return Share(max(self.cpu_milli, other.cpu_milli), max(self.memory_bytes, other.memory_bytes))

    def at_most(self, other: Share) -> Share:
        """The smaller cpu and the smaller memory of both."""
        return Share(min(self.cpu_milli, other.cpu_milli), min(self.memory_bytes, other.memory_bytes))

    def holds(self, part: Share) -> int:
        """How many of `part` are in it at most."""
        wanted = ((self.cpu_milli, part.cpu_milli), (self.memory_bytes, part.memory_bytes))
        return min((whole // each for whole, each in wanted if each), default=1 << 20)

    @property
    def hard(self) -> dict[str, str]:
        """As `spec.hard` has it."""
        return {CPU: f"{self.cpu_milli}m", MEMORY: str(self.memory_bytes)}


class CapQuota:
    """Keeps cpu and memory of one ResourceQuota at what is wanted, and takes back what others write there.

    `wanted` gives that for what the namespace uses now; None while there is no limit: the quota is then as
    it was before us. `replica` names this process. `clock` gives seconds since the epoch. A replica that has
    just started takes the quota over, so that the one it replaces does not lift it on its exit; later it only
    takes over a quota without a keeper.
    """

    def __init__(
        self,
        client: ApiClient,
        namespace: str,
        name: str,
        wanted: Callable[[Share], Share | None],
        *,
        replica: str,
        clock: Callable[[], float],
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._client = client
        self._collection = f"/api/v1/namespaces/{quote(namespace, safe='')}/resourcequotas"
        self._path = f"{self._collection}/{quote(name, safe='')}"
        self._name = name
        self._wanted = wanted
        self._replica = replica
        self._clock = clock
        self._sleep = sleep
        self._fresh = True
        self._written: Share | None = None
        self._renewed_s = 0.0
        self._others_note = Standstill("", 0.0)
        self._title = f"{namespace}/{name}"
        self._problems = Problems(_log, "quota %s: %s")

    async def run(self) -> None:
        """Keep it up to date, for ever. Ends only by cancellation; call `restore` then."""
        while True:
            try:
                await self.keep()
                self._problems.solved(self._title)
            except Exception as problem:  # a defect here must not end scheduling
                cause = None if isinstance(problem, ApiError) else problem
                self._problems.report(self._title, problem, cause=cause)
            await self._sleep(INTERVAL_S)

    @property
    def last_problem(self) -> str:
        """Why the quota is not as it must be; empty when it is."""
        return self._problems.current.get(self._title, "")

    async def keep(self) -> None:
        """Look at the quota and write it if it must change. Raises `ApiError`."""
        try:
            # Somebody may write between our look and our write; the API server itself does, too.
            await retried(
                self._keep_once, ApiError, lambda problem: problem.status == _CONFLICT, attempts=_ATTEMPTS
            )
        except ApiError:
            self._written = None  # it may have taken effect
            raise

    async def restore(self) -> None:
        """Leave the quota as it was before us, unless another replica keeps it now. Raises `ApiError`."""
        found = await self._find()
        if found is not None and ORIGINAL in _annotations(found) and not self._kept_by_another(found):
            await self._give_back(found)

    async def _keep_once(self) -> None:
        found = await self._find()
        another = found is not None and self._kept_by_another(found)
        used = (Share.read(_part(found, "status", "used")) if found is not None else None) or Share()
        wanted = self._wanted(used)
        if wanted is None:
            if found is not None and ORIGINAL in _annotations(found) and not another:
                await self._give_back(found)
            return
        if another and not self._fresh:
            self._written = None
            return
        if found is None:
            await self._create(wanted)
        elif not self._is_kept(found, wanted):
            await self._write(found, wanted)
        else:
            return
        self._fresh = False
        self._written, self._renewed_s = wanted, self._clock()

    def _kept_by_another(self, found: Mapping[str, Any]) -> bool:
        """Whether a living replica other than this one keeps it. Its clock need not agree with ours."""
        note = _annotations(found).get(KEEPER, "")
        if note.partition(" ")[0] in ("", self._replica):
            return False
        return self._others_note.age_s(note, self._clock()) < LAPSE_S

    def _is_kept(self, found: Mapping[str, Any], wanted: Share) -> bool:
        """Whether it says what it must, and that we said so a moment ago."""
        mine = _annotations(found).get(KEEPER, "").partition(" ")[0] == self._replica
        renewed = self._clock() - self._renewed_s < RENEW_S
        return mine and renewed and Share.read(_part(found, "spec", "hard")) == wanted

    async def _create(self, wanted: Share) -> None:
        body = {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": self._name, "annotations": {ORIGINAL: "null", KEEPER: self._note()}},
            "spec": {"hard": wanted.hard},
        }
        await self._client.post(self._collection, _encode(body))

    async def _write(self, found: Mapping[str, Any], wanted: Share) -> None:
        annotations = {KEEPER: self._note()}
        before = self._original(found)
        if before is not None:
            annotations[ORIGINAL] = json.dumps(before)
        # With the version it was judged by: of two replicas that write at once one is refused.
        metadata = {"annotations": annotations, "resourceVersion": found["metadata"].get("resourceVersion")}
        await self._client.patch(self._path, _encode({"metadata": metadata, "spec": {"hard": wanted.hard}}))

    def _original(self, found: Mapping[str, Any]) -> dict[str, Any] | None:
        """The content to remember as the one before us, if it is new.

        Of a quota that was there before us, an amount that somebody changed is what they want after us.
        """
        hard = _part(found, "spec", "hard")
        text = _annotations(found).get(ORIGINAL)
        if text is None:
            return dict(hard)
        if self._written is None or Share.read(hard) == self._written:
            return None
        _log.warning("quota %s was changed by somebody else and is written again", self._title)
        before = _hard(text)
        if before is None:
            return None
        ours = self._written.hard
        for key in (CPU, MEMORY):
            if key not in hard:
                before.pop(key, None)
            elif _units(key, hard[key]) != _units(key, ours[key]):
                before[key] = hard[key]
        return before

    async def _give_back(self, found: Mapping[str, Any]) -> None:
        before = _hard(_annotations(found)[ORIGINAL])
        if before is None:
            await self._client.delete(self._path)
        else:
            # A merge patch keeps what it does not name, so what is not ours is as others left it.
            hard = {key: before.get(key) for key in (CPU, MEMORY)}
            metadata = {"annotations": {ORIGINAL: None, KEEPER: None}}
            await self._client.patch(self._path, _encode({"metadata": metadata, "spec": {"hard": hard}}))
        self._written = None

    def _note(self) -> str:
        return f"{self._replica} {datetime.fromtimestamp(self._clock(), UTC):%Y-%m-%dT%H:%M:%SZ}"

    async def _find(self) -> Mapping[str, Any] | None:
        try:
            found = json.loads(await self._client.get(self._path))
        except ApiError as problem:
            if problem.status == 404:
                return None
            raise
        except ValueError:
            found = None
        if not isinstance(found, dict) or not isinstance(found.get("metadata"), dict):
            raise ApiError(200, "Unreadable", "the answer is no ResourceQuota: does a proxy answer for it?")
        return found


def _annotations(found: Mapping[str, Any]) -> Mapping[str, str]:
    return found["metadata"].get("annotations") or {}


def _part(found: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    for key in path:
        found = found.get(key) or {}
    return found


def _units(resource: str, text: Any) -> int | None:
    try:
        return base_units(resource, text)
    except QuantityError:
        return None


def _hard(text: str) -> dict[str, Any] | None:
    try:
        before = json.loads(text)
    except ValueError:
        before = {}
    return None if before is None else before if isinstance(before, dict) else {}
