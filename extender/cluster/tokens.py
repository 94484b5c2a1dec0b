"""Who sends a bearer token: the API server is asked by TokenReview, and its answer remembered for a minute.

Only tokens that are bound to a pod say who that is (projected `serviceAccountToken` volumes). A token is
never kept, logged or put into an error: what is remembered goes by its SHA-256.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec

from extender.cluster.client import ApiClient, ApiError
from extender.kube.objects import DECODE_ERRORS, Projection

KNOWN_FOR_S: Final = 60.0
REFUSED_FOR_S: Final = 10.0

_PATH: Final = "/apis/authentication.k8s.io/v1/tokenreviews"
_POD_NAME: Final = "authentication.kubernetes.io/pod-name"
_POD_UID: Final = "authentication.kubernetes.io/pod-uid"
_ACCOUNT: Final = "system:serviceaccount:"
_LONGEST_TOKEN: Final = 16 * 1024
_MOST_KNOWN: Final = 10_000
_MOST_UNDER_WAY: Final = 64
_PATIENCE_S: Final = 2.5  # the agent waits for three seconds
_RETRY_S: Final = 2.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PodIdentity:
    """The pod that a token was issued to."""

    namespace: str
    name: str
    uid: str


class Unproven(StrEnum):
    """Why a token does not name a pod.

    invalid  the API server does not accept it, or not for an audience of ours
    unbound  it is good, but not bound to a pod
    """

    INVALID = "invalid"
    UNBOUND = "unbound"


class ReviewFailed(Exception):
    """The API server did not say; the text tells why. Ask again after `retry_after_s` seconds."""

    def __init__(self, text: str, retry_after_s: float = _RETRY_S) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class _User(Projection):
    username: str | None = None
    extra: dict[str, list[str] | None] | None = None


class _Status(Projection):
    authenticated: bool | None = None
    user: _User | None = None
    audiences: list[str] | None = None


class _Review(Projection):
    status: _Status | None = None


_DECODER: Final = msgspec.json.Decoder(_Review)

Answer = PodIdentity | Unproven


class TokenReviews:
    """Asks once for each token, however many requests carry it at a time.

    `audiences`: what a token must have been issued for, one of them. `clock` gives seconds. `observe` is
    told of every review: `accepted`, `invalid`, `unbound` or `failed`.
    """

    def __init__(
        self,
        client: ApiClient,
        audiences: Sequence[str],
        clock: Callable[[], float],
        observe: Callable[[str], None],
        *,
        most_known: int = _MOST_KNOWN,
        most_under_way: int = _MOST_UNDER_WAY,
    ) -> None:
        self._client = client
        self._audiences = tuple(audiences)
        self._clock = clock
        self._observe = observe
        self._most_known = most_known
        self._most_under_way = most_under_way
        self._known: OrderedDict[bytes, tuple[float, Answer]] = OrderedDict()
        self._under_way: dict[bytes, asyncio.Task[Answer]] = {}

    def __len__(self) -> int:
        """Tokens remembered."""
        return len(self._known)

    async def identify(self, token: str) -> Answer:
        """The pod behind a token, or why it names none.

        Raises:
            ReviewFailed: the API server cannot be asked now.
        """
        if not 0 < len(token) <= _LONGEST_TOKEN or not token.isascii():
            return Unproven.INVALID
        digest = hashlib.sha256(token.encode()).digest()
        until_s, answer = self._known.get(digest, (0.0, Unproven.INVALID))
        if self._clock() < until_s:
            return answer
        review = self._under_way.get(digest)
        if review is None:
            if len(self._under_way) >= self._most_under_way:
                raise ReviewFailed("too many tokens are being checked; try again")
            review = asyncio.create_task(self._review(digest, token))
            self._under_way[digest] = review
            review.add_done_callback(lambda done: self._reviewed(digest, done))
        # One caller that hangs up must not take the answer away from the others.
        return await asyncio.shield(review)

    def _reviewed(self, digest: bytes, review: asyncio.Task[Answer]) -> None:
        self._under_way.pop(digest, None)
        if not review.cancelled():
            review.exception()  # looked at, also where every caller has gone

    async def _review(self, digest: bytes, token: str) -> Answer:
        body = msgspec.json.encode(
            {
                "apiVersion": "authentication.k8s.io/v1",
                "kind": "TokenReview",
                "spec": {"token": token, "audiences": self._audiences},
            }
        )
        try:
            reply = await self._client.post(_PATH, body, timeout_s=_PATIENCE_S)
            answer = self._read(reply)
        except ApiError as problem:
            self._observe("failed")
            # Without the API server's words: it was sent a token.
            text = f"{problem.status or 'no answer'} {problem.reason}"
            _log.warning("a driver's token could not be checked (tokenreviews): %s", text)
            if problem.status == 403:
                text += "; grant the extender create on tokenreviews (manifests/rbac)"
            raise ReviewFailed(f"the token cannot be checked now: {text}") from None
        except DECODE_ERRORS:
            self._observe("failed")
            raise ReviewFailed("the token cannot be checked now: the answer is no TokenReview") from None
        self._observe(str(answer) if isinstance(answer, Unproven) else "accepted")
        self._remember(digest, answer)
        return answer

    def _read(self, reply: bytes) -> Answer:
        status = _DECODER.decode(reply).status or _Status()
        # A server that knows no audiences answers none: then nothing says that the token is meant for us.
        if not status.authenticated or not set(status.audiences or ()) & set(self._audiences):
            return Unproven.INVALID
        user = status.user or _User()
        namespace, _, account = (user.username or "").removeprefix(_ACCOUNT).partition(":")
        extra = user.extra or {}
        name, uid = _only(extra.get(_POD_NAME)), _only(extra.get(_POD_UID))
        if not (user.username or "").startswith(_ACCOUNT) or not (namespace and account and name and uid):
            return Unproven.UNBOUND
        return PodIdentity(namespace, name, uid)

    def _remember(self, digest: bytes, answer: Answer) -> None:
        known_for_s = KNOWN_FOR_S if isinstance(answer, PodIdentity) else REFUSED_FOR_S
        self._known[digest] = (self._clock() + known_for_s, answer)
        self._known.move_to_end(digest)
        while len(self._known) > self._most_known:
            self._known.popitem(last=False)


def _only(values: Sequence[str] | None) -> str:
    return values[0] if values is not None and len(values) == 1 else ""
