"""Protocols that the webhooks need from other rooms. `service` provides them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from extender.core.events import Instruction
from extender.core.facts import PodFacts


@dataclass(frozen=True, slots=True)
class BindFailure:
    """Why a pod is not known to be bound. `outcome_unknown`: it may be bound nevertheless."""

    text: str
    outcome_unknown: bool = False


class BindingWriter(Protocol):
    """Writes Bindings at the API server."""

    async def bind(
        self, namespace: str, name: str, uid: str, node: str, annotations: Mapping[str, str]
    ) -> BindFailure | None:
        """Bind the pod and merge the annotations into it in one write; None means that it is bound."""
        ...


class PodUnread(Exception):
    """The API server did not say what a pod is; the text says why."""


class PodReader(Protocol):
    """Reads single pods from the API server."""

    async def read(self, namespace: str, name: str, uid: str) -> PodFacts | None:
        """The pod as it really is; None: there is none of this name and uid. Raises `PodUnread`."""
        ...


class CatchUp(Protocol):
    """Makes the caches at least as new as the moment in which kube-scheduler began to ask this replica."""

    async def __call__(self) -> str:
        """Returns once that is so: an empty text, or why it cannot be. Costs nothing while calls go on."""
        ...


class Perform(Protocol):
    """Carries out what the store asks for; returns at once."""

    def __call__(self, instructions: Iterable[Instruction], /) -> None: ...


class Observe(Protocol):
    """Takes note of one answered call: its verb, what it ended in, and how long it took in seconds."""

    def __call__(self, verb: str, outcome: str, duration_s: float, /) -> None: ...
