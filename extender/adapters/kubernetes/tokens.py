"""Callers behind bearer tokens: the API server reviews a token, and its answer is remembered for a minute.

Refusals are remembered apart and shorter, so that guesses push no good token out; and an address that keeps
guessing is not listened to for a while, so that it takes neither our reviews nor the API server's time. Many
drivers may share an address, so a token that was good within the hour is asked about all the same.

Only tokens that are bound to a pod say who that is (projected `serviceAccountToken` volumes). A token is
never kept, logged or put into an error: what is remembered goes by its SHA-256.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Generic, TypeVar

import msgspec

from extender.adapters.kubernetes.client import ApiClient, ApiError
from extender.adapters.kubernetes.sources import Shares
from extender.objects.structs import DECODE_ERRORS, Projection

KNOWN_FOR_S: Final = 60.0
_FAMILIAR_FOR_S: Final = 3600.0
REFUSED_FOR_S: Final = 10.0

_PATH: Final = "/apis/authentication.k8s.io/v1/tokenreviews"
_POD_NAME: Final = "authentication.kubernetes.io/pod-name"
_POD_UID: Final = "authentication.kubernetes.io/pod-uid"
_ACCOUNT: Final = "system:serviceaccount:"
_LONGEST_TOKEN: Final = 16 * 1024
_MOST_KNOWN: Final = 10_000
_MOST_REFUSED: Final = 2_000
_MOST_UNDER_WAY: Final = 64
_OF_STRANGERS: Final = 0.75  # of those under way; the rest is left to tokens that were good before
_MOST_OF_ONE_SOURCE: Final = 16  # of those under way
_MOST_REFUSED_OF_ONE_SOURCE: Final = 50  # in `REFUSED_FOR_S`
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

    invalid  the API server does not accept it, or not for our audiences
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


T = TypeVar("T")


class _Table(Generic[T]):
    """Answers by digest, each up to a time; those not asked for the longest time make room."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._answers: OrderedDict[bytes, tuple[float, T]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, digest: bytes, now: float) -> T | None:
        until_s, answer = self._answers.get(digest, (0.0, None))
        if answer is None:
            return None
        if now >= until_s:
            del self._answers[digest]
            return None
        self._answers.move_to_end(digest)
        return answer

    def put(self, digest: bytes, answer: T, until_s: float) -> None:
        self._answers[digest] = (until_s, answer)
        self._answers.move_to_end(digest)
        while len(self._answers) > self._most:
            self._answers.popitem(last=False)


class TokenReviews:
    """Asks once for each token, however many requests carry it at a time.

    A token must have been issued for one of `audiences`. `clock` gives seconds. Every review calls `observe`
    with `accepted`, `invalid`, `unbound` or `failed`.
    """

    def __init__(
        self,
        client: ApiClient,
        audiences: Sequence[str],
        clock: Callable[[], float],
        observe: Callable[[str], None],
        *,
        most_known: int = _MOST_KNOWN,
        most_refused: int = _MOST_REFUSED,
        most_under_way: int = _MOST_UNDER_WAY,
        most_of_one_source: int = _MOST_OF_ONE_SOURCE,
    ) -> None:
        self._client = client
        self._audiences = tuple(audiences)
        self._clock = clock
        self._observe = observe
        self._known: _Table[PodIdentity] = _Table(most_known)
        self._familiar: _Table[bool] = _Table(most_known)
        self._refused: _Table[Unproven] = _Table(most_refused)
        self._most_under_way = most_under_way
        self._under_way: dict[bytes, asyncio.Task[Answer]] = {}
        self._shares = Shares(
            clock,
            at_once=most_of_one_source,
            most_refused=_MOST_REFUSED_OF_ONE_SOURCE,
            refused_for_s=REFUSED_FOR_S,
        )

    def __len__(self) -> int:
        """Tokens remembered, good and others."""
        return len(self._known) + len(self._refused)

    async def identify(self, token: str, source: str = "") -> Answer:
        """The pod behind a token that came from an address, or why it names none.

        Raises:
            ReviewFailed: the API server cannot be asked now.
            TooMany: this address asks too much.
        """
        if not 0 < len(token) <= _LONGEST_TOKEN or not token.isascii():
            return Unproven.INVALID
        digest = hashlib.sha256(token.encode()).digest()
        now = self._clock()
        answer = self._known.get(digest, now) or self._refused.get(digest, now)
        if answer is not None:
            return answer
        review = self._under_way.get(digest)
        if review is None:
            familiar = self._familiar.get(digest, now) is not None
            if len(self._under_way) >= self._most_under_way * (1.0 if familiar else _OF_STRANGERS):
                raise ReviewFailed("too many tokens are being checked; try again")
            share = ExitStack()
            if not familiar:
                share.enter_context(self._shares.taken(source))
            review = asyncio.create_task(self._review(digest, token, source))
            self._under_way[digest] = review
            review.add_done_callback(lambda done: self._reviewed(digest, done, share))
        # One caller that hangs up must not take the answer away from the others.
        return await asyncio.shield(review)

    def _reviewed(self, digest: bytes, review: asyncio.Task[Answer], share: ExitStack) -> None:
        self._under_way.pop(digest, None)
        share.close()
        if not review.cancelled():
            review.exception()  # looked at, also where every caller has gone

    async def _review(self, digest: bytes, token: str, source: str) -> Answer:
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
        self._remember(digest, answer, source)
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

    def _remember(self, digest: bytes, answer: Answer, source: str) -> None:
        if isinstance(answer, PodIdentity):
            self._observe("accepted")
            self._known.put(digest, answer, self._clock() + KNOWN_FOR_S)
            self._familiar.put(digest, True, self._clock() + _FAMILIAR_FOR_S)
        else:
            self._observe(str(answer))
            self._refused.put(digest, answer, self._clock() + REFUSED_FOR_S)
            self._shares.refused(source)


def _only(values: Sequence[str] | None) -> str:
    return values[0] if values is not None and len(values) == 1 else ""
