"""The replay clock: any start, any speed, and never backwards."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_api.clock import ReplayClock, WallClock
from tests.carbon_api.support import Hand


def test_speed_and_start():
    hand = Hand(1000.0)
    clock = ReplayClock(5_000_000.0, 60.0, hand)
    assert clock.now_s() == 5_000_000.0
    hand.at_s += 60
    assert clock.now_s() == 5_003_600.0
    other = clock.another(0.0, 1.0)
    hand.at_s += 60
    assert (clock.now_s(), other.now_s()) == (5_007_200.0, 60.0)


def test_a_replay_can_stand_still():
    hand = Hand()
    clock = ReplayClock(7.0, 0.0, hand)
    hand.at_s = 1e9
    assert clock.now_s() == 7.0


@given(st.lists(st.floats(-1e6, 1e6)), st.floats(0, 1e6))
def test_time_never_steps_back(readings: list[float], speed: float):
    hand = Hand()
    clock = ReplayClock(0.0, speed, hand)
    latest = clock.now_s()
    for hand.at_s in readings:
        now = clock.now_s()
        assert now >= latest
        latest = now


@pytest.mark.parametrize("speed", [-1.0, math.nan, math.inf, 2e6])
def test_impossible_speeds_are_refused(speed: float):
    with pytest.raises(ValueError, match="speed"):
        ReplayClock(0.0, speed)


def test_a_replay_starts_somewhere():
    with pytest.raises(ValueError, match="start at some moment"):
        ReplayClock(math.nan)


def test_the_wall_clock_is_the_wall():
    assert WallClock(lambda: 12.5).now_s() == 12.5
