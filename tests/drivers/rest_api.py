"""The REST API of a driver, played."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


def stage(
    number: int, status: str = "ACTIVE", done: int = 0, attempt: int = 0, **more: Any
) -> dict[str, Any]:
    return {
        "status": status,
        "stageId": number,
        "attemptId": attempt,
        "numTasks": 8,
        "numCompleteTasks": done,
        "executorRunTime": 1000 * done,
        "executorDeserializeTime": 10 * done,
        "name": f"stage {number}",
        "rddIds": [number * 10, number * 10 + 5],
        "submissionTime": "2026-11-22T01:30:45.411GMT",
        "accumulatorUpdates": [{"id": 1, "name": "x", "value": "y"}],
        **more,
    }


@dataclass
class Driver:
    """Spark's REST API with the stages and jobs that a test gives it.

    `answers_left`: after so many answers it falls silent; None is never.
    """

    stages: list[dict[str, Any]] = field(default_factory=list)
    jobs: list[dict[str, Any]] = field(default_factory=list)
    reply: web.Response | None = None
    asked: list[str] = field(default_factory=list)
    port: int = 0
    answers_left: int | None = None

    async def serve(self, request: web.Request) -> web.Response:
        self.asked.append(request.path_qs)
        if self.answers_left is not None:
            if self.answers_left == 0:
                await asyncio.Event().wait()
            self.answers_left -= 1
        if self.reply is not None:
            return web.Response(
                status=self.reply.status, body=self.reply.body, headers=self.reply.headers.copy()
            )
        match request.path.split("/")[5:]:
            case ["jobs"]:
                return web.json_response(self.jobs)
            case ["stages"]:
                status = request.query["status"].upper()
                return web.json_response([each for each in self.stages if each["status"] == status])
            case ["stages", number, attempt]:
                for each in self.stages:
                    if (each["stageId"], each["attemptId"]) == (int(number), int(attempt)):
                        return web.json_response(each)
        return web.Response(status=404)
