"""Frames of the demo's screen."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from extender.core.outcomes import FOR_GOOD
from extender.lab.screen import Frame, Screen
from extender.lab.workload import demo_nodes


def node(name: str, zone: str, used: int, held: int) -> dict[str, Any]:
    return {
        "name": name,
        "zone": zone,
        "allocatable": {"cpu": 8000},
        "used": {"cpu": used},
        "reserved": {"cpu": held},
    }


def entry(app_id: str, position: int, outcome: str, reason: str, blocked_by: str = "") -> dict[str, Any]:
    told = {"app_id": app_id, "position": position, "outcome": outcome, "reason": reason}
    told |= {"pool": "", "age_s": 3.2, "blocked_by": blocked_by, "leader": f"{app_id}-driver"}
    return {**told, "refused_for_good": outcome in FOR_GOOD}


def frame(number: int) -> Frame:
    nodes = [node(each["metadata"]["name"], "zone-a", 3000, 2000) for each in demo_nodes()[:4]]
    nodes += [node(each["metadata"]["name"], "zone-b", 0, 0) for each in demo_nodes()[4:8]]
    queue = [entry(f"spark-etl-{each:02d}", each + 1, "no-room", "no room") for each in range(number)]
    return Frame(nodes, queue, {})


def drawn(screen: Screen, width: int, height: int) -> list[str]:
    """The lines as `Live` shows them."""
    console = Console(file=io.StringIO(), width=width, height=height)
    lines = console.render_lines(screen, console.options.update(height=None), pad=False)
    return ["".join(segment.text for segment in line) for line in lines]
