"""Keeps a session open until a file exists; what runs meanwhile is the business of others.

usage: until.py FILE
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from pyspark.sql import SparkSession  # pyright: ignore[reportMissingImports]


def main() -> None:
    end = Path(sys.argv[1])
    session = SparkSession.builder.getOrCreate()
    while not end.exists():
        time.sleep(0.1)
    session.stop()


if __name__ == "__main__":
    main()
