"""Polling: recent values first, history behind them, patience with providers that fail."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import numpy as np
import pytest

from carbon_api.clock import WallClock
from carbon_api.poller import LONGEST_BACKOFF_S, RECENT_S, Poller
from carbon_api.readings import Kind, Missing, Reason, Value
from carbon_api.series import Series
from carbon_api.sources.base import Answer
from carbon_api.store import Zone
from tests.carbon_api.support import HOUR_S, START_S, Hand

DAY_S = 86_400


@dataclass
class Scripted:
    """A source that answers every window with 100 g/kWh, or as `rule` says."""

    rule: Callable[[float, float], Answer | None] = lambda start_s, end_s: None
    name: str = "scripted"
    kind: Kind = Kind.AVERAGE
    longest_s: float = 10.0 * DAY_S
    asked: list[tuple[float, float]] = field(default_factory=list)

    async def fetch(self, zone: str, start_s: float, end_s: float) -> Answer:
        assert zone == "theirs"
        self.asked.append((start_s, end_s))
        if (answer := self.rule(start_s, end_s)) is not None:
            return answer
        first, last = math.ceil(start_s / HOUR_S), math.ceil(end_s / HOUR_S)
        values = np.full(last - first, 100.0)
        return Answer(Series("theirs", Kind.AVERAGE, "scripted", HOUR_S, first * HOUR_S, values))


@dataclass
class Sleep:
    """Sleeps that pass at once."""

    slept: list[float] = field(default_factory=list)

    async def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)


def poller(source: Scripted, hand: Hand, history_days: float = 0) -> Poller:
    zone = Zone("XX", "XX", Kind.AVERAGE, "scripted", WallClock(hand))
    return Poller(zone, source, "theirs", 300.0, history_days * DAY_S, Random(1), Sleep())


def fails(reason: Reason, retry_after_s: float | None = None) -> Answer:
    return Answer(None, Missing(reason), retry_after_s)


async def test_recent_values_come_first_then_history_back_to_its_limit():
    hand, source = Hand(START_S), Scripted()
    polling = poller(source, hand, history_days=30)
    assert await polling.round() == 300
    assert source.asked[0] == (START_S - RECENT_S, START_S)
    ends = [end_s for _, end_s in source.asked[1:]]
    assert ends == [START_S - RECENT_S - piece * 10 * DAY_S for piece in range(3)]
    series = polling.zone.series
    assert series is not None
    assert series.zone == "XX"
    assert series.present.all()
    assert len(series) >= 30 * 24
    hand.at_s += 300
    await polling.round()
    assert len(source.asked) == 5  # history is not asked for again


async def test_after_a_long_silence_the_hole_is_asked_for():
    hand, source = Hand(START_S), Scripted()
    polling = poller(source, hand)
    await polling.round()
    hand.at_s += 3 * DAY_S
    await polling.round()
    assert source.asked[-1] == (START_S, START_S + 3 * DAY_S)
    hand.at_s += 30 * DAY_S
    await polling.round()
    assert source.asked[-1] == (hand.at_s - source.longest_s, hand.at_s)


async def test_failures_are_met_with_patience():
    source = Scripted(lambda start_s, end_s: fails(Reason.SOURCE_DOWN))
    polling = poller(source, Hand(START_S))
    waits = [await polling.round() for _ in range(12)]
    assert 240 <= waits[0] <= 360
    assert 480 <= waits[1] <= 720
    assert all(wait <= LONGEST_BACKOFF_S * 1.2 for wait in waits)
    assert waits[-1] >= LONGEST_BACKOFF_S * 0.8
    assert (polling.zone.up, polling.zone.failures) == (False, 12)
    assert polling.zone.reading() == Missing(Reason.SOURCE_DOWN)
    source.rule = lambda start_s, end_s: None
    assert await polling.round() == 300
    assert polling.zone.up


async def test_a_provider_that_wants_to_be_left_alone_is():
    polling = poller(Scripted(lambda start_s, end_s: fails(Reason.RATE_LIMITED, 7200.0)), Hand(START_S))
    assert await polling.round() == 7200


async def test_refused_history_is_not_asked_for_again_and_no_fault():
    def only_recent(start_s: float, end_s: float) -> Answer | None:
        return fails(Reason.SOURCE_REFUSED) if end_s < START_S else None

    hand, source = Hand(START_S), Scripted(only_recent)
    polling = poller(source, hand, history_days=30)
    assert await polling.round() == 300
    assert await polling.round() == 300
    assert len(source.asked) == 3
    assert polling.zone.up


async def test_history_that_fails_for_now_is_asked_for_later():
    def busy(start_s: float, end_s: float) -> Answer | None:
        return fails(Reason.RATE_LIMITED, 900.0) if end_s < START_S else None

    source = Scripted(busy)
    polling = poller(source, Hand(START_S), history_days=30)
    assert await polling.round() == 900
    assert polling.zone.up
    source.rule = lambda start_s, end_s: None
    await polling.round()
    assert len(source.asked) == 6


async def test_a_defect_in_a_source_ends_nothing(caplog: pytest.LogCaptureFixture):
    def broken(start_s: float, end_s: float) -> Answer | None:
        raise KeyError("oops")

    polling = poller(Scripted(broken), Hand(START_S))
    await polling.round()
    reading = polling.zone.reading()
    assert isinstance(reading, Missing)
    assert reading.reason is Reason.UNREADABLE
    assert "oops" in caplog.text


async def test_the_same_problem_is_logged_once(caplog: pytest.LogCaptureFixture):
    polling = poller(Scripted(lambda start_s, end_s: fails(Reason.SOURCE_DOWN)), Hand(START_S))
    for _ in range(5):
        await polling.round()
    assert caplog.text.count("source-down") == 1


async def test_the_last_good_value_counts_until_it_is_stale():
    hand, source = Hand(START_S), Scripted()
    polling = poller(source, hand)
    await polling.round()
    source.rule = lambda start_s, end_s: fails(Reason.SOURCE_DOWN)
    last_s = START_S - HOUR_S
    for age_s in (HOUR_S, 2 * HOUR_S, 3 * HOUR_S):
        hand.at_s = last_s + age_s
        await polling.round()
        reading = polling.zone.reading()
        assert isinstance(reading, Value)
        assert reading == Value(100, last_s, Kind.AVERAGE, False, "scripted")
        assert polling.zone.age_s(reading) == age_s
    hand.at_s += 1
    assert polling.zone.reading() == Missing(Reason.SOURCE_DOWN)


def test_values_of_the_future_are_not_the_present():
    zone = Zone("XX", "XX", Kind.AVERAGE, "test", WallClock(Hand(START_S + 10)))
    zone.put(Answer(Series("XX", Kind.AVERAGE, "test", HOUR_S, int(START_S), np.array([1.0, 2.0, 3.0]))))
    assert zone.reading() == Value(1, START_S, Kind.AVERAGE, False, "test")
    ahead = zone.reading(START_S + HOUR_S)
    assert isinstance(ahead, Missing)
    assert ahead.reason is Reason.NOT_COVERED


def test_null_now_leaves_the_value_before_with_its_age():
    zone = Zone("XX", "XX", Kind.AVERAGE, "test", WallClock(Hand(START_S + HOUR_S + 60)))
    series = Series("XX", Kind.AVERAGE, "test", HOUR_S, int(START_S), np.array([1.0, math.nan]))
    zone.put(Answer(series, Missing(Reason.NOT_A_NUMBER)))
    reading = zone.reading()
    assert isinstance(reading, Value)
    assert (reading.g_per_kwh, zone.age_s(reading)) == (1, HOUR_S + 60)
