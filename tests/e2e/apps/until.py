"""Keeps a session open until something is written to a named pipe; what runs meanwhile is others' business.

usage: until.py PIPE
"""

from __future__ import annotations

import sys
from pathlib import Path

from pyspark.sql import SparkSession  # pyright: ignore[reportMissingImports]


def main() -> None:
    session = SparkSession.builder.getOrCreate()
    Path(sys.argv[1]).read_text()
    session.stop()


if __name__ == "__main__":
    main()
