"""Kubernetes Events about pods, written behind the decisions. An Event that cannot be written is dropped."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

import msgspec

from extender.adapters.kubernetes.client import ApiClient, ApiError
from extender.support.seldom import SeldomLogger

_MOST_WAITING: Final = 1_000
_LONGEST_NOTE: Final = 1_000  # the API server takes 1,024 bytes
_LONGEST_NAME: Final = 230
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PodEvent:
    """One Event: about which pod, a reason in CamelCase, and a sentence."""

    namespace: str
    pod: str
    uid: str
    reason: str
    note: str
    at_s: float
    warning: bool = False

    @property
    def name(self) -> str:
        """The same for the same news about the same pod, whichever replica writes it."""
        digest = hashlib.sha256(f"{self.uid}/{self.reason}/{self.note}".encode()).hexdigest()[:16]
        return f"{self.pod[:_LONGEST_NAME]}.{digest}"


class EventWriter:
    """Writes Events one after the other. `instance` names this replica. Never raises, and nothing waits."""

    def __init__(self, client: ApiClient, instance: str) -> None:
        self._client = client
        self._instance = instance
        self._log = SeldomLogger(_log)
        self._waiting: OrderedDict[str, PodEvent] = OrderedDict()
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def submit(self, event: PodEvent) -> None:
        """Queue an Event for `run` to write; of too many the oldest are dropped."""
        self._waiting[event.name] = event
        while len(self._waiting) > _MOST_WAITING:
            self._waiting.popitem(last=False)
        self._idle.clear()
        self._work.set()

    async def idle(self) -> None:
        """Wait until everything submitted was written or dropped."""
        await self._idle.wait()

    async def run(self) -> None:
        """Write what is submitted, for ever. Ends only by cancellation."""
        while True:
            if not self._waiting:
                self._idle.set()
                self._work.clear()
                await self._work.wait()
                continue
            _, event = self._waiting.popitem(last=False)
            await self._write(event)

    async def _write(self, event: PodEvent) -> None:
        path = f"/apis/events.k8s.io/v1/namespaces/{quote(event.namespace, safe='')}/events"
        moment = datetime.fromtimestamp(event.at_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        body = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": event.name, "namespace": event.namespace},
            "eventTime": moment,
            "type": "Warning" if event.warning else "Normal",
            "reason": event.reason,
            "action": "Scheduling",
            "note": event.note[:_LONGEST_NOTE],
            "regarding": {
                "apiVersion": "v1",
                "kind": "Pod",
                "namespace": event.namespace,
                "name": event.pod,
                "uid": event.uid,
            },
            "reportingController": "carbon-scheduler/extender",
            "reportingInstance": self._instance,
        }
        try:
            await self._client.post(path, msgspec.json.encode(body))
        except ApiError as problem:
            if problem.status != 409:  # it is there already: another replica, or we before a restart
                self._log.warning(
                    "the Event %s of pod %s/%s was not written: %s",
                    event.reason,
                    event.namespace,
                    event.pod,
                    problem,
                )
