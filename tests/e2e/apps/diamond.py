"""A diamond of shuffles and a SQL query with adaptive execution; checks its results itself.

usage: diamond.py RESULT_FILE END_FILE

Both results are written to RESULT_FILE. The driver then stays until END_FILE exists: its jobs have
ended, but the application has not.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from pathlib import Path

from pyspark.sql import SparkSession  # pyright: ignore[reportMissingImports]
from pyspark.sql import functions as sql  # pyright: ignore[reportMissingImports]

NUMBERS, KEYS = 1000, 20


def diamond(context) -> list[list[int]]:
    """One shuffle feeds two others, which meet again: sum and count of each key.

    No two of the four shuffles have the same number of partitions, so none can be left out.
    """
    top = context.parallelize(range(NUMBERS), 4).map(lambda number: (number % KEYS, number)).groupByKey(5)
    sums = top.flatMapValues(list).map(lambda pair: pair).reduceByKey(lambda a, b: a + b, 3)
    counts = top.mapValues(len).map(lambda pair: pair).reduceByKey(lambda a, b: a + b, 2)
    return [[key, total, count] for key, (total, count) in sorted(sums.join(counts, 6).collect())]


def query(session: SparkSession) -> list[list[int]]:
    """A sort-merge join below an aggregation: adaptive execution runs it as several jobs."""
    sales = session.range(NUMBERS).select((sql.col("id") % KEYS).alias("key"), sql.col("id").alias("amount"))
    rates = session.range(KEYS).select(sql.col("id").alias("key"), (sql.col("id") % 3 + 1).alias("rate"))
    rows = (
        sales.join(rates, "key")
        .groupBy("rate")
        .agg(sql.sum(sql.col("amount") * sql.col("rate")).alias("total"))
        .orderBy("rate")
        .collect()
    )
    return [[row["rate"], row["total"]] for row in rows]


def main() -> None:
    result_file, end_file = Path(sys.argv[1]), Path(sys.argv[2])
    session = SparkSession.builder.getOrCreate()
    session.conf.set("spark.sql.adaptive.enabled", "true")
    session.conf.set("spark.sql.autoBroadcastJoinThreshold", "-1")
    numbers = range(NUMBERS)
    expected = [[key, sum(numbers[key::KEYS]), len(numbers[key::KEYS])] for key in range(KEYS)]
    joined = diamond(session.sparkContext)
    assert joined == expected, f"wrong diamond: {joined}, expected {expected}"
    totals: Counter[int] = Counter()
    for number in numbers:
        rate = number % KEYS % 3 + 1
        totals[rate] += number * rate
    rows = query(session)
    assert rows == [list(pair) for pair in sorted(totals.items())], f"wrong query: {rows}, expected {totals}"
    fresh = result_file.with_suffix(".new")
    fresh.write_text(json.dumps({"diamond": joined, "query": rows, "version": session.version}))
    fresh.replace(result_file)
    while not end_file.exists():
        time.sleep(0.1)
    session.stop()


if __name__ == "__main__":
    main()
