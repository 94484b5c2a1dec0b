"""Counts words of generated text over two shuffles; checks the result itself and writes it to a file.

usage: wordcount.py RESULT_FILE [LINES] [PARTITIONS] [SECONDS_A_TASK]
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from pathlib import Path

from pyspark.sql import SparkSession  # pyright: ignore[reportMissingImports]

WORDS = ("wind", "sun", "water", "coal", "gas")


def line(number: int) -> str:
    """Text that both Spark and the check can make."""
    return " ".join(WORDS[(number * step) % len(WORDS)] for step in range(1, 8))


def main() -> None:
    result_file = Path(sys.argv[1])
    lines, partitions = int(sys.argv[2]) if len(sys.argv) > 2 else 2000, int((sys.argv + [0] * 4)[3]) or 4
    pause_s = float(sys.argv[4]) if len(sys.argv) > 4 else 0.0
    session = SparkSession.builder.getOrCreate()

    def slowly(numbers):
        time.sleep(pause_s)
        return numbers

    counts = (
        session.sparkContext.parallelize(range(lines), partitions)
        .mapPartitions(slowly)
        .flatMap(lambda number: line(number).split())
        .map(lambda word: (word, 1))
        .reduceByKey(lambda a, b: a + b)
        .sortByKey()
        .collect()
    )
    expected = Counter(word for number in range(lines) for word in line(number).split())
    assert dict(counts) == dict(expected), f"wrong count: {counts}, expected {expected}"
    executors = session.sparkContext._jsc.sc().getExecutorMemoryStatus().size() - 1
    result = {"counts": dict(counts), "executors": executors, "version": session.version}
    result_file.write_text(json.dumps(result))
    session.stop()


if __name__ == "__main__":
    main()
