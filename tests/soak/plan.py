"""What happens in one run, made from its seed: a list of steps, any of which may be left out."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any, Final

BUSY_S: Final = 150.0
"""How long things happen; afterwards no fault occurs and the run is watched until all is calm."""

NODES: Final = 6
REQUEST_FAULTS: Final = (
    "slow",
    "500",
    "429",
    "conflict",
    "lost before",
    "lost after",
    "hang before",
    "hang after",
    "late",
)
"""Of single requests. `after`: it had its effect. `late`: no answer, and the effect comes a while later."""


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happens at a moment."""

    at_s: float
    kind: str
    values: dict[str, Any] = field(default_factory=dict[str, Any])

    def __str__(self) -> str:
        return f"{self.at_s:6.1f} s {self.kind} {self.values}"


def plan(seed: int) -> list[Step]:
    """The steps of a seed, in order of time."""
    draw = random.Random(seed)
    steps: list[Step] = []

    def add(kind: str, **values: Any) -> None:
        steps.append(Step(round(draw.uniform(1.0, BUSY_S), 1), kind, values))

    for number in range(draw.randint(3, 7)):
        executors = draw.choice([0, 1, 2, 3, 5])
        extra = draw.choice([0, 0, 1, 2])
        add(
            "submit",
            app=f"app-{number}",
            executors=executors,
            extra=extra,
            runs_s=draw.randint(20, 90),
            forged=draw.random() < 0.2,
        )
    for number in range(draw.randint(0, 6)):
        add("foreign", name=f"foreign-{number}", cpu=draw.choice([1, 2, 3]), runs_s=draw.randint(10, 60))
    for _ in range(draw.randint(1, 4)):
        _fault(draw, add)
    for _ in range(draw.randint(0, 2)):
        _hostility(draw, add)
    if draw.random() < 0.05:
        add("slow for good", answers_s=draw.choice([1.0, 3.2]))
    return sorted(steps, key=lambda step: step.at_s)


def _fault(draw: random.Random, add: Any) -> None:
    kind = draw.choice(
        ["requests", "requests", "watch", "watch", "fail over", "kill", "kill at", "compact", "node", "clock"]
    )
    match kind:
        case "requests":
            faults = draw.sample(REQUEST_FAULTS, draw.randint(1, 3))
            add("requests", faults=faults, share=draw.choice([0.1, 0.4, 0.8]), lasts_s=draw.randint(5, 40))
        case "watch":
            how = draw.choice(["drop", "silent", "silent", "delay", "twice"])
            add("watch", replica=draw.randint(0, 1), how=how, lasts_s=draw.choice([5, 20, 60]))
        case "fail over":
            add("fail over", both_s=draw.choice([0, 0, 0, 10]))
        case "kill":
            add("kill", replica=draw.randint(0, 1), down_s=draw.choice([1, 10]))
        case "kill at":
            add("kill at", operation=draw.choice(["bind", "patch", "get"]), after=draw.random() < 0.5)
        case "compact":
            add("compact")
        case "node":
            add("node", name=f"n{draw.randrange(NODES)}", change=draw.choice(["cordon", "gone", "unready"]))
        case _:
            add("clock", seconds=draw.choice([-30.0, -2.0, 5.0, 400.0]))


def _hostility(draw: random.Random, add: Any) -> None:
    kind = draw.choice(["lie", "ghosts", "odd pod", "namesake", "delete"])
    add(kind, number=draw.randint(0, 3))


# -- plans that press on one place ------------------------------------------------------------------


def _submissions(draw: random.Random, from_s: float, to_s: float, number: int) -> list[Step]:
    return [
        Step(
            round(draw.uniform(from_s, to_s), 2),
            "submit",
            {
                "app": f"app-{from_s:.0f}-{each}",
                "executors": draw.choice([2, 3, 4]),
                "extra": 0,
                "runs_s": draw.randint(20, 40),
                "forged": False,
            },
        )
        for each in range(number)
    ]


def handed_over(seed: int) -> list[Step]:
    """The other replica leads while gangs come, and its watch is late."""
    draw = random.Random(seed)
    steps = _submissions(draw, 10.0, 40.0, 9)
    steps.append(Step(9.0, "watch", {"replica": 1, "how": "delay", "lasts_s": 60}))
    steps.append(Step(round(draw.uniform(15.0, 30.0), 2), "fail over", {"both_s": 0}))
    return sorted(steps, key=lambda step: step.at_s)
