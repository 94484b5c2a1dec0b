"""What people see: it fits the terminal, and says what it should."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extender.lab.checks import Invariant
from extender.lab.screen import Frame, Screen, bar, frame_of, note_line
from extender.lab.workload import demo_nodes
from extender.lab.world import Note, World
from tests.lab.frames import drawn, entry, frame, node
from tests.lab.support import application, small_nodes

REASON = "carbon-scheduler/executor-count=4: contradicts carbon-scheduler/executor-min-count=2; keep one"


def world_with(number: int) -> World:
    world = World(demo_nodes(), clock=lambda: 1000.0)
    for each in range(number):
        world.submit(application(f"etl-{each:02d}"))
    return world


@pytest.mark.parametrize("size", [(120, 40), (80, 24), (100, 30), (200, 60)])
@pytest.mark.parametrize("number", [0, 3, 60])
async def test_it_fills_the_terminal_and_no_more(size: tuple[int, int], number: int) -> None:
    width, height = size
    screen = Screen(world_with(number), 60)
    screen.frame = frame(number)
    lines = drawn(screen, width, height)
    assert len(lines) == height
    assert max(len(line) for line in lines) <= width


async def test_it_draws_before_the_extender_has_answered() -> None:
    lines = drawn(Screen(world_with(0), 10), 80, 24)
    assert any("waiting for the extender" in line for line in lines)
    assert any("no gang waits" in line for line in lines)


async def test_the_queue_says_why_and_hopeless_ones_come_last() -> None:
    screen = Screen(world_with(3), 3)
    queue = [
        entry("spark-etl-00", 1, "invalid-request", REASON),
        entry("spark-etl-01", 2, "no-room", "no room for the leader with all its minimum workers"),
        entry("spark-etl-02", 3, "earlier-gang-waits", "an earlier gang waits", "spark-jobs/spark-etl-01"),
    ]
    screen.frame = Frame([node("a1", "zone-a", 0, 0)], queue, {})
    lines = drawn(screen, 120, 30)
    start = next(index for index, line in enumerate(lines) if line.startswith("Queue"))
    first, second, third = lines[start + 1 : start + 4]
    assert "etl-01" in first
    assert "no-room: no room for the leader with all its minimum workers" in first
    assert "earlier-gang-waits: after etl-01" in second
    assert third.startswith("--")
    assert "refused for good: invalid-request: executor-count=4: contradicts executor-min-count" in third


async def test_the_dashboard_is_named_with_an_application_to_explain() -> None:
    screen = Screen(world_with(3), 3)
    assert "the extender is starting" in drawn(screen, 120, 30)[1]
    screen.url = "http://127.0.0.1:8420"
    screen.frame = Frame(
        [],
        [entry("spark-1", 1, "exceeds-cluster", "too large"), entry("spark-2", 2, "no-room", "no room")],
        {},
    )
    line = drawn(screen, 120, 30)[1]
    assert line.startswith("dashboard http://127.0.0.1:8420 ")
    assert "explain spark-2-driver --url http://127.0.0.1:8420" in line


@pytest.mark.parametrize("width", [80, 120])
async def test_broken_invariants_are_on_the_first_line(width: int) -> None:
    world = world_with(1)
    assert drawn(Screen(world, 1), width, 24)[0].rstrip().endswith("hold")
    world.checker.broken[Invariant.ROOM_FOR_MINIMUM] = ["one", "two"]
    assert drawn(Screen(world, 1), width, 24)[0].rstrip().endswith("2 broken")


@given(used=st.integers(0, 12), held=st.integers(0, 12), offered=st.integers(0, 8), width=st.integers(1, 60))
def test_bars_have_their_width_and_hide_nothing(used: int, held: int, offered: int, width: int) -> None:
    text = bar(used, held, offered, width).plain
    assert len(text) == width
    assert set(text) <= set("█▒·")
    if offered and held and text.count("█") < width:
        assert "▒" in text
    if offered and not used:
        assert "█" not in text


def test_notes_are_lines() -> None:
    line = note_line(Note(12.34, "refused", "etl-01", REASON)).plain
    assert line.startswith("  12.3 s x refused   etl-01    executor-count=4")


def test_before_the_first_answer_the_nodes_are_there_and_empty() -> None:
    frame = frame_of(small_nodes(2))
    assert [each["name"] for each in frame.nodes] == ["n1", "n2"]
    assert all(not each["used"] and each["allocatable"]["cpu"] == 4000 for each in frame.nodes)
