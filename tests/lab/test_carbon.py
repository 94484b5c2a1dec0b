"""Carbon in the demo: holds are checked from outside, curves and grams are what was told."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extender.lab import demo
from extender.lab.carbon import HOURS, Booked, Curve, read_booked, service_flags, sparkline
from extender.lab.checks import IN_FLIGHT_S, Invariant
from extender.lab.scheduler import Attempt
from extender.lab.screen import Screen
from extender.lab.service_process import ServiceProcessFailed
from extender.lab.spark import MAX_DELAY
from extender.lab.summary import summarize
from extender.lab.workload import applications, demo_nodes, flexible
from extender.lab.world import World
from tests.lab.demos import QUICK, console, output_of
from tests.lab.frames import drawn, frame
from tests.lab.support import application

HELD = "carbon-scheduler: held-for-carbon: carbon policy threshold holds it"
INVARIANT = Invariant.NOT_HELD_PAST_LATEST_START
values = st.lists(st.one_of(st.none(), st.floats(0, 3000)), max_size=60)


class Wall:
    """A clock that is set by hand."""

    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def flexible_world(wall: Wall) -> World:
    world = World(demo_nodes(), clock=wall)
    world.submit(application(annotations={MAX_DELAY: "10"}))
    return world


def refuse(world: World, text: str) -> None:
    world.checker.attempted(Attempt("carbon-scheduler", world.records[0].driver, "", text, True, 0))


@pytest.mark.parametrize(("after_s", "broken"), [(9.0, 0), (10.0, 0), (10.1 + IN_FLIGHT_S, 1)])
async def test_a_gang_held_past_its_latest_start_is_found(after_s: float, broken: int) -> None:
    wall = Wall()
    world = flexible_world(wall)
    wall.now_s += after_s
    refuse(world, HELD)
    assert world.checker.checked[INVARIANT] == 1
    assert len(world.checker.broken.get(INVARIANT, [])) == broken
    assert summarize(world, 1, {}, complete=True).sound == (not broken)


async def test_a_gang_that_allows_no_delay_must_not_be_held() -> None:
    world = World(demo_nodes(), clock=Wall())
    world.submit(application())
    refuse(world, HELD)
    assert world.checker.broken[INVARIANT]


async def test_waiting_for_room_after_the_latest_start_breaks_nothing() -> None:
    wall = Wall()
    world = flexible_world(wall)
    refuse(world, HELD)
    wall.now_s += 60.0
    refuse(world, "carbon-scheduler: no-room: no room")
    assert not world.checker.broken
    assert summarize(world, 1, {}, complete=True).carbon["held"] == 1


def test_a_third_of_the_admissible_may_wait() -> None:
    stream = applications(48, 1.0, random.Random(3))
    delays = [each.app.max_delay_s for each in flexible(stream, (6.0, 14.0), random.Random(3))]
    told = [each for each in delays if each is not None]
    assert 10 <= len(told) <= 16
    assert all(6.0 <= each <= 14.0 for each in told)


@given(past=values, ahead=values, width=st.integers(2, 60))
def test_a_curve_fits_its_width(
    past: Sequence[float | None], ahead: Sequence[float | None], width: int
) -> None:
    before, after = sparkline(Curve(past, ahead), width)
    assert len(before) + len(after) <= width
    assert set(before + after) <= set(" ▁▂▃▄▅▆▇█")


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_curve_holds_and_grams_are_on_screen(size: tuple[int, int]) -> None:
    world = flexible_world(Wall())
    screen = Screen(world, 1)
    screen.frame = frame(0)
    hours = [float(each) for each in range(100, 100 + HOURS)]
    screen.carbon.curves = {"synthetic-solar": Curve(hours, hours)}
    held = {"until": "1970-01-01T00:16:44Z", "latest_start": "1970-01-01T00:16:50Z"}
    screen.carbon.held = {"spark-app": held}
    screen.carbon.booked = Booked({"a": 0.002}, {"a": 0.5}, saved_g=0.25, at_once_g=1.0)
    lines = drawn(screen, *size)
    text = "\n".join(lines)
    assert len(lines) == size[1]
    assert "123 g/kWh" in text
    assert "0.50 g 2.00 Wh, who may wait saved +0.25 g (+25 %)" in text
    assert "held 1 app <=10s" in text


def test_a_ledger_that_is_not_there_is_nothing(tmp_path: Path) -> None:
    assert read_booked(tmp_path / "absent.db", ()) is None


def test_without_a_carbon_service_the_extender_is_told_of_none(tmp_path: Path) -> None:
    assert "--carbon.url" not in service_flags("", tmp_path / "ledger.db")
    assert "--carbon.url" in service_flags("http://127.0.0.1:1", tmp_path / "ledger.db")


def test_the_demo_runs_without_the_carbon_service(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(_: Path) -> None:
        raise ServiceProcessFailed("the service did not start")

    monkeypatch.setattr(demo, "CarbonProcess", absent)
    shown = console()
    assert demo.run_demo(script=QUICK, console=shown) == 0
    assert "no carbon service, going on without" in output_of(shown)
