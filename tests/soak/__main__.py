"""Run many seeds (`python -m tests.soak --seeds 10000`), or one with its story (`--seed 37`)."""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor

from rich.progress import track

from tests.soak.plan import Step, plan
from tests.soak.world import simulate


def problems_of(seed: int) -> tuple[int, list[str]]:
    """What is wrong with a seed."""
    return seed, simulate(seed, plan(seed))[0]


def shrunk(seed: int, steps: list[Step]) -> list[Step]:
    """The steps without those that are not needed for the run to fail."""
    needed = list(steps)
    for step in reversed(steps):
        fewer = [each for each in needed if each is not step]
        if simulate(seed, fewer)[0]:
            needed = fewer
    return needed


def tell(seed: int) -> bool:
    """Print a seed's problems, the steps it needs for them, and what happened; whether all is well."""
    steps = plan(seed)
    problems, _ = simulate(seed, steps)
    if not problems:
        print(f"seed {seed}: all invariants hold")
        return True
    needed = shrunk(seed, steps)
    problems, story = simulate(seed, needed)
    print(f"seed {seed}: {len(needed)} of {len(steps)} steps are needed")
    print("\n".join([*map(str, needed), "", *story, "", *problems]))
    return False


def main() -> int:
    """The command."""
    options = argparse.ArgumentParser(prog="python -m tests.soak")
    options.add_argument("--seed", type=int, help="one seed, with its story")
    options.add_argument("--seeds", type=int, default=500)
    options.add_argument("--first", type=int, default=0)
    options.add_argument("--processes", type=int, default=os.cpu_count())
    given = options.parse_args()
    if given.seed is not None:
        return 0 if tell(given.seed) else 1
    bad = []
    with ProcessPoolExecutor(given.processes) as pool:
        seeds = range(given.first, given.first + given.seeds)
        for seed, problems in track(pool.map(problems_of, seeds, chunksize=5), "seeds", total=len(seeds)):
            if problems:
                bad.append(seed)
                print(f"seed {seed}: {problems[0]}\n  python -m tests.soak --seed {seed}", file=sys.stderr)
    print(f"{given.seeds} seeds, {len(bad)} with broken invariants")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
