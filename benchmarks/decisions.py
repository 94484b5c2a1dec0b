"""Suite `decisions`: the core alone, in process, and what a storm of repeated refusals costs.

One pod event makes kube-scheduler ask again for every waiting driver, although nothing changed for most of
them. So beside the single decision the storm is measured: the event, then one call for each of 500
drivers that wait, in the core and over HTTP.
"""

from __future__ import annotations

import gc
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping

from benchmarks import bodies
from benchmarks.bodies import Object, Offer, encoded
from benchmarks.figures import Figures, figure
from benchmarks.processes import Connection, program
from benchmarks.worlds import GANG_EXECUTORS, Queue, Scenario, World, nothing
from extender.adapters.spark.identify import identify
from extender.adapters.spark.reader import SpecReader
from extender.adapters.webhooks import wire
from extender.adapters.webhooks.calls import Calls
from extender.adapters.webhooks.offered import OfferedNames
from extender.adapters.webhooks.ports import BindFailure
from extender.core import queries
from extender.core.facts import PodFacts
from extender.core.outcomes import PLACED, Outcome
from extender.core.policy import FifoMode
from extender.core.queue.packing import DEFAULT_PACKER, PACKERS
from extender.engine import Engine
from extender.objects.projection import PodProjector
from extender.runtime.watch_sinks import WatchSinks
from extender.settings.loading import load

WAITING = 500
ROUNDS = 3
_YOUNGEST = "2026-11-24T09:00:00Z"


def run(figures: Figures, *, full: bool) -> Iterator[str]:
    """Measure; says after each state what it did."""
    for packer in PACKERS if full else (DEFAULT_PACKER, "tightly-pack", "single-az-minimal-fragmentation"):
        for queued, queue in ((0, Queue.FITS), (WAITING, Queue.BLOCKED), (WAITING, Queue.VARIED)):
            scenario = Scenario(queued=queued, queue=queue, packer=packer, fifo=FifoMode.BACKFILL)
            for what, rounds in _single(scenario, samples=60).items():
                figures.add(figure(f"decisions: {what}, {scenario.name}", "ms", rounds))
            yield f"decisions: {scenario.name}"
    for fifo in (FifoMode.STRICT, FifoMode.BACKFILL):
        scenario = Scenario(queued=WAITING, queue=Queue.BLOCKED, fifo=fifo)
        for what, rounds in {**_storm(scenario), **_storm_over_http(scenario)}.items():
            unit = "ms" if "of all" in what or "first" in what or "over HTTP" in what else "us"
            figures.add(figure(f"storm: {what}, fifo={fifo}", unit, rounds))
        yield f"storm: {fifo}"


class _Core:
    """A filled store and its calls, without a server."""

    def __init__(self, scenario: Scenario) -> None:
        projector = PodProjector(identify)
        engine = Engine(load(None, scenario.settings()).to_policy(), SpecReader())
        self.store = engine.store
        self.world = World(WatchSinks(engine, nothing, time.time, lambda: None), projector, scenario)
        self.world.fill()
        self.calls = Calls(engine, projector, _NoApi(), _NoApi(), nothing, time.time)
        self._names = encoded(self.world.names)
        gc.collect()
        gc.freeze()  # as the service does once its caches are filled

    def filter(self, made: Object) -> tuple[float, Outcome]:
        """Milliseconds of the decision alone. The pod is known and the names are read already."""
        facts = queries.pod(self.store, made["metadata"]["uid"])
        assert facts is not None
        offered = OfferedNames(self._names)
        now = time.time()
        began_s = time.perf_counter()
        decision = self.store.filter(facts, offered, now)
        return (time.perf_counter() - began_s) * 1e3, decision.outcome

    def disturb(self, number: int) -> None:
        """A foreign pod comes to a node or goes: what is free changes."""
        name = self.world.names[number // 2 % len(self.world.names)]
        pod = bodies.pod(
            "foreign-visitor", node=name, phase="Running", scheduler=bodies.FOREIGN, cpu="1m", memory="1Mi"
        )
        if number % 2:
            self.world.lose(pod)
        else:
            self.world.see(pod)


class _NoApi:
    async def bind(
        self, namespace: str, name: str, uid: str, node: str, annotations: Mapping[str, str]
    ) -> BindFailure | None:
        raise AssertionError("decisions bind nothing")

    async def read(self, namespace: str, name: str, uid: str) -> PodFacts | None:
        raise AssertionError("decisions read nothing")


def _single(scenario: Scenario, samples: int) -> dict[str, list[list[float]]]:
    """Milliseconds of single decisions behind the scenario's queue, one list a round."""
    core = _Core(scenario)
    out: dict[str, list[list[float]]] = defaultdict(list)
    for part in range(ROUNDS):
        collected: dict[str, list[float]] = defaultdict(list)
        for number in range(samples if not scenario.queued else samples // 6):
            fits = bodies.driver(f"fits-{part}-{number}", GANG_EXECUTORS)
            refused = World.blocked_driver(scenario, f"refused-{part}-{number}", created=_YOUNGEST)
            for made, words in ((fits, ("admitted",)), (refused, ("refused", "refused again"))):
                core.world.see(made)
                core.disturb(part * 1000 + number)
                for word in words:
                    took_ms, outcome = core.filter(made)
                    if (outcome in PLACED) != (word == "admitted"):
                        raise RuntimeError(f"{word} was expected, not {outcome}")
                    collected[word].append(took_ms)
                core.world.lose(made)
        for word, values in collected.items():
            out[word].append(values)
    gc.unfreeze()
    return out


def _storm(scenario: Scenario) -> dict[str, list[list[float]]]:
    """One event, then a call for each waiting driver: in the core, and from body to reply."""
    core = _Core(scenario)
    offer = Offer(core.world.names)
    waiting = [World.waiting_driver(scenario, number) for number in range(WAITING)]
    sent = [offer.args(made) for made in waiting]
    out: dict[str, list[list[float]]] = defaultdict(list)
    for part in range(ROUNDS):
        core.disturb(part)
        decided = [core.filter(made) for made in waiting]
        if any(outcome in PLACED for _, outcome in decided):
            raise RuntimeError("a waiting driver was admitted, so this is no storm of refusals")
        times = [took_ms for took_ms, _ in decided]
        out["first decision after an event"].append([times[0]])
        out["decisions of all 500"].append([sum(times)])
        repeated = [core.filter(made)[0] * 1e3 for made in waiting]
        out["decision of a repeated refusal"].append(repeated)
        reading = [_timed_us(_read, body) for body in sent]
        answering = [_timed_us(_answered(core.calls), body) for body in sent]
        out["reading of a request"].append(reading)
        out["reply to a repeated refusal beyond reading"].append(
            [whole - read for whole, read in zip(answering, reading, strict=True)]
        )
    gc.unfreeze()
    return out


def _timed_us(what: Callable[[bytes], object], body: bytes) -> float:
    began_s = time.perf_counter()
    what(body)
    return (time.perf_counter() - began_s) * 1e6


def _read(body: bytes) -> None:
    call = wire.decode_call(body)
    wire.offered_nodes(call)
    wire.pod_uid(call.pod)


def _answered(calls: Calls) -> Callable[[bytes], object]:
    def answer(body: bytes) -> object:
        # filter never waits, so it runs to its end at the first step: no loop in the measured time
        try:
            calls.filter(body).send(None)
        except StopIteration as done:
            return done.value
        raise RuntimeError("filter waited for something")

    return answer


def _storm_over_http(scenario: Scenario) -> dict[str, list[list[float]]]:
    out: dict[str, list[list[float]]] = defaultdict(list)
    names = World.names_of(scenario)
    offer = Offer(names)
    visitor = bodies.pod(
        "foreign-visitor", node=names[0], phase="Running", scheduler=bodies.FOREIGN, cpu="1m", memory="1Mi"
    )
    with (
        program("apiserver", "0", "0") as api_server,
        program("server", scenario.to_json(), api_server.url) as server,
        Connection(server.port) as connection,
    ):
        made = [World.waiting_driver(scenario, number) for number in range(WAITING)]
        sent = [offer.args(each) for each in made]
        for part in range(ROUNDS):
            event = "DELETED" if part % 2 else "ADDED"
            connection.post("/bench/watch", encoded([{"type": event, "object": visitor}]))
            taken = [(connection.post("/filter", b)[0], connection.post("/bench/floor", b)[0]) for b in sent]
            out["storm of all 500 over HTTP"].append([sum(filtering for filtering, _ in taken) * 1e3])
            out["transport of all 500 over HTTP"].append([sum(moving for _, moving in taken) * 1e3])
    return out
