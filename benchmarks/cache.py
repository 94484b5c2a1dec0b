"""Suite `cache`: the service as users start it, filled from an API server of 5,000 nodes, 100,000 pods.

`carbon-scheduler serve` lists and watches over HTTP; the API server makes objects of about 3 kB while it
sends them. Meanwhile kube-scheduler's place is taken by a client that calls filter every 10 ms: the longest
wait for an answer is how long the event loop was held up.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import bodies
from benchmarks.bodies import Offer
from benchmarks.figures import ROOT, Figures, figure
from benchmarks.processes import Connection, Program, ProgramFailed, memory_mb, program
from extender.lab.service_process import kubeconfig

NODES = 5000
PODS = 100_000
ROUNDS = 2
_PAUSE_S = 0.01
_AFTERWARDS_S = 3.0
"""Watched on after the caches are filled: the garbage collection that follows holds up the loop as well."""
_TIMEOUT_S = 180.0
_LISTENING = re.compile(r"listening on \S+:(\d+)")


def run(figures: Figures, *, full: bool) -> Iterator[str]:
    """Measure; says after each round what it did."""
    state = f"nodes={NODES} pods={PODS}"
    out: dict[tuple[str, str], list[list[float]]] = defaultdict(list)
    for part in range(ROUNDS * 2 if full else ROUNDS):
        with program("apiserver", str(NODES), str(PODS)) as api_server, tempfile.TemporaryDirectory() as work:
            filled = fill(api_server, Path(work))
        out["start to ready", "s"].append([filled.ready_s])
        out["listening to ready", "s"].append([filled.ready_s - filled.listening_s])
        out["memory once filled", "MB"].append([filled.memory_mb])
        out["memory at its highest", "MB"].append([filled.highest_mb])
        out["longest wait for an answer while filling", "ms"].append([max(filled.waits_ms)])
        out["wait for an answer while filling", "ms"].append(filled.waits_ms)
        yield f"cache: round {part + 1}"
    for (what, unit), rounds in out.items():
        figures.add(figure(f"cache: {what}, {state}", unit, rounds))


@dataclass(frozen=True, slots=True)
class Filled:
    """How one start went; times are from the start of the process."""

    listening_s: float
    ready_s: float
    memory_mb: float
    highest_mb: float
    waits_ms: list[float]


def fill(api_server: Program, work: Path) -> Filled:
    """Start the service and ask it until it is ready and has settled.

    Raises:
        ProgramFailed: it did not get ready in time, or lacks something it should have.
    """
    body = Offer([bodies.node_name(0)]).args(bodies.driver("probe", 1))
    waits_ms: list[float] = []
    began_s = time.monotonic()
    with service(api_server, work) as running, Connection(running.port) as connection:
        listening_s = time.monotonic() - began_s
        ready_s = 0.0
        while not ready_s or time.monotonic() - began_s < ready_s + _AFTERWARDS_S:
            took_s, reply = connection.json("/filter", body)
            waits_ms.append(took_s * 1e3)
            since_s = time.monotonic() - began_s
            if not ready_s and "not-ready" not in reply["Error"]:
                ready_s = since_s
            if since_s > _TIMEOUT_S:
                raise ProgramFailed(f"the caches were not filled within {_TIMEOUT_S:.0f} s")
            time.sleep(_PAUSE_S)
        now_mb, highest_mb = memory_mb(running.pid)
        _check(connection)
    return Filled(listening_s, ready_s, now_mb, highest_mb, waits_ms)


def _check(connection: Connection) -> None:
    """The figures mean something only if everything is in the caches."""
    gauges = connection.text("/metrics")
    for line in (
        f"carbon_scheduler_nodes {float(NODES)}",
        f'carbon_scheduler_gangs{{state="running"}} {PODS / 20}',
    ):
        if line not in gauges:
            known = [each for each in gauges.splitlines() if each.startswith(line.split("{")[0].split()[0])]
            raise ProgramFailed(f"the service should say {line!r}, it says {known}")


@contextlib.contextmanager
def service(api_server: Program, work: Path) -> Iterator[Program]:
    """`carbon-scheduler serve`, from the moment it listens.

    Raises:
        ProgramFailed: it ended before it listened.
    """
    path = work / "kubeconfig"
    path.write_text(kubeconfig(api_server.url), encoding="utf-8")
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "extender.cli",
            "serve",
            "--kubernetes.kubeconfig",
            str(path),
            "--http.port",
            "0",
        ],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    log: list[str] = []
    try:
        for line in process.stderr:
            log.append(line)
            if found := _LISTENING.search(line):
                reader = threading.Thread(target=log.extend, args=(process.stderr,), daemon=True)
                reader.start()
                yield Program(process.pid, int(found[1]))
                break
        else:
            raise ProgramFailed(f"the service did not start: {''.join(log[-10:])}")
    finally:
        process.kill()
        process.wait()
