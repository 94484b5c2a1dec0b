"""A problem is said once; waits between attempts grow."""

from __future__ import annotations

import logging
from contextlib import nullcontext

import pytest

from extender.support.backoff import Backoff, retried
from extender.support.problems import Problems

LOG = logging.getLogger("tests.problems")


def test_a_problem_is_logged_when_it_comes_changes_or_comes_back(caplog: pytest.LogCaptureFixture):
    problems = Problems(LOG, "%s is away: %s")
    for text in ("slow", "slow", "gone", "slow", "gone"):
        problems.report("ledger", text)
    assert caplog.messages == ["ledger is away: slow", "ledger is away: gone"]
    assert problems.current == {"ledger": "gone"}
    problems.solved("ledger")
    assert problems.current == {}
    problems.report("ledger", "gone")
    assert caplog.messages[2:] == ["ledger is away: gone"]


def test_problems_of_many_texts_are_not_kept_without_bound(caplog: pytest.LogCaptureFixture):
    problems = Problems(LOG)
    for number in range(1000):
        problems.report("ledger", f"failed at {number}")
    assert len(caplog.messages) == 1000
    assert problems.current == {"ledger": "failed at 999"}


def test_a_problem_without_words_has_its_kind_and_none_has_a_password():
    problems = Problems(LOG)
    problems.report("a", TimeoutError())
    problems.report("b", "http://me:secret@host is away")
    assert problems.current == {"a": "TimeoutError", "b": "http://***@host is away"}


def test_pauses_double_up_to_the_longest_and_begin_again_after_success():
    backoff = Backoff(1.0, 5.0, draw=lambda: 1.0)
    assert [backoff.next_s() for _ in range(4)] == [1.0, 2.0, 4.0, 5.0]
    assert backoff.next_s(at_least_s=60.0) == 60.0
    backoff.reset()
    assert backoff.next_s() == 1.0


class _Refused(Exception):
    pass


class _Gone(Exception):
    pass


@pytest.mark.parametrize(
    ("outcomes", "attempts", "raises", "calls"),
    [
        (["ok"], 2, None, 1),
        ([_Refused(), "ok"], 2, None, 2),
        ([_Refused(), _Refused(), "ok"], 2, _Refused, 2),
        ([_Refused(), _Refused(), "ok"], 3, None, 3),
        ([_Gone(), "ok"], 3, _Gone, 1),
    ],
    ids=["works", "works the second time", "fails too often", "works the last time", "another problem"],
)
async def test_an_attempt_is_repeated_for_the_problems_that_may_pass(
    outcomes: list[object], attempts: int, raises: type[Exception] | None, calls: int
):
    made: list[object] = []

    async def work() -> object:
        made.append(outcomes[len(made)])
        if isinstance(made[-1], Exception):
            raise made[-1]
        return made[-1]

    with nullcontext() if raises is None else pytest.raises(raises):
        assert await retried(work, _Refused, lambda _: True, attempts=attempts) == "ok"
    assert len(made) == calls


async def test_a_problem_that_will_not_pass_is_raised_at_once():
    calls = 0

    async def work() -> None:
        nonlocal calls
        calls += 1
        raise _Refused

    with pytest.raises(_Refused):
        await retried(work, _Refused, lambda _: False, attempts=5)
    assert calls == 1
