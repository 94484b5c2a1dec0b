"""An API server that knows tokens, a service with a port for drivers, and a driver that calls it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web

from extender.runtime.service import Service
from tests.cluster.apiserver import Object, status
from tests.service.cluster import Client, Cluster, driver, driver_config_map, ready

TOKEN_REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"


class TokenCluster(Cluster):
    """The test API server with TokenReview. `users` are the users of good tokens for our audience."""

    def __init__(self) -> None:
        super().__init__()
        self.users: dict[str, Object] = {}
        self.audiences = ["carbon-scheduler"]
        self.reviewed: list[Object] = []
        self.refuse: web.Response | None = None

    def _route(self, request: web.Request) -> Any:
        if request.path == TOKEN_REVIEWS:
            return "review", self._review_token
        return super()._route(request)

    async def _review_token(self, request: web.Request) -> web.StreamResponse:
        review = await request.json()
        self.reviewed.append(review)
        if self.refuse is not None:
            return status(self.refuse.status, "Refused", "as the test wants")
        user = self.users.get(review["spec"]["token"])
        known = [each for each in review["spec"]["audiences"] if each in self.audiences]
        good = user is not None and bool(known)
        found = {"authenticated": True, "user": user, "audiences": known} if good else {"error": "no"}
        return web.json_response({**review, "status": found}, status=201)

    def issue(self, pod: str, *, namespace: str = "ns", uid: str = "") -> str:
        """A token bound to a pod."""
        token = f"token-of-{namespace}-{pod}"
        extra = {
            "authentication.kubernetes.io/pod-name": [pod],
            "authentication.kubernetes.io/pod-uid": [uid or f"uid-{pod}"],
        }
        self.users[token] = {"username": f"system:serviceaccount:{namespace}:spark", "extra": extra}
        return token


class Driver:
    """What the agent of one driver does."""

    def __init__(self, session: aiohttp.ClientSession, url: str, app: str, token: str) -> None:
        self.session = session
        self.url = f"{url}/v1/applications/ns/{app}"
        self.token = token

    async def post(
        self, body: bytes, token: str | None = None, **headers: str
    ) -> tuple[int, Any, dict[str, str]]:
        headers = {"Content-Type": "application/json", **headers}
        headers |= {"Authorization": f"Bearer {self.token if token is None else token}"}
        async with self.session.post(f"{self.url}/events", data=body, headers=headers) as answer:
            return answer.status, await answer.json(), dict(answer.headers)

    async def tell(self, number: int, *events: Object, process: str = "p1", dropped: int = 0) -> Object:
        """Report a batch; the answer."""
        code, answer, _ = await self.post(batch(number, *events, process=process, dropped=dropped))
        assert code == 200, answer
        return answer

    async def get(self, below: str = "", token: str | None = None) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {self.token if token is None else token}"}
        async with self.session.get(self.url + below, headers=headers) as answer:
            return answer.status, await answer.json()


def batch(number: int, *events: Object, process: str = "p1", dropped: int = 0) -> bytes:
    """A batch's body."""
    message = {"agent": 1, "driver": process, "batch": number, "dropped": dropped, "events": events}
    return json.dumps(message).encode()


def stage(number: int, *parents: int, tasks: int = 4, **more: Any) -> Object:
    """A stage as the agent describes it; its last RDD has ten times its number."""
    return {
        "stage_id": number,
        "attempt": 0,
        "name": f"stage {number}",
        "tasks": tasks,
        "parent_ids": parents,
        "rdd_ids": [10 * number, 10 * number - 1],
        **more,
    }


def job(number: int, *stages: Object) -> Object:
    """A job starts."""
    return {"type": "JobStart", "job_id": number, "time_ms": 1_000, "stages": stages}


def submitted(described: Object) -> Object:
    """A stage starts."""
    return {"type": "StageSubmitted", "stage": {**described, "submitted_ms": 2_000}}


def progress(number: int, succeeded: int, duration_ms: int) -> Object:
    """Tasks of a stage ended."""
    return {
        "type": "TaskProgress",
        "stage_id": number,
        "attempt": 0,
        "succeeded": succeeded,
        "failed": 0,
        "duration_ms": duration_ms,
    }


DIAMOND = (stage(0), stage(1, 0, tasks=20), stage(2, 0, tasks=2), stage(3, 1, 2))


@asynccontextmanager
async def listening(
    cluster: TokenCluster, names: list[str], *apps: str, **flags: str
) -> AsyncIterator[tuple[Service, Client, list[Driver]]]:
    """A service with a port for drivers, and running drivers of these applications."""
    async with ready(cluster, drivers__port="0", **flags) as (service, client):
        drivers: list[Driver] = []
        async with aiohttp.ClientSession() as session:
            for app in apps:
                cluster.put("configmaps", driver_config_map(app, 2))
                cluster.put("pods", driver(app))
                (node,) = (await client.filter(driver(app), names)).names or [""]
                assert await client.bind(driver(app), node) == ""
                url = f"http://127.0.0.1:{service.ports[-1]}"
                drivers.append(Driver(session, url, app, cluster.issue(f"{app}-driver")))
            yield service, client, drivers
