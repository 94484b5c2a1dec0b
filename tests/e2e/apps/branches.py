"""Two jobs at once, of which the one that began first is the one that matters less.

usage: branches.py RESULT_FILE TASKS SECONDS_A_TASK

The short job has one stage of TASKS slow tasks, the long one has three, one after the other. Left alone Spark
serves the short one first, because it began first; the application ends sooner if the long one goes first.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path

from pyspark.sql import SparkSession  # pyright: ignore[reportMissingImports]


def main() -> None:
    result_file, tasks, pause_s = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    context = SparkSession.builder.getOrCreate().sparkContext

    def slowly(pair: tuple[int, int]) -> tuple[int, int]:
        time.sleep(pause_s)
        return pair

    def stage(rdd, shift: int):
        """One more shuffle, with one record, and so one pause, a task."""
        return rdd.map(slowly).partitionBy(tasks, lambda key: key + shift)

    pairs = [(number, number) for number in range(tasks)]
    counted: list[int] = []
    short = threading.Thread(
        target=lambda: counted.append(context.parallelize(pairs, tasks).map(slowly).count())
    )
    short.start()
    while not context.statusTracker().getActiveJobsIds():
        time.sleep(0.01)
    long = stage(stage(stage(context.parallelize(pairs, tasks), 1), 2), 3)
    collected = sorted(long.collect())
    short.join()
    assert counted == [tasks], counted
    assert collected == pairs, collected
    executors = context._jsc.sc().getExecutorMemoryStatus().size() - 1
    result_file.write_text(json.dumps({"executors": executors}))
    context.stop()


if __name__ == "__main__":
    main()
