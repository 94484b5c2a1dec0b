"""TokenReview: asked once for a token, remembered for a while, never telling the token to anybody."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from extender.adapters.kubernetes.sources import TooMany
from extender.adapters.kubernetes.tokens import (
    KNOWN_FOR_S,
    REFUSED_FOR_S,
    PodIdentity,
    ReviewFailed,
    TokenReviews,
    Unproven,
)
from extender.runtime.http.server import driver_server
from extender.settings.loading import load
from tests.cluster.apiserver import Fault, Proceed
from tests.drivers.support import TokenCluster
from tests.service.cluster import held_back

POD = PodIdentity("ns", "a-driver", "uid-a-driver")


class Reviewed(TokenReviews):
    """Reviews with a clock set by hand and results listed."""

    def __init__(self, client: Any, **options: Any) -> None:
        self.now = 1000.0
        self.results: list[str] = []
        super().__init__(client, ("carbon-scheduler",), lambda: self.now, self.results.append, **options)


@pytest.fixture
async def reviews(cluster: TokenCluster) -> AsyncIterator[Reviewed]:
    async with await cluster.client() as client:
        yield Reviewed(client)


def answering(body: bytes, code: int = 201) -> Fault:
    """A reply that is not what the API server should send."""

    async def fault(request: web.Request, proceed: Proceed) -> web.StreamResponse:
        del request, proceed
        return web.Response(body=body, status=code)

    return fault


async def test_a_bound_token_names_its_pod(cluster: TokenCluster, reviews: Reviewed) -> None:
    assert await reviews.identify(cluster.issue("a-driver")) == POD
    (asked,) = cluster.reviewed
    assert (asked["kind"], asked["apiVersion"]) == ("TokenReview", "authentication.k8s.io/v1")
    assert asked["spec"]["audiences"] == ["carbon-scheduler"]
    assert reviews.results == ["accepted"]


@pytest.mark.parametrize(
    ("user", "answer"),
    [
        ({"username": "system:serviceaccount:ns:spark"}, Unproven.UNBOUND),
        ({"username": "admin", "extra": {"authentication.kubernetes.io/pod-uid": ["u"]}}, Unproven.UNBOUND),
        ({"username": "system:serviceaccount:ns"}, Unproven.UNBOUND),
        ({"username": None}, Unproven.UNBOUND),
        ({}, Unproven.UNBOUND),
    ],
)
async def test_a_token_without_a_pod_names_none(
    cluster: TokenCluster, reviews: Reviewed, user: dict[str, Any], answer: Unproven
) -> None:
    cluster.users["t"] = user
    assert await reviews.identify("t") is answer


@pytest.mark.parametrize(
    "extra",
    [
        {"authentication.kubernetes.io/pod-name": ["a"]},
        {"authentication.kubernetes.io/pod-uid": ["u"]},
        {"authentication.kubernetes.io/pod-name": [], "authentication.kubernetes.io/pod-uid": ["u"]},
        {"authentication.kubernetes.io/pod-name": ["a"], "authentication.kubernetes.io/pod-uid": ["u", "v"]},
        {"authentication.kubernetes.io/pod-name": ["a"], "authentication.kubernetes.io/pod-uid": None},
        {"authentication.kubernetes.io/pod-name": ["a"], "authentication.kubernetes.io/pod-uid": [""]},
    ],
)
async def test_half_a_pod_is_none(cluster: TokenCluster, reviews: Reviewed, extra: dict[str, Any]) -> None:
    cluster.users["t"] = {"username": "system:serviceaccount:ns:spark", "extra": extra}
    assert await reviews.identify("t") is Unproven.UNBOUND


async def test_an_api_server_that_knows_no_audiences_proves_nothing(
    cluster: TokenCluster, reviews: Reviewed
) -> None:
    """It would accept any token for itself, such as one that another pod was given for another purpose."""
    token = cluster.issue("a-driver")
    user = web.json_response({"status": {"authenticated": True, "user": cluster.users[token]}}).body
    assert isinstance(user, bytes)
    cluster.faults["review"] = type(cluster.faults["get"])([answering(user)])
    assert await reviews.identify(token) is Unproven.INVALID


async def test_an_answer_is_remembered_for_a_while(cluster: TokenCluster, reviews: Reviewed) -> None:
    token = cluster.issue("a-driver")
    for _ in range(3):
        assert await reviews.identify(token) == POD
    reviews.now += KNOWN_FOR_S - 1
    assert await reviews.identify(token) == POD
    assert len(cluster.reviewed) == 1
    cluster.users.clear()  # revoked
    reviews.now += 1
    assert await reviews.identify(token) is Unproven.INVALID
    assert await reviews.identify(token) is Unproven.INVALID
    assert len(cluster.reviewed) == 2
    cluster.issue("a-driver")
    reviews.now += REFUSED_FOR_S
    assert await reviews.identify(token) == POD


async def test_many_calls_with_one_token_ask_once(cluster: TokenCluster, reviews: Reviewed) -> None:
    go_on, arrived = asyncio.Event(), asyncio.Event()
    cluster.faults["review"] = type(cluster.faults["get"])([held_back(go_on, arrived)])
    token = cluster.issue("a-driver")
    calls = [asyncio.create_task(reviews.identify(token)) for _ in range(20)]
    await arrived.wait()
    calls[0].cancel()  # hangs up; the others get their answer
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await calls[0]
    assert await asyncio.gather(*calls[1:]) == [POD] * 19
    assert len(cluster.reviewed) == 1


async def test_what_is_remembered_is_bounded(cluster: TokenCluster) -> None:
    async with await cluster.client() as client:
        reviews = Reviewed(client, most_known=2, most_refused=3)
        good = [cluster.issue(f"pod-{number}") for number in range(10)]
        for number in range(10):
            await reviews.identify(f"guess-{number}")
            await reviews.identify(good[number])
        assert len(reviews) == 2 + 3
        await reviews.identify("guess-9")
        await reviews.identify(good[9])
        assert len(cluster.reviewed) == 20


async def test_guesses_push_no_good_token_out(cluster: TokenCluster) -> None:
    async with await cluster.client() as client:
        reviews = Reviewed(client, most_known=2, most_refused=2)
        token = cluster.issue("a-driver")
        await reviews.identify(token)
        for number in range(20):
            await reviews.identify(f"guess-{number}")
        assert await reviews.identify(token) == POD
        assert len(cluster.reviewed) == 21


async def test_a_token_in_use_stays(cluster: TokenCluster) -> None:
    async with await cluster.client() as client:
        reviews = Reviewed(client, most_known=2)
        token = cluster.issue("a-driver")
        await reviews.identify(token)
        for number in range(5):
            await reviews.identify(cluster.issue(f"pod-{number}"))
            assert await reviews.identify(token) == POD
        assert len(cluster.reviewed) == 6


async def test_one_address_does_not_take_all_reviews(cluster: TokenCluster) -> None:
    go_on = asyncio.Event()
    cluster.faults["review"] = type(cluster.faults["get"])([held_back(go_on)] * 3)
    async with await cluster.client() as client:
        reviews = Reviewed(client, most_under_way=3, most_of_one_source=2)
        pending = [asyncio.create_task(reviews.identify(f"t{number}", "10.0.0.1")) for number in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(TooMany, match="being checked"):
            await reviews.identify("t2", "10.0.0.1")
        other = asyncio.create_task(reviews.identify(cluster.issue("a-driver"), "10.0.0.2"))
        go_on.set()
        assert await other == POD
        assert await asyncio.gather(*pending) == [Unproven.INVALID] * 2
        assert await reviews.identify("t2", "10.0.0.1") is Unproven.INVALID


async def test_an_address_that_keeps_guessing_is_not_listened_to_for_a_while(
    cluster: TokenCluster, reviews: Reviewed
) -> None:
    known = cluster.issue("a-driver")
    assert await reviews.identify(known, "10.0.0.1") == POD

    async def guess() -> None:
        for number in range(1_000):
            await reviews.identify(f"guess-{number}", "10.0.0.1")

    with pytest.raises(TooMany, match="not good") as refused:
        await guess()
    assert 10 <= len(cluster.reviewed) <= 100
    assert 0 < refused.value.retry_after_s <= REFUSED_FOR_S
    assert await reviews.identify(known, "10.0.0.1") == POD  # what is known needs no review
    assert await reviews.identify("guess-0", "10.0.0.1") is Unproven.INVALID
    assert await reviews.identify("guess-x", "10.0.0.2") is Unproven.INVALID
    reviews.now += REFUSED_FOR_S
    assert await reviews.identify("guess-y", "10.0.0.1") is Unproven.INVALID


async def test_who_was_good_before_is_heard_beside_one_that_guesses(
    cluster: TokenCluster, reviews: Reviewed
) -> None:
    """Drivers behind one address: nobody new is listened to for a while, but those that are known are."""
    good = cluster.issue("a-driver")
    assert await reviews.identify(good, "10.0.0.9") == POD
    reviews.now += KNOWN_FOR_S
    for number in range(50):
        assert await reviews.identify(f"guess-{number}", "10.0.0.9") is Unproven.INVALID
    with pytest.raises(TooMany):
        await reviews.identify("guess", "10.0.0.9")
    assert await reviews.identify(good, "10.0.0.9") == POD
    assert reviews.results.count("accepted") == 2, "reviewed, not remembered"


async def test_a_flood_of_tokens_does_not_reach_the_api_server(cluster: TokenCluster) -> None:
    go_on = asyncio.Event()
    cluster.faults["review"] = type(cluster.faults["get"])([held_back(go_on)] * 2)
    async with await cluster.client() as client:
        reviews = Reviewed(client, most_under_way=2)
        pending = [asyncio.create_task(reviews.identify(f"t{number}")) for number in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(ReviewFailed, match="too many tokens"):
            await reviews.identify("one more")
        go_on.set()
        assert await asyncio.gather(*pending) == [Unproven.INVALID] * 2
        assert await reviews.identify("one more") is Unproven.INVALID


@pytest.mark.parametrize("token", ["", "x" * 20_000, "t\xf6ken", "\udcff"])
async def test_what_cannot_be_a_token_is_not_asked_about(
    cluster: TokenCluster, reviews: Reviewed, token: str
) -> None:
    assert await reviews.identify(token) is Unproven.INVALID
    assert cluster.reviewed == []


@pytest.mark.parametrize(
    ("body", "code"),
    [(b"", 201), (b"[]", 201), (b'{"status": 3}', 201), (b"\xff", 201), (b"secret", 500), (b"secret", 403)],
)
async def test_an_api_server_that_does_not_answer_is_asked_again(
    cluster: TokenCluster,
    reviews: Reviewed,
    caplog: pytest.LogCaptureFixture,
    body: bytes,
    code: int,
) -> None:
    token = cluster.issue("a-driver")
    cluster.faults["review"] = type(cluster.faults["get"])([answering(body, code)])
    with caplog.at_level(logging.DEBUG, "extender"), pytest.raises(ReviewFailed) as failed:
        await reviews.identify(token)
    # Not even what the API server says of it.
    said = str(failed.value) + caplog.text
    assert token not in said
    assert "secret" not in said
    assert failed.value.retry_after_s > 0
    assert await reviews.identify(token) == POD
    assert reviews.results == ["failed", "accepted"]


async def test_no_token_is_kept(cluster: TokenCluster, reviews: Reviewed) -> None:
    token = cluster.issue("a-driver")
    await reviews.identify(token)
    assert token not in repr(vars(reviews))


@pytest.mark.parametrize(("address", "warned"), [("0.0.0.0", True), ("extender", True), ("127.0.0.1", False)])
def test_tokens_in_clear_are_warned_of(address: str, warned: bool, caplog: pytest.LogCaptureFixture) -> None:
    driver_server(None, load(None, {"drivers.port": "0", "drivers.address": address}))
    assert ("travel in clear" in caplog.text) is warned
