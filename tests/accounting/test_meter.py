"""Bookings by example, and what holds for all of them."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extender.adapters.accounting.amounts import Missing
from extender.adapters.accounting.books import NOBODY, Batch, Kind
from extender.adapters.accounting.meter import READING_HOLDS_S, Meter
from extender.adapters.accounting.readings import NodeReading, PodRef
from extender.core.facts import GangKey
from tests.accounting import builders as b


def metered(cell_s: float = 300.0) -> Meter:
    meter = Meter(b.MODELS, cell_s=cell_s)
    meter.node_seen(b.node(), "DE", 0)
    meter.intensity_seen("DE", 100.0, 0)
    return meter


def test_a_pod_is_charged_its_share_and_the_rest_stays_with_the_node() -> None:
    meter = metered()
    meter.pod_seen(b.pod("w", "n1", created_s=0), 0)
    batch = b.taken(meter, 100)
    # Idle 100 W, a quarter requested: 25 W. Dynamic: a quarter of 100 W, all its own.
    assert b.energy(batch.bookings.items(), app=b.APP) == pytest.approx(50 * 100)
    assert b.remainder(batch.bookings.items()) == pytest.approx(75 * 100)


def test_carbon_is_energy_times_intensity_of_the_time() -> None:
    meter = metered()
    meter.intensity_seen("DE", 400.0, 50)
    batch = b.taken(meter, 100)
    grams = sum(booking.carbon_g for booking in batch.bookings.values())
    assert grams == pytest.approx(100 * 50 / 3.6e6 * 100 + 100 * 50 / 3.6e6 * 400)


def test_a_gap_is_booked_as_energy_with_the_reason_and_no_grams() -> None:
    meter = metered()
    meter.intensity_seen("DE", Missing("stale"), 40)
    meter.intensity_seen("DE", 100.0, 60)
    bookings = b.taken(meter, 100).bookings
    unknown = {key: booking for key, booking in bookings.items() if key.unknown}
    assert [key.unknown for key in unknown] == ["stale"]
    assert b.energy(unknown.items()) == pytest.approx(100 * 20)
    assert all(booking.carbon_g == 0 for booking in unknown.values())
    assert b.energy(bookings.items()) == pytest.approx(100 * 100)


def test_a_zone_nobody_spoke_of_has_unknown_carbon() -> None:
    meter = Meter(b.MODELS)
    meter.node_seen(b.node(), "XX", 0)
    assert all(key.unknown for key in b.taken(meter, 10).bookings)


def test_bookings_are_cut_at_the_cells() -> None:
    bookings = b.taken(metered(cell_s=60), 150).bookings
    assert [(key.cell_s, booking.start_s, booking.end_s) for key, booking in sorted(bookings.items())] == [
        (0, 0, 60),
        (60, 60, 120),
        (120, 120, 150),
    ]


def test_what_happens_after_the_close_belongs_to_the_next_batch() -> None:
    meter = metered()
    meter.close(100)
    meter.pod_seen(b.pod("w", "n1", created_s=150), 150)  # touches the node before it is settled
    while not meter.settle(1):
        pass
    first, second = meter.closed(), b.taken(meter, 200)
    assert b.energy(first.bookings.items()) == pytest.approx(100 * 100)
    assert b.energy(second.bookings.items()) == pytest.approx(100 * 50 + 125 * 50)
    assert (second.since_s, second.until_s) == (100, 200)
    assert not first.pods
    assert set(second.pods) == {"w"}


def test_a_batch_cannot_be_taken_before_it_is_settled() -> None:
    meter = metered()
    with pytest.raises(RuntimeError, match="no settled batch"):
        meter.closed()
    meter.close(10)
    with pytest.raises(RuntimeError, match="being closed"):
        meter.close(20)


def test_pods_outside_gangs_are_booked_to_their_namespace_without_a_baseline() -> None:
    meter = metered()
    meter.pod_seen(b.pod("x", "n1", app=None), 0)
    bookings = b.taken(meter, 10).bookings
    assert {key.app for key in bookings} == {GangKey("other", ""), NOBODY}
    assert {key.kind for key in bookings} == {Kind.ACTUAL}


def test_a_held_application_is_compared_with_the_hour_of_its_submission() -> None:
    meter = Meter(b.MODELS, cell_s=3600)
    meter.node_seen(b.node(), "DE", 0)
    meter.intensity_seen("DE", 500.0, 0)
    meter.intensity_seen("DE", 100.0, 3600)
    meter.pod_seen(b.driver(created_s=0), 0)
    meter.pod_seen(b.driver("n1"), 3600)
    meter.pod_seen(b.driver(phase="Succeeded"), 7200)
    batch = b.taken(meter, 7200)
    grams = dict.fromkeys(Kind, 0.0)
    for key, booking in batch.bookings.items():
        if key.app == b.APP:
            grams[key.kind] += booking.carbon_g
    assert grams[Kind.ACTUAL] == pytest.approx(50 * 3600 / 3.6e6 * 100)
    assert grams[Kind.BASELINE] == pytest.approx(50 * 3600 / 3.6e6 * 500)
    row = batch.applications[b.APP]
    assert (row.waiting_s, row.turnaround_s) == (3600, 7200)


def test_throttled_workers_cost_leader_energy_which_the_baseline_saves() -> None:
    meter = Meter(b.MODELS)
    meter.node_seen(b.node(), "DE", 0)
    meter.intensity_seen("DE", 100.0, 0)
    meter.pod_seen(b.driver("n1", created_s=0), 0)
    meter.pod_seen(b.pod("w1", "n1"), 0)
    meter.pod_seen(b.pod("w2"), 0)  # waits all the time: one of two works
    bookings = b.taken(meter, 1000).bookings
    actual = b.energy(bookings.items(), app=b.APP)
    baseline = b.energy(bookings.items(), app=b.APP, kind=Kind.BASELINE)
    assert actual == pytest.approx(50 * 1000 + 50 * 1000)
    assert baseline == pytest.approx(50 * 500 + 50 * 1000)
    assert max(booking.end_s for key, booking in bookings.items() if key.kind is Kind.BASELINE) == 500


def test_an_application_found_running_has_no_baseline_and_says_so() -> None:
    meter = metered()
    meter.pod_seen(b.driver("n1", created_s=1), 5000)
    batch = b.taken(meter, 5100)
    row = batch.applications[b.APP]
    assert isinstance(row.baseline_s, Missing)
    assert isinstance(row.waiting_s, Missing)
    assert all(key.kind is Kind.ACTUAL for key in batch.bookings)


def test_a_reading_replaces_the_model_until_it_is_old() -> None:
    meter = metered()
    meter.pod_seen(b.pod("w", "n1"), 0)
    reading = NodeReading("kepler", 400.0, 40.0, pods_w={PodRef("team", "w"): 300.0})
    meter.reading_seen("n1", reading, 0)
    bookings = b.taken(meter, READING_HOLDS_S + 100).bookings
    by_source: dict[str, float] = {}
    for key, booking in bookings.items():
        if key.app == b.APP and key.kind is Kind.ACTUAL:
            by_source[key.source] = by_source.get(key.source, 0.0) + b.energy([(key, booking)])
    assert by_source == pytest.approx(
        {"kepler/measured": (0.25 * 40 + 300) * READING_HOLDS_S, "plain/requests": 50 * 100}
    )


def test_a_failed_reading_returns_to_the_model_at_once() -> None:
    meter = metered()
    meter.reading_seen("n1", NodeReading("rapl", 70.0), 0)
    meter.reading_seen("n1", Missing("gone"), 10)
    bookings = b.taken(meter, 20).bookings
    assert {key.source for key in bookings} == {"rapl/requests", "plain/requests"}
    assert b.energy(bookings.items()) == pytest.approx(70 * 10 + 100 * 10)


def test_usage_drives_the_model_where_no_meter_reads_power() -> None:
    meter = metered()
    meter.pod_seen(b.pod("w", "n1"), 0)
    meter.reading_seen("n1", NodeReading("usage", pods_cores={PodRef("team", "w"): 4.0}), 0)
    bookings = b.taken(meter, 10).bookings
    assert b.energy(bookings.items(), app=b.APP) == pytest.approx((25 + 100) * 10)
    assert "plain/usage" in {key.source for key in bookings}


def test_a_node_that_is_gone_draws_nothing_and_starts_again() -> None:
    meter = metered()
    meter.pod_seen(b.pod("w", "n1"), 0)
    meter.node_gone("n1", 100)
    meter.node_seen(b.node(), "DE", 500)
    meter.pod_gone("w", 600)
    bookings = b.taken(meter, 600).bookings
    assert b.energy(bookings.items()) == pytest.approx(125 * 200)


def test_a_pod_that_is_seen_before_its_node_is_charged_once_the_node_is_known() -> None:
    meter = Meter(b.MODELS)
    meter.pod_seen(b.pod("w", "n1"), 0)
    meter.node_seen(b.node(), "DE", 1)
    assert b.energy(b.taken(meter, 11).bookings.items(), app=b.APP) == pytest.approx(50 * 10)


def test_a_clock_that_goes_back_books_nothing_twice() -> None:
    meter = metered()
    meter.pod_seen(b.pod("w", "n1"), 100)
    meter.pod_gone("w", 50)
    assert b.energy(b.taken(meter, 100).bookings.items()) == pytest.approx(100 * 100)


moments = st.lists(st.floats(0, 2000), min_size=4, max_size=4).map(sorted)


@st.composite
def lives(draw: st.DrawFn) -> list[tuple[float, str, int]]:
    """Pods that are created, bound and end, and readings in between: (moment, what, number)."""
    out: list[tuple[float, str, int]] = []
    for number in range(draw(st.integers(1, 4))):
        created, bound, read, ended = draw(moments)
        out += [
            (created, "create", number),
            (bound, "bind", number),
            (read, "read", number),
            (ended, "end", number),
        ]
    return sorted(out)


def play(meter: Meter, events: list[tuple[float, str, int]], cuts: list[float]) -> list[Batch]:
    """Feed events, closing a batch at every cut (all at most 2000) and one at 2000."""
    batches: list[Batch] = []
    timed = sorted([*((at, 1, what, n) for at, what, n in events), *((at, 0, "cut", 0) for at in cuts)])
    for at_s, _, what, number in timed:
        if what == "cut":
            batches.append(b.taken(meter, at_s))
        elif what == "create":
            meter.pod_seen(b.pod(f"w{number}", created_s=at_s), at_s)
        elif what == "bind":
            meter.pod_seen(b.pod(f"w{number}", "n1"), at_s)
        elif what == "read":
            meter.reading_seen("n1", NodeReading("meter", 150.0 + number, 90.0), at_s)
        else:
            meter.pod_gone(f"w{number}", at_s)
    return [*batches, b.taken(meter, 2000)]


def sums(batches: list[Batch]) -> dict[tuple[object, ...], tuple[float, float]]:
    out: dict[tuple[object, ...], list[float]] = {}
    for batch in batches:
        for key, booking in batch.bookings.items():
            mine = out.setdefault(tuple(key), [0.0, 0.0])
            mine[0] += booking.energy_kwh
            mine[1] += booking.carbon_g
    return {key: (each[0], each[1]) for key, each in out.items() if each[0] > 1e-12}


def fresh(steps: list[tuple[float, float]]) -> Meter:
    meter = Meter(b.MODELS, cell_s=300)
    meter.node_seen(b.node(cores=16, memory=32), "DE", 0)
    for at_s, value in steps:
        meter.intensity_seen("DE", value if value else Missing("gap"), at_s)
    return meter


steps = st.lists(st.tuples(st.floats(0, 2000), st.sampled_from([0.0, 100.0, 350.5])), max_size=5)
cut_times = st.lists(st.floats(0, 2000), max_size=5)


@settings(max_examples=60)
@given(lives(), steps, cut_times)
def test_cutting_time_anywhere_changes_no_sum(
    events: list[tuple[float, str, int]], signal: list[tuple[float, float]], cuts: list[float]
) -> None:
    whole = sums(play(fresh(signal), events, []))
    parts = sums(play(fresh(signal), events, cuts))
    assert parts.keys() == whole.keys()
    for key, (energy_kwh, carbon_g) in whole.items():
        assert parts[key] == pytest.approx((energy_kwh, carbon_g), rel=1e-6, abs=1e-9)


@settings(max_examples=60)
@given(lives(), steps)
def test_energy_is_conserved_and_unknown_is_complementary(
    events: list[tuple[float, str, int]], signal: list[tuple[float, float]]
) -> None:
    """Pods and remainder are the node's energy; the workers' counterfactual has theirs."""
    (batch,) = play(fresh(signal), events, [])
    marks = sorted({0.0, 2000.0, *(at for at, _, _ in events)})
    marks = sorted({*marks, *(at + READING_HOLDS_S for at, what, _ in events if what == "read")})
    expected = math.fsum(
        node_power(events, (start + end) / 2) * (min(end, 2000.0) - start)
        for start, end in pairwise(marks)
        if start < 2000
    )
    assert b.energy(batch.bookings.items()) == pytest.approx(expected, rel=1e-6, abs=1e-3)
    for key, booking in batch.bookings.items():
        if key.unknown:
            assert booking.carbon_g == 0
    workers = b.energy(batch.bookings.items(), app=b.APP)
    assert b.energy(batch.bookings.items(), app=b.APP, kind=Kind.BASELINE) == pytest.approx(
        workers, rel=1e-6, abs=1e-3
    )


def node_power(events: list[tuple[float, str, int]], at_s: float) -> float:
    """Power of the node at a moment, worked out from the events in another way than the meter does."""
    last_read = [(at, n) for at, what, n in events if what == "read" and at <= at_s]
    if last_read and at_s <= last_read[-1][0] + READING_HOLDS_S:
        return 150.0 + last_read[-1][1]
    bound = {n for at, what, n in events if what == "bind" and at <= at_s}
    ended = {n for at, what, n in events if what == "end" and at <= at_s}
    return 100.0 + 100.0 * len(bound - ended) / 16
