"""Runs of the demo on a console that keeps what it shows."""

from __future__ import annotations

import io

from rich.console import Console

from extender.lab.demo import Script

QUICK = Script(applications=12, gap_s=0.3, foreign_gap_s=1.0, speed=15.0, longest_s=40.0, delay_s=(1.0, 2.0))


def console(**options: bool) -> Console:
    return Console(file=io.StringIO(), width=120, height=40, **options)  # pyright: ignore[reportArgumentType]


def output_of(made: Console) -> str:
    assert isinstance(made.file, io.StringIO)
    return made.file.getvalue()
