"""How much one driver may say in a time."""

from __future__ import annotations

import pytest

from extender.adapters.api.pace import Pace
from tests.drivers.support import DIAMOND, TokenCluster, batch, job, listening, stage

KIB = 1024


def test_a_budget_is_used_up_and_fills_again():
    now = [1e9]
    pace: Pace[str] = Pace(lambda: now[0], burst_bytes=100 * KIB, refill_s=10.0)
    assert pace.wait_s("a") == 0.0
    pace.said("a", 60 * KIB)
    assert pace.wait_s("a") == 0.0
    pace.said("a", 60 * KIB)
    assert pace.wait_s("a") == pytest.approx(2.0)
    assert pace.wait_s("b") == 0.0
    now[0] += 2.0
    assert pace.wait_s("a") == pytest.approx(0.0)
    now[0] += 1_000.0
    pace.said("a", 101 * KIB)  # never more than the burst is saved up
    assert pace.wait_s("a") == pytest.approx(0.1)


def test_empty_reports_cost_too_and_a_clock_set_back_does_no_harm():
    now = [1e9]
    pace: Pace[str] = Pace(lambda: now[0], burst_bytes=100 * KIB, refill_s=10.0)
    for _ in range(10):
        pace.said("a", 0)
    waits_s = pace.wait_s("a")
    assert waits_s > 5.0
    now[0] -= 1_000.0
    assert pace.wait_s("a") == waits_s


def test_what_is_remembered_is_bounded():
    pace: Pace[int] = Pace(lambda: 0.0, burst_bytes=KIB, refill_s=1.0)
    for number in range(6_000):
        pace.said(number, 0)
    assert len(pace) == 5_000
    assert pace.wait_s(5_999) > 0


async def test_a_driver_that_reports_without_end_is_asked_to_wait_and_others_are_not(
    cluster: TokenCluster, names: list[str]
) -> None:
    limit = 1 << 20
    async with listening(cluster, names, "a", "b", drivers__max_report_bytes=str(limit)) as (
        _,
        _,
        (busy, other),
    ):
        padding = b" " * (limit - 10_000)
        codes: list[int] = []
        for number in range(1, 100):
            code, reply, headers = await busy.post(batch(number) + padding)
            codes.append(code)
            if code == 429:
                assert "too much" in reply["detail"]
                assert int(headers["Retry-After"]) >= 1
                break
        assert 2 <= codes.count(200) <= 20
        assert codes[-1] == 429
        for below in ("", "/stages/priority"):
            assert (await busy.get(below))[0] == 429
        await other.tell(1, job(0, *DIAMOND))


async def test_answers_and_reports_that_are_too_long_count_too(
    cluster: TokenCluster, names: list[str]
) -> None:
    async with listening(cluster, names, "a", "b", drivers__max_report_bytes="100000") as (
        _,
        _,
        (asks, sends),
    ):
        for number in range(4):
            await asks.tell(
                number + 1,
                job(number, *(stage(1_000 * number + each, tasks=1) for each in range(250))),
            )
        codes = [(await asks.get())[0] for _ in range(30)]
        assert codes[0] == 200
        assert 429 in codes
        codes = [(await sends.post(b" " * 150_000))[0] for _ in range(40)]
        assert codes[0] == 413
        assert 429 in codes  # the budget fills again by the second, so the last one may pass
