"""The packers once more, one pod at a time, as a person would explain them. Slow, and in no way clever."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

from extender.core.nodes.arrays import UNLIMITED
from extender.core.queue.packing import Problem

Answer = tuple[int, list[int]]
"""Leader's row, and the row of each worker."""

Free = list[list[int]]
Spread = Callable[[Problem, Free, Sequence[int]], "list[int] | None"]


def room(free: Free, row: int, size: Sequence[int]) -> int:
    """Pods of a size that fit one node."""
    if any(free[row][i] < 0 for i in range(len(size))):
        return 0
    return min((free[row][i] // size[i] for i in range(len(size)) if size[i]), default=int(UNLIMITED))


def take(free: Free, row: int, size: Sequence[int]) -> bool:
    """Place one pod if it fits."""
    if any(have < want for have, want in zip(free[row], size, strict=True)):
        return False
    free[row] = [have - want for have, want in zip(free[row], size, strict=True)]
    return True


def tightly(problem: Problem, free: Free, rows: Sequence[int]) -> list[int] | None:
    slots: list[int] = []
    for row in rows:
        while len(slots) < problem.count and take(free, row, problem.worker.tolist()):
            slots.append(row)
    return slots if len(slots) == problem.count else None


def evenly(problem: Problem, free: Free, rows: Sequence[int]) -> list[int] | None:
    slots: list[int] = []
    rows = list(rows)
    while rows and len(slots) < problem.count:
        for row in list(rows):
            if len(slots) == problem.count:
                break
            if take(free, row, problem.worker.tolist()):
                slots.append(row)
            else:
                rows.remove(row)
    return slots if len(slots) == problem.count else None


def sparingly(problem: Problem, free: Free, rows: Sequence[int]) -> list[int] | None:
    rooms = {row: room(free, row, problem.worker.tolist()) for row in rows}
    rooms = {row: number for row, number in rooms.items() if number}
    if not problem.count:
        return []
    if not rooms:
        return None
    largest = max(rooms.values())
    if problem.count < largest:
        target = (problem.count + largest) // 2
        slots = _largest_first({row: n for row, n in rooms.items() if n < target}, problem.count)
        if slots is not None:
            return slots
    return _largest_first(rooms, problem.count)


def _largest_first(rooms: dict[int, int], count: int) -> list[int] | None:
    slots: list[int] = []
    rooms = dict(rooms)
    while rooms:
        rest = count - len(slots)
        enough = [row for row, number in rooms.items() if number >= rest]
        if enough:
            return slots + [min(enough, key=rooms.__getitem__)] * rest
        largest = max(rooms.values())
        for row in [row for row, number in rooms.items() if number == largest]:
            if count - len(slots) >= largest:
                slots += [row] * largest
                del rooms[row]
        if len(slots) == count:
            return slots
    return None


def anywhere(problem: Problem, spread: Spread) -> Answer | None:
    """Leader nodes in order, each with a fresh attempt."""
    return _attempt(problem, spread, problem.leader_rows.tolist(), problem.worker_rows.tolist())


def _attempt(problem: Problem, spread: Spread, leaders: list[int], workers: list[int]) -> Answer | None:
    for leader in leaders:
        free = problem.free.T.tolist()
        if take(free, leader, problem.leader.tolist()):
            slots = spread(problem, free, workers)
            if slots is not None:
                return leader, slots
    return None


def in_one_zone(problem: Problem, spread: Spread) -> Answer | None:
    """Every zone on its own; the highest score, and of equal scores the first zone in the leader's order."""
    zone = problem.zone.tolist()
    best: tuple[bool, Fraction, Answer] | None = None
    for number in dict.fromkeys(zone[row] for row in problem.leader_rows.tolist()):
        leaders = [row for row in problem.leader_rows.tolist() if zone[row] == number]
        workers = [row for row in problem.worker_rows.tolist() if zone[row] == number]
        answer = _attempt(problem, spread, leaders, workers)
        if answer is None:
            continue
        candidate = (bool(workers), score(problem, answer), answer)
        if best is None or candidate[:2] > best[:2]:
            best = candidate
    return None if best is None else best[2]


def score(problem: Problem, answer: Answer) -> Fraction:
    """Mean over leader and workers of the largest share used on the node of each."""
    leader, workers = answer
    free = problem.free.T.tolist()
    pods = [(leader, problem.leader.tolist()), *((row, problem.worker.tolist()) for row in workers)]
    for row, size in pods:
        free[row] = [have - want for have, want in zip(free[row], size, strict=True)]
    shares = [
        max(
            (
                Fraction(offered - left, offered)
                for offered, left in zip(problem.capacity[:, row].tolist(), free[row], strict=True)
                if offered
            ),
            default=Fraction(0),
        )
        for row, _ in pods
    ]
    return sum(shares, Fraction(0)) / len(shares)


BY_HAND: dict[str, Callable[[Problem], Answer | None]] = {
    "tightly-pack": lambda problem: anywhere(problem, tightly),
    "distribute-evenly": lambda problem: anywhere(problem, evenly),
    "minimal-fragmentation": lambda problem: anywhere(problem, sparingly),
    "single-az-tightly-pack": lambda problem: in_one_zone(problem, tightly),
    "single-az-minimal-fragmentation": lambda problem: in_one_zone(problem, sparingly),
    "az-aware-tightly-pack": lambda problem: in_one_zone(problem, tightly) or anywhere(problem, tightly),
}
