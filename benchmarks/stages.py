"""Suite `stages`: importance of stages over real HTTP, and reports of drivers, for many applications at once.

Each application has one job of 50 stages in five layers. `table kept` asks again about stages of which
nothing changed; `new table` asks after a report, which changed all importances of the application. A report
carries the progress of every stage, as an agent sends it in one batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks import bodies
from benchmarks.bodies import Object, encoded
from benchmarks.figures import Figures, figure
from benchmarks.processes import Connection, ProgramFailed, program

APPLICATIONS = 100
STAGES = 50
_LAYER = 10
_NAME = f"{APPLICATIONS} applications of {STAGES} stages"
CALLS = ("transport alone", "priority, table kept", "priority, new table", f"report of {STAGES} updates")


def name_of(call: str) -> str:
    """The figure of a call."""
    return f"stages: {call}, {_NAME}"


def run(figures: Figures, *, full: bool, rounds: int = 3) -> Iterator[str]:
    """Measure; says what it did."""
    took: dict[str, list[list[float]]] = {call: [] for call in CALLS}
    with (
        program("stages_server", str(APPLICATIONS), str(STAGES)) as server,
        Connection(server.port) as connection,
    ):
        for part in range(rounds + 1):
            measured = _round(connection, part, samples=600 if full else 200)
            for call in CALLS if part else ():  # the first round warms up
                took[call].append([seconds * 1e3 for seconds in measured[call]])
    for call, parts in took.items():
        figures.add(figure(name_of(call), "ms", parts))
    yield f"stages: {_NAME}"


def _round(connection: Connection, part: int, samples: int) -> dict[str, list[float]]:
    took: dict[str, list[float]] = {call: [] for call in CALLS}
    for number in range(samples):
        application = f"/v1/applications/{bodies.NAMESPACE}/reserved-{number % APPLICATIONS}"
        body = report(1 + part * samples + number, [progress(stage) for stage in range(STAGES)])
        times = [
            connection.post("/bench/floor", b"{}")[0],
            _asked(connection, f"{application}/stages/priority"),
            connection.post(f"{application}/events", body)[0],
            _asked(connection, f"{application}/stages/priority"),
        ]
        for call, seconds in zip((CALLS[0], CALLS[1], CALLS[3], CALLS[2]), times, strict=True):
            took[call].append(seconds)
    return took


def _asked(connection: Connection, path: str) -> float:
    took_s, answer = connection.get(path)
    if bytes(answer).count(b'"stage_id"') != _LAYER:
        raise ProgramFailed(f"{path}: the stages that could run are not there: {bytes(answer)!r}")
    return took_s


def stage_graph(stages: int) -> list[Object]:
    """One job; every stage of a layer waits for two of the layer before."""
    described: list[dict[str, Any]] = []
    for number in range(stages):
        before = number // _LAYER * _LAYER - _LAYER
        parents = [before + number % _LAYER, before + (number + 1) % _LAYER] if before >= 0 else []
        described.append(
            {
                "stage_id": number,
                "attempt": 0,
                "name": f"stage {number}",
                "tasks": 100_000 + number,
                "parent_ids": parents,
                "rdd_ids": [number],
            }
        )
    return [{"type": "JobStart", "job_id": 0, "time_ms": 0, "stages": described}]


def progress(stage: int) -> Object:
    """Tasks of a stage that ended since the last report."""
    amounts = {"succeeded": 1, "failed": 0, "duration_ms": 1_000 + stage}
    return {"type": "TaskProgress", "stage_id": stage, "attempt": 0, **amounts}


def report(number: int, events: list[Object]) -> bytes:
    """A batch of an agent."""
    return encoded({"agent": 1, "driver": "bench", "batch": number, "events": events})
