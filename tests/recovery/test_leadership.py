"""A replica leads while kube-scheduler calls it, and knows what was bound before it led."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from extender.core.leadership import LEADS_FOR_S, UNBROKEN_S, Leadership, Standstill

NOW = 1_000.0


def test_no_replica_leads_before_it_is_called() -> None:
    leadership = Leadership()
    assert not leadership.leads(NOW)
    assert not leadership.is_caught_up(NOW)


def test_a_replica_leads_from_a_call_until_calls_have_stopped_for_as_long_as_a_lease() -> None:
    leadership = Leadership()
    leadership.called(NOW)
    assert leadership.leads(NOW + LEADS_FOR_S - 0.1)
    assert not leadership.leads(NOW + LEADS_FOR_S)


def test_a_call_alone_is_no_knowledge_of_what_others_bound() -> None:
    leadership = Leadership()
    leadership.called(NOW)
    assert not leadership.is_caught_up(NOW)


def test_a_replica_that_lost_leads_again_only_after_it_has_caught_up() -> None:
    leadership = Leadership()
    leadership.caught_up(NOW)
    assert leadership.leads(NOW)
    leadership.lost()
    assert not leadership.leads(NOW)
    assert not leadership.is_caught_up(NOW)


def test_a_clock_that_is_set_back_is_no_proof_that_calls_went_on() -> None:
    leadership = Leadership()
    leadership.caught_up(NOW)
    assert not leadership.is_caught_up(NOW - 1)


@given(st.lists(st.floats(0.0, 3 * UNBROKEN_S), max_size=20))
def test_knowledge_lasts_while_no_pause_is_as_long_as_a_change_of_leaders(pauses_s: list[float]) -> None:
    leadership, now = Leadership(), NOW
    leadership.caught_up(now)
    unbroken = True
    for pause_s in pauses_s:
        unbroken = unbroken and (now + pause_s) - now < UNBROKEN_S
        now += pause_s
        assert leadership.is_caught_up(now) is unbroken


def test_a_mark_stands_still_since_it_last_moved() -> None:
    mark = Standstill("", NOW)
    assert mark.age_s("", NOW + 3) == 3
    assert mark.age_s("b", NOW + 4) == 0
    assert mark.age_s("b", NOW + 9) == 5
    assert mark.age_s("c", NOW + 10) == 0


def test_only_the_first_mark_may_say_itself_when_it_was_made() -> None:
    mark: Standstill[float | None] = Standstill(None, NOW)
    assert mark.age_s(NOW - 50, NOW, first_s=NOW - 50) == 50
    assert mark.age_s(NOW - 40, NOW, first_s=NOW - 40) == 0
