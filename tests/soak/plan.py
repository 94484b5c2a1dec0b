"""What happens in one run, made from its seed: a list of steps, any of which may be left out."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any, Final

from tests.soak.objects import NODES

BUSY_S: Final = 150.0
"""How long things happen; afterwards no fault occurs and the run is watched until all is calm."""

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

PLACES: Final = (
    "anywhere",
    "before bind",
    "after bind",
    "before patch",
    "after patch",
    "after get",
    "after list",
    "filter-received",
    "filter-held",
    "bind-received",
    "bind-prepared",
    "bind-written",
    "bind-recorded",
)
"""Between which steps a replica may be killed: before and after each effect, and at its crash points."""


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happens at a moment."""

    at_s: float
    kind: str
    values: dict[str, Any] = field(default_factory=dict[str, Any])

    def __str__(self) -> str:
        return f"{self.at_s:6.1f} s {self.kind} {self.values}"


def everything(seed: int) -> list[Step]:
    """Some of all that can befall a cluster."""
    draw = random.Random(seed)
    steps: list[Step] = []

    def add(kind: str, **values: Any) -> None:
        steps.append(Step(round(draw.uniform(1.0, BUSY_S), 1), kind, values))

    with_carbon = draw.random() < 0.3
    for number in range(draw.randint(3, 7)):
        add(
            "submit",
            app=f"app-{number}",
            executors=draw.choice([0, 1, 2, 3, 5]),
            extra=draw.choice([0, 0, 1, 2]),
            runs_s=draw.randint(20, 90),
            forged=draw.random() < 0.2,
            gated_s=draw.choice([0, 0, 0, 0, 5, 60]),
            max_delay_s=draw.choice([0, 60, 200]) if with_carbon else 0,
        )
    for number in range(draw.randint(0, 6)):
        add("foreign", name=f"foreign-{number}", cpu=draw.choice([1, 2, 3]), runs_s=draw.randint(10, 60))
    for _ in range(draw.randint(1, 4)):
        _fault(draw, add)
    for _ in range(draw.randint(0, 3)):
        _users(draw, add)
    if with_carbon:
        steps.append(Step(0.0, "carbon", {"how": "well", "lasts_s": 0}))
        add("carbon", how=draw.choice(["garbage", "absurd", "gone"]), lasts_s=draw.choice([20, 60, 150]))
    if draw.random() < 0.15:
        add("ledger", full_s=draw.choice([10, 60]))
    if draw.random() < 0.05:
        add("slow for good", answers_s=draw.choice([1.0, 3.2]))
    return sorted(steps, key=lambda step: step.at_s)


def _fault(draw: random.Random, add: Any) -> None:
    kind = draw.choice(
        [
            "requests",
            "requests",
            "watch",
            "watch",
            "fail over",
            "kill",
            "kill at",
            "kill at",
            "compact",
            "node",
            "clock",
        ]
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
            add("kill at", place=draw.choice(PLACES), number=draw.randint(1, 6))
        case "compact":
            add("compact")
        case "node":
            add("node", name=f"n{draw.randrange(NODES)}", change=draw.choice(["cordon", "gone", "unready"]))
        case _:
            add("clock", seconds=draw.choice([-30.0, -2.0, 5.0, 400.0]))


def _users(draw: random.Random, add: Any) -> None:
    """Hostile, careless and impatient ones."""
    kind = draw.choice(["lie", "ghosts", "odd pod", "namesake", "delete", "edit", "lose", "urgent"])
    number = draw.randint(0, 3)
    match kind:
        case "delete":
            add(kind, number=number, now=draw.random() < 0.5)
        case "edit":
            annotations = draw.choice(
                [
                    {"carbon-scheduler/reservation": None},
                    {"carbon-scheduler/reservation": '{"v":1,"slots":'},
                    {"carbon-scheduler/executor-max-count": "9"},
                    {"carbon-scheduler/executor-cpu": "-1"},
                ]
            )
            add(kind, number=number, annotations=annotations)
        case "urgent":
            add(kind, number=number, cpu=draw.choice([2, 4]), runs_s=draw.randint(10, 40))
        case _:
            add(kind, number=number)


# -- plans that press on one place ------------------------------------------------------------------


def _app(at_s: float, name: str, executors: int, runs_s: float, **more: Any) -> Step:
    values = {"app": name, "executors": executors, "runs_s": runs_s, **more}
    return Step(round(at_s, 2), "submit", values)


def _in_order(steps: list[Step]) -> list[Step]:
    return sorted(steps, key=lambda step: step.at_s)


def handed_over(seed: int) -> list[Step]:
    """The other replica leads while gangs come, and its watch is late."""
    draw = random.Random(seed)
    steps = [
        _app(draw.uniform(10.0, 40.0), f"app-{number}", draw.choice([2, 3, 4]), draw.randint(20, 40))
        for number in range(9)
    ]
    steps.append(Step(9.0, "watch", {"replica": 1, "how": "delay", "lasts_s": 60}))
    steps.append(Step(round(draw.uniform(15.0, 30.0), 2), "fail over", {"both_s": 0}))
    return _in_order(steps)


def crowded(seed: int) -> list[Step]:
    """Pods of the default scheduler take room between filter and bind."""
    draw = random.Random(seed)
    steps = [Step(0.5, "permit", {"seconds": [2.0, 4.0]})]
    for number in range(5):
        at_s = 10.0 + 25.0 * number
        steps.append(_app(at_s, f"app-{number}", draw.choice([11, 14, 17]), 12))
        steps += [
            Step(
                round(at_s + draw.uniform(0.3, 2.5), 2),
                "foreign",
                {"name": f"foreign-{number}-{each}", "cpu": draw.choice([2, 3]), "runs_s": 15},
            )
            for each in range(4)
        ]
    return _in_order(steps)


def overtaken(seed: int) -> list[Step]:
    """Pods of the default scheduler take nodes between filter and bind, and the watches show it late."""
    draw = random.Random(seed)
    steps = [
        Step(0.5, "permit", {"seconds": [2.0, 4.0]}),
        Step(9.0, "watch", {"replica": 0, "how": "delay", "lasts_s": 130}),
    ]
    for number in range(6):
        at_s = 10.0 + 20.0 * number
        single = {"number": number, "cpu": 3, "runs_s": 12, "priority": 0}
        steps.append(Step(at_s, "urgent", single))
        steps += [
            Step(
                round(at_s + draw.uniform(0.2, 1.5), 2),
                "foreign",
                {"name": f"foreign-{number}-{each}", "cpu": 3, "runs_s": 12},
            )
            for each in range(6)
        ]
    return _in_order(steps)


def rewritten(seed: int) -> list[Step]:
    """Slots move while patches take effect late, and somebody edits; then all is calm."""
    draw = random.Random(seed)
    steps = [
        _app(10.0, "app-0", 4, 400),
        _app(12.0, "app-1", 3, 400),
        _app(14.0, "too-large", 60, 10, wanted=False),
        Step(40.0, "requests", {"faults": ["late"], "share": 0.7, "lasts_s": 80}),
        Step(145.0, "edit", {"number": 0, "annotations": {"carbon-scheduler/reservation": None}}),
    ]
    for number in range(8):
        at_s = round(draw.uniform(40.0, 110.0), 1)
        steps.append(Step(at_s, "lose", {"number": draw.randint(0, 1)}))
        values = {"name": f"foreign-{number}", "cpu": 3, "runs_s": draw.randint(5, 30)}
        steps.append(Step(at_s + 0.2, "foreign", values))
    # kube-scheduler goes on asking: only a replica that is asked writes.
    steps += [
        Step(at_s, "foreign", {"name": f"later-{at_s:.0f}", "cpu": 1, "runs_s": 1})
        for at_s in (150.0 + 7.0 * number for number in range(22))
    ]
    return _in_order(steps)


def unknown_outcomes(seed: int) -> list[Step]:
    """Pods of no gang compete for few nodes, and Bindings take effect long after they were made."""
    draw = random.Random(seed)
    steps = [
        Step(
            round(draw.uniform(5.0, 60.0), 1),
            "urgent",
            {"number": number, "cpu": 3, "runs_s": 140, "priority": 0},
        )
        for number in range(16)
    ]
    late = {"faults": ["late"], "share": 1.0, "lasts_s": 100, "late_s": (50.0, 90.0)}
    steps.append(Step(4.0, "requests", late))
    return _in_order(steps)


def haunted(seed: int) -> list[Step]:
    """Callers claim all room for pods that do not exist; then an application comes that fits."""
    at_s = 20.0 + seed
    return [
        Step(at_s, "ghosts", {"number": 0}),
        Step(at_s + 0.1, "ghosts", {"number": 1}),
        _app(at_s + 1.0, "app-0", 19, 20, within_s=20),
    ]


def lied_to(seed: int) -> list[Step]:
    """Callers send falsified copies of pods of another scheduler, and have them bound."""
    draw = random.Random(seed)
    lies = [Step(10.0 + 20.0 * number, "lie", {"number": number}) for number in range(5)]
    late = Step(5.0, "watch", {"replica": 0, "how": draw.choice(["delay", "twice"]), "lasts_s": 60})
    return _in_order([*lies, late, _app(20.0, "app-0", 2, 30)])


def silent(seed: int) -> list[Step]:
    """Connections fall silent without an end."""
    return [
        _app(10.0, "app-0", 2, 30),
        Step(20.0 + seed, "watch", {"replica": 0, "how": "silent", "lasts_s": 0}),
        Step(25.0 + seed, "watch", {"replica": 1, "how": "silent", "lasts_s": 0}),
        _app(60.0, "app-1", 2, 30),
    ]


def slow(seed: int) -> list[Step]:
    """The API server takes seconds for each answer: applications start slowly, but they start."""
    apps = [_app(20.0 + 10.0 * number, f"app-{number}", 2, 20) for number in range(3)]
    return [Step(5.0 + seed, "slow for good", {"answers_s": 3.2}), *apps]


def garbage(seed: int) -> list[Step]:
    """Nothing but garbage comes from the carbon service; no application waits for it."""
    return [
        Step(0.0, "carbon", {"how": "absurd" if seed % 2 else "garbage", "lasts_s": 400}),
        *[
            _app(15.0 + 12.0 * number + seed, f"app-{number}", 2, 20, max_delay_s=300, within_s=30)
            for number in range(5)
        ],
    ]


def held(seed: int) -> list[Step]:
    """The grid is dirty: applications that allow a delay wait, but not for longer."""
    return [
        Step(0.0, "carbon", {"how": "well", "lasts_s": 0}),
        *[
            _app(10.0 + number + seed, f"app-{number}", 2, 20, max_delay_s=delay_s, within_s=delay_s + 10)
            for number, delay_s in enumerate((60, 120, 300))
        ],
        *[_app(12.0 + number + seed, f"app-{number}", 1, 20, within_s=10) for number in (3, 4)],
    ]


def evicting(seed: int) -> list[Step]:
    """Urgent pods evict, on a full cluster with held room."""
    draw = random.Random(seed)
    steps = [_app(10.0 + number, f"app-{number}", draw.choice([3, 4]), 120, extra=1) for number in range(6)]
    steps += [
        Step(40.0 + 8.0 * number, "urgent", {"number": number, "cpu": draw.choice([2, 4]), "runs_s": 20})
        for number in range(8)
    ]
    steps += [
        Step(30.0 + 5.0 * number, "foreign", {"name": f"foreign-{number}", "cpu": 1, "runs_s": 100})
        for number in range(4)
    ]
    return _in_order(steps)


def full_disk(seed: int) -> list[Step]:
    """The ledger's disk is full for a while; nothing that was metered is lost."""
    return [
        Step(30.0 + seed, "ledger", {"full_s": 60}),
        *[_app(10.0 + 15.0 * number, f"app-{number}", 2, 40) for number in range(5)],
    ]


def killed(seed: int) -> list[Step]:
    """A replica is killed at the step of this number, while two gangs start and one loses an executor."""
    return [
        Step(1.0, "kill at", {"place": "anywhere", "number": seed + 1}),
        _app(5.0, "app-0", 2, 20),
        _app(6.0, "app-1", 1, 20, extra=1),
        Step(15.0, "lose", {"number": 0}),
    ]


def storm(seed: int) -> list[Step]:
    """Everything at once, and more of it."""
    draw = random.Random(seed)
    steps = everything(seed)

    def add(kind: str, **values: Any) -> None:
        steps.append(Step(round(draw.uniform(1.0, BUSY_S), 1), kind, values))

    for _ in range(8):
        _fault(draw, add)
    for _ in range(5):
        _users(draw, add)
    return _in_order(steps)


PRESSING: Final = (
    handed_over,
    crowded,
    overtaken,
    rewritten,
    unknown_outcomes,
    haunted,
    garbage,
    held,
    evicting,
    full_disk,
    lied_to,
    silent,
    slow,
    killed,
    storm,
)
"""Every tenth seed is of one of these; the others are of everything."""


def plan(seed: int) -> list[Step]:
    """The steps of a seed, in order of time."""
    if seed % 10 == 9:
        number = seed // 10
        return PRESSING[number % len(PRESSING)](number // len(PRESSING))
    return everything(seed)
