"""Asks the API server whether this process has the rights it needs, before it finds out by failing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from extender.adapters.kubernetes.client import ApiClient, ApiError
from extender.objects.structs import DECODE_ERRORS, Projection
from extender.support.backoff import Sleep

CHECK_S: Final = 300.0
RECHECK_S: Final = 15.0
"""While a right is missing, or the API server did not say: a mended role is noticed soon."""

_PATH: Final = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Right:
    """One verb on one kind of object, and why it is needed.

    `resource` may name a subresource (`pods/binding`). An empty `namespace` means all of them, or an object
    that has none; an empty `name` means any.
    """

    verb: str
    resource: str
    purpose: str
    group: str = ""
    namespace: str = ""
    name: str = ""

    def __str__(self) -> str:
        resource = f"{self.resource}.{self.group}" if self.group else self.resource
        named = f" {self.name}" if self.name else ""
        where = f" in namespace {self.namespace}" if self.namespace else ""
        return f"{self.verb} {resource}{named}{where}"


class _Status(Projection):
    allowed: bool | None = None


class _Review(Projection):
    status: _Status | None = None


_DECODER: Final = msgspec.json.Decoder(_Review)


class RightsCheck:
    """Checks `rights` again and again; `missing` are those that the last look did not find.

    `looked` is set after the first look. A right that the API server does not answer for is not missing: the
    next look asks for it again.
    """

    def __init__(self, client: ApiClient, rights: Sequence[Right], *, sleep: Sleep = asyncio.sleep) -> None:
        self.missing: tuple[Right, ...] = ()
        self.looked = asyncio.Event()
        self._client = client
        self._rights = tuple(rights)
        self._sleep = sleep

    async def run(self) -> None:
        """Check for ever. Ends only by cancellation."""
        while True:
            answered = await self.check()
            await self._sleep(CHECK_S if answered and not self.missing else RECHECK_S)

    async def check(self) -> bool:
        """Look once; whether the API server answered all of it."""
        missing: list[Right] = []
        answered = True
        for right in self._rights:
            try:
                if not await self._allowed(right):
                    missing.append(right)
            except (ApiError, *DECODE_ERRORS) as problem:
                _log.info("the API server does not say whether we may %s: %s", right, problem)
                answered = False
                missing += [right] if right in self.missing else []
        for right in missing:
            if right not in self.missing:
                _log.error("missing right: %s (%s)", right, right.purpose)
        for right in self.missing:
            if right not in missing:
                _log.info("this right is there now: %s", right)
        self.missing = tuple(missing)
        self.looked.set()
        return answered

    async def _allowed(self, right: Right) -> bool:
        resource, _, sub = right.resource.partition("/")
        attributes = {"verb": right.verb, "group": right.group, "resource": resource, "subresource": sub}
        attributes |= {"namespace": right.namespace, "name": right.name}
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {key: value for key, value in attributes.items() if value}},
        }
        review = _DECODER.decode(await self._client.post(_PATH, msgspec.json.encode(body)))
        return bool((review.status or _Status()).allowed)
