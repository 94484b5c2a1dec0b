"""Rounds of questions to drivers: one that is slow keeps no other one waiting."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from extender.adapters.spark.patience import Patience
from extender.adapters.spark.polls import Polls
from tests.drivers.rest_api import Driver as RestApi
from tests.drivers.rest_api import stage as rest_stage
from tests.drivers.sources import KEY, OTHER, world
from tests.drivers.support import TokenCluster
from tests.patience import PATIENCE_S


class Asked:
    """Drivers that answer when told, and who was asked."""

    def __init__(self) -> None:
        self.answered: list[str] = []
        self.begun: list[str] = []
        self.go_on = asyncio.Event()

    def slow(self, name: str) -> Callable[[], Awaitable[None]]:
        async def ask() -> None:
            self.begun.append(name)
            await self.go_on.wait()
            self.answered.append(name)

        return ask

    def quick(self, name: str) -> Callable[[], Awaitable[None]]:
        async def ask() -> None:
            self.answered.append(name)

        return ask


async def test_a_slow_one_goes_on_beside_the_next_rounds_and_is_asked_once():
    asked, polls = Asked(), Polls[str](round_s=0.05)
    for _ in range(3):
        await polls.round({"slow": asked.slow("slow"), "quick": asked.quick("quick")})
    assert asked.answered == ["quick"] * 3
    assert asked.begun == ["slow"]
    asked.go_on.set()
    await polls.round({})
    assert asked.answered[-1] == "slow"
    assert len(polls) == 0


async def test_a_round_ends_when_all_have_answered():
    asked, polls = Asked(), Polls[str](round_s=1_000.0)
    asked.go_on.set()
    async with asyncio.timeout(PATIENCE_S):
        await polls.round({"a": asked.slow("a"), "b": asked.quick("b")})
    assert sorted(asked.answered) == ["a", "b"]


async def test_so_many_are_asked_at_once():
    asked, polls = Asked(), Polls[str](at_once=2, round_s=0.05)
    await polls.round({name: asked.slow(name) for name in "abcde"})
    assert asked.begun == ["a", "b"]
    asked.go_on.set()
    await polls.round({})
    assert sorted(asked.answered) == list("abcde")


async def test_what_fails_is_logged_and_asked_again(caplog: pytest.LogCaptureFixture):
    asked, polls = Asked(), Polls[str]()

    async def fail() -> None:
        raise RuntimeError("as the test wants")

    await polls.round({"a": fail, "b": asked.quick("b")})
    assert "as the test wants" in caplog.text
    await polls.round({"a": asked.quick("a")})
    assert asked.answered == ["b", "a"]


async def test_closing_gives_up_what_is_under_way(caplog: pytest.LogCaptureFixture):
    asked, polls = Asked(), Polls[str](round_s=0.05)
    with caplog.at_level(logging.DEBUG):
        await polls.round({"a": asked.slow("a")})
        polls.close()
        await polls.round({})
    assert len(polls) == 0
    assert (asked.answered, caplog.text) == ([], "")


def test_what_takes_long_is_done_for_a_tenth_of_the_time():
    patience = Patience(0.0)
    patience.worked(100.0, 0.9)
    assert patience.due_s <= 100.0
    patience.worked(100.0, 8.0)
    assert patience.due_s == 100.0 + 9 * 8.0


async def test_a_driver_that_does_not_answer_keeps_no_other_application_waiting(
    cluster: TokenCluster, names: list[str]
):
    api, go_on = RestApi(), asyncio.Event()

    async def serve(request: web.Request) -> web.Response:
        if "/applications/a/" in request.path:
            await go_on.wait()
        return await api.serve(request)

    application = web.Application()
    application.router.add_get("/{path:.*}", serve)
    async with (
        TestServer(application) as server,
        world(
            cluster, names, "a", "b", stages__driver_rest__enabled=True, stages__driver_rest__port=server.port
        ) as (made, http),
    ):
        for done in (1, 2, 3):
            api.stages = [rest_stage(4, done=done)]
            await made.sources.ask_drivers(http)
            assert made.stages(OTHER) == {4: done}
            assert made.stages(KEY) == {}
        go_on.set()
