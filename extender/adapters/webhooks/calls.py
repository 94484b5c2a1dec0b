"""The four calls: a body in, a reply and the outcome for the metrics out. No call raises."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from extender.adapters.webhooks import wire
from extender.adapters.webhooks.binds import Binds
from extender.adapters.webhooks.bounds import DEFAULT_MAX_BODY_BYTES, NAME_BYTES, Bounds
from extender.adapters.webhooks.offered import BadRequest, Offered
from extender.adapters.webhooks.ports import BindingWriter, CatchUp, Perform, PodReader
from extender.core import queries
from extender.core.events import VerifyPod
from extender.core.facts import PodFacts
from extender.core.outcomes import BROKEN, Outcome, reason
from extender.engine import Engine
from extender.objects.projection import PodProjector, ProjectionProblem
from extender.support.crash_points import crash_point
from extender.support.seldom import SeldomLogger

INTERNAL = "carbon-scheduler: internal error: see the extender's log"

_log = logging.getLogger(__name__)
_seldom = SeldomLogger(_log)  # what callers cause must not fill the log


class Reply(NamedTuple):
    """JSON for kube-scheduler, and what the call ended in."""

    body: bytes
    outcome: str


class Calls:
    """Answers kube-scheduler from the engine.

    `clock` gives seconds since the epoch. No request is longer than `max_body_bytes`, nor than
    kube-scheduler's can be (`Bounds`).
    """

    def __init__(
        self,
        engine: Engine,
        projector: PodProjector,
        writer: BindingWriter,
        reader: PodReader,
        perform: Perform,
        clock: Callable[[], float],
        *,
        max_body_bytes: int = DEFAULT_MAX_BODY_BYTES,
        catch_up: CatchUp | None = None,
    ) -> None:
        self._catch_up = catch_up
        self._max_body_bytes = max_body_bytes
        self.binds = Binds(engine, writer, reader, perform, clock)
        self._engine = engine
        self._projector = projector
        self._perform = perform
        self._clock = clock

    async def filter(self, body: bytes) -> Reply:
        """One node, a reason for every node, or an error."""
        crash_point("filter-received")
        behind = await self._behind()
        if behind:
            return Reply(wire.failed(reason(Outcome.NOT_READY, behind)), Outcome.NOT_READY)
        try:
            reply = self._filter(body)
        except BadRequest as problem:
            _seldom.warning("filter: %s", problem)
            return Reply(wire.failed(wire.bad_request(problem)), Outcome.BAD_REQUEST)
        except Exception:
            _log.exception("filter")
            return Reply(wire.failed(INTERNAL), "internal-error")
        crash_point("filter-held")
        return reply

    def _filter(self, body: bytes) -> Reply:
        call = wire.decode_call(body)
        offered = self._offered(call)
        now = self._clock()
        pod = self._pod(call.pod)
        known = queries.pod(self._engine.store, pod.uid) is not None
        self._perform(self._engine.introduce(pod, now))
        decision = self._engine.filter(pod, offered, now)
        if not known and queries.unconfirmed(self._engine.store, pod.uid):
            # A pod that does not exist, or is not what the caller says, must not keep room reserved for long.
            self._perform([VerifyPod(pod.uid, pod.namespace, pod.name)])
        if decision.outcome in BROKEN:
            return Reply(wire.failed(decision.reason), decision.outcome)
        if decision.node:
            return Reply(wire.placed(offered, decision.node), decision.outcome)
        return Reply(wire.refused(offered, decision.reason), decision.outcome)

    async def prioritize(self, body: bytes) -> Reply:
        """A score for every offered node; none at all for a request that cannot be read."""
        try:
            return self._prioritize(body)
        except BadRequest as problem:
            _seldom.warning("prioritize: %s", problem)
            return Reply(wire.priorities((), ()), Outcome.BAD_REQUEST)
        except Exception:
            _log.exception("prioritize")
            return Reply(wire.priorities((), ()), "internal-error")

    def _prioritize(self, body: bytes) -> Reply:
        call = wire.decode_call(body)
        names = self._offered(call).names()
        pod = self._pod(call.pod)
        if not queries.synced(self._engine.store):
            return Reply(wire.priorities(names, [0] * len(names)), Outcome.NOT_READY)
        if not self._engine.store.policy.serves(pod.scheduler_name, pod.namespace):
            return Reply(wire.priorities(names, [0] * len(names)), Outcome.OTHER_SCHEDULER)
        return Reply(wire.priorities(names, self._engine.prioritize(pod, names, self._clock())), "scored")

    async def bind(self, body: bytes) -> Reply:
        """Bound, or why not."""
        try:
            call = wire.decode_bind(body)
            assert call.pod_namespace is not None
            assert call.pod_name is not None
            assert call.pod_uid is not None
            assert call.node is not None
            behind = await self._behind()
            if behind:
                return Reply(wire.bound(reason(Outcome.NOT_READY, behind)), Outcome.NOT_READY)
            result = await self.binds.bind(call.pod_namespace, call.pod_name, call.pod_uid, call.node)
        except BadRequest as problem:
            _seldom.warning("bind: %s", problem)
            return Reply(wire.bound(wire.bad_request(problem)), Outcome.BAD_REQUEST)
        except Exception:
            _log.exception("bind")
            return Reply(wire.bound(INTERNAL), "internal-error")
        return Reply(wire.bound(result.error.replace("%", " percent")), result.outcome)

    async def preempt(self, body: bytes) -> Reply:
        """The nodes on which evicting would really help; none for a request that cannot be read."""
        try:
            return self._preempt(body)
        except BadRequest as problem:
            _seldom.warning("preempt: %s", problem)
            return Reply(wire.useful_victims({}), Outcome.BAD_REQUEST)
        except Exception:
            _log.exception("preempt")
            return Reply(wire.useful_victims({}), "internal-error")

    def _preempt(self, body: bytes) -> Reply:
        call = wire.decode_preempt(body)
        # kube-scheduler takes a node without victims for an extender error.
        victims = {node: found for node, found in wire.victims_of(call).items() if found[0]}
        self.bounds().check(call.pod, len(victims))
        now = self._clock()
        pod = self._pod(call.pod)
        self._perform(self._engine.introduce(pod, now))
        useful = self._engine.preempt(pod, {node: uids for node, (uids, _) in victims.items()}, now)
        return Reply(
            wire.useful_victims({node: victims[node] for node in useful}), "useful" if useful else "vetoed"
        )

    async def _behind(self) -> str:
        """Why nothing can be decided now; empty when the caches are new enough."""
        return await self._catch_up() if self._catch_up is not None else ""

    def bounds(self) -> Bounds:
        """How large a request may be now."""
        store = self._engine.store
        nodes = queries.counts(store).nodes if queries.synced(store) else None
        return Bounds.of(nodes, self._max_body_bytes)

    def _offered(self, call: wire.Call) -> Offered:
        """The nodes of a call that is no larger than kube-scheduler's can be."""
        bounds = self.bounds()
        bounds.check(call.pod, 0)
        # An escaped list is decoded to be counted, so its bytes are bounded first.
        if len(call.node_names) > bounds.nodes * NAME_BYTES:
            raise BadRequest(f"NodeNames: longer than {bounds.nodes} names, the most that are believed")
        offered = wire.offered_nodes(call)
        bounds.check(call.pod, len(offered))
        return offered

    def _pod(self, raw: msgspec.Raw) -> PodFacts:
        """The pod of a call as the watch knows it, else as kube-scheduler sent it."""
        known = queries.pod(self._engine.store, wire.pod_uid(raw))
        if known is not None:
            return known
        try:
            return self._projector.facts(wire.decode_pod(raw))
        except ProjectionProblem as problem:
            raise BadRequest(f"Pod: {problem}") from None
