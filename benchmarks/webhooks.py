"""Suite `webhooks`: filter, prioritize and bind over real HTTP, in every state of the cluster.

The service's own web stack runs in a process of its own on a filled store; Bindings go to an API server in a
third process that answers at once. One round asks for a driver that is admitted, binds it, asks for its
executor, and asks for a driver that is refused. A foreign pod in between makes the plan of the
queue worthless: `new plan` are answers after that, `plan kept` are answers without such a change.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator

from benchmarks import bodies
from benchmarks.bodies import Object, Offer, bind_args, encoded
from benchmarks.figures import Figures, figure
from benchmarks.processes import Connection, Program, ProgramFailed, program
from benchmarks.worlds import GANG_EXECUTORS, Queue, Scenario, World
from extender.core.policy import FifoMode
from extender.core.queue.packing import DEFAULT_PACKER, PACKERS

SIZES = (100, 1000, 5000)
GANGS = (0, 100, 500)
_YOUNGEST = "2026-11-24T09:00:00Z"
GOAL = Scenario()
"""The state in which the absolute goals are to hold."""


def scenarios(full: bool) -> list[Scenario]:
    """The states to measure in: a cross through the goal's, or all of them."""
    queues = [(0, Queue.FITS), *((50, queue) for queue in Queue)]
    if full:
        states = itertools.product(SIZES, GANGS, queues, PACKERS)
    else:
        states = itertools.chain(
            ((nodes, 500, (50, Queue.FITS), DEFAULT_PACKER) for nodes in SIZES),
            ((5000, gangs, (0, Queue.FITS), DEFAULT_PACKER) for gangs in GANGS),
            ((5000, 500, (50, Queue.BLOCKED), packer) for packer in PACKERS),
            ((5000, 500, (50, Queue.VARIED), DEFAULT_PACKER),),
            ((5000, 500, (50, Queue.FITS), packer) for packer in PACKERS if packer != DEFAULT_PACKER),
        )
    return [
        Scenario(nodes, gangs, queued, queue, packer, _fifo(queue))
        for nodes, gangs, (queued, queue), packer in states
    ]


def _fifo(queue: Queue) -> FifoMode:
    """Where older drivers wait for room, a younger one starts only if the pool allows it."""
    return FifoMode.STRICT if queue is Queue.FITS else FifoMode.BACKFILL


def run(figures: Figures, *, full: bool, rounds: int = 3) -> Iterator[str]:
    """Measure; says after each state what it did."""
    with program("apiserver", "0", "0") as api_server:
        for scenario in scenarios(full):
            samples = 110 if scenario.packer == DEFAULT_PACKER and scenario.queued else 34
            with program("server", scenario.to_json(), api_server.url) as server:
                measured = measure(server, scenario, rounds=rounds, samples=samples)
            for call, parts in measured.items():
                figures.add(figure(f"webhooks: {call}, {scenario.name}", "ms", parts))
            yield f"webhooks: {scenario.name}"


def measure(
    server: Program, scenario: Scenario, *, rounds: int, samples: int
) -> dict[str, list[list[float]]]:
    """Milliseconds by call, one list a round."""
    out: dict[str, list[list[float]]] = defaultdict(list)
    with Connection(server.port) as connection:
        caller = Caller(connection, World.names_of(scenario), scenario)
        for number in range(5):
            caller.once(f"warm-{number}")
        for part in range(rounds):
            collected = [caller.once(f"app-{part}-{number}") for number in range(samples)]
            for call in collected[0]:
                out[call].append([each[call] * 1e3 for each in collected])
    return out


class Caller:
    """Asks as kube-scheduler does, and plays the watch in between."""

    def __init__(self, connection: Connection, names: list[str], scenario: Scenario) -> None:
        self._connection = connection
        self._offer = Offer(names)
        self._scenario = scenario
        self._names = names
        self._turn = 0

    def once(self, app: str) -> dict[str, float]:
        """One driver's way, and a driver that is refused. Seconds by call."""
        took: dict[str, float] = {}
        driver, second = (bodies.driver(f"{app}{mark}", GANG_EXECUTORS) for mark in ("", "-second"))
        executor = bodies.executor(app, 1)
        refused = World.blocked_driver(self._scenario, f"refused-{app}", created=_YOUNGEST)
        self._watch(("ADDED", driver), self._disturbance())
        took["transport alone"], _ = self._connection.post("/bench/floor", self._offer.args(driver))
        took["filter driver, admitted, new plan"], node = self._filter(driver)
        took["prioritize driver"], _ = self._connection.post("/prioritize", self._offer.args(driver))
        took["bind driver"], bound = self._connection.json("/bind", bind_args(driver, node))
        _expect(bound == {"Error": ""}, bound)
        self._watch(("ADDED", second), ("ADDED", executor))
        took["filter driver, admitted, plan kept"], _ = self._filter(second)
        took["filter executor"], node = self._filter(executor)
        took["bind executor"], bound = self._connection.json("/bind", bind_args(executor, node))
        _expect(bound == {"Error": ""}, bound)
        gone = (("DELETED", made) for made in (executor, second, driver))
        self._watch(*gone, ("ADDED", refused), self._disturbance())
        took["filter driver, refused, new plan"] = self._refuse(refused)
        took["filter driver, refused, plan kept"] = self._refuse(refused)
        self._watch(("DELETED", refused))
        return took

    def _filter(self, made: Object) -> tuple[float, str]:
        took_s, reply = self._connection.json("/filter", self._offer.args(made))
        names = reply["NodeNames"] or []
        _expect(len(names) == 1, reply["Error"] or list(reply["FailedAndUnresolvableNodes"].items())[:1])
        return took_s, names[0]

    def _refuse(self, made: Object) -> float:
        took_s, reply = self._connection.json("/filter", self._offer.args(made))
        refused = reply["FailedAndUnresolvableNodes"]
        _expect(not reply["Error"] and len(refused) == len(self._names), reply["Error"] or reply["NodeNames"])
        return took_s

    def _disturbance(self) -> tuple[str, Object]:
        """A foreign pod that comes and goes: what is free changes."""
        self._turn += 1
        pod = bodies.pod(
            "foreign-visitor",
            node=self._names[0],
            phase="Running",
            scheduler=bodies.FOREIGN,
            cpu="1m",
            memory="1Mi",
        )
        return ("ADDED" if self._turn % 2 else "DELETED"), pod

    def _watch(self, *events: tuple[str, Object]) -> None:
        body = encoded([{"type": kind, "object": made} for kind, made in events])
        self._connection.post("/bench/watch", body)


def _expect(held: bool, reply: object) -> None:
    if not held:
        raise ProgramFailed(f"the answer is not the expected one, so its time means nothing: {reply!r}")
