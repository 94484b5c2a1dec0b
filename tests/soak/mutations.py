"""What the product does against each fault, and how to take it out: the simulation must find every one."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any, Final

import pytest

from extender.adapters.accounting.backlog import Backlog
from extender.adapters.carbon import answers
from extender.adapters.kubernetes.binding import Binder
from extender.adapters.kubernetes.client import ApiError
from extender.adapters.kubernetes.patience import Patience
from extender.adapters.kubernetes.reflector import Reflector
from extender.adapters.webhooks import wire
from extender.adapters.webhooks.calls import Calls
from extender.core.carbon import signal
from extender.core.carbon.start.flexibility import Flexibility
from extender.core.gangs import preemption
from extender.core.gangs.ownership import Ownership
from extender.core.pods import Pods
from extender.core.store import Store
from extender.runtime.handover import Handover
from extender.runtime.pod_checks import PodChecks
from tests.soak.plan import (
    Step,
    crowded,
    evicting,
    full_disk,
    garbage,
    handed_over,
    haunted,
    held,
    lied_to,
    overtaken,
    plan,
    rewritten,
    silent,
    slow,
    unknown_outcomes,
)

Patch = Callable[[pytest.MonkeyPatch], None]


def _returns(owner: Any, name: str, value: Any) -> Patch:
    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(owner, name, lambda *_args, **_options: value)

    return patch


def _no_catching_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def at_once(_: Handover) -> str:
        return ""

    monkeypatch.setattr(Handover, "__call__", at_once)


def _silence(monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = {**(Reflector.__init__.__kwdefaults__ or {}), "silence_s": 100_000.0}
    monkeypatch.setattr(Reflector.__init__, "__kwdefaults__", defaults)


def _fixed_time_outs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Patience, "timeout_s", property(lambda _: 3.0))


def _lies(monkeypatch: pytest.MonkeyPatch) -> None:
    _returns(Pods, "unconfirmed", False)(monkeypatch)
    _returns(Pods, "_correct", None)(monkeypatch)


def _filter_without_catching_up(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Calls.filter

    async def at_once(self: Calls, body: bytes) -> Any:
        catch_up, self._catch_up = self._catch_up, None
        try:
            return await original(self, body)  # never suspends without catching up
        finally:
            self._catch_up = catch_up

    monkeypatch.setattr(Calls, "filter", at_once)


def _changing_text(monkeypatch: pytest.MonkeyPatch) -> None:
    original, numbers = wire.refused, count()

    def refused(offered: Any, reason: str) -> bytes:
        return original(offered, f"{reason} ({next(numbers)})")

    monkeypatch.setattr(wire, "refused", refused)


def _all_victims(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preemption, "useful", lambda _state, _pod, victims: list(victims))


def _failures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ApiError, "outcome_unknown", property(lambda _: False))


def _gullible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "believed", lambda _: True)
    monkeypatch.setattr(signal, "believed", lambda _: True)


def _forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch is dropped when it cannot be written."""
    original = Backlog.write

    def write(self: Backlog, *, lead: bool) -> Any:
        problem = original(self, lead=lead)
        self._batches.clear()
        return problem

    monkeypatch.setattr(Backlog, "write", write)


def _held_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Flexibility.latest_start_s
    monkeypatch.setattr(Flexibility, "latest_start_s", lambda self, created_s: original(self, created_s) + 60)


MUTATIONS: Final[dict[str, tuple[Patch, Callable[[int], list[Step]]]]] = {
    "the caller of the webhooks is believed": (_lies, lied_to),
    "what the watch shows does not replace a lie": (_returns(Pods, "_correct", None), lied_to),
    "a silent watch is not noticed": (_silence, silent),
    "time-outs do not follow the answers": (_fixed_time_outs, slow),
    "a new leader does not catch up": (_no_catching_up, handed_over),
    "filter does not wait until a new leader has caught up": (_filter_without_catching_up, handed_over),
    "bind does not check the room again": (_returns(Store, "_room_lost", ""), crowded),
    "nothing is looked at before a Binding": (_returns(Binder, "_fits", None), overtaken),
    "a reservation that is lost is not written again": (_returns(Ownership, "rewrite", []), rewritten),
    "an unknown outcome counts as a failure": (_failures, unknown_outcomes),
    "whether a pod exists is not checked": (_returns(PodChecks, "submit", None), haunted),
    "the text of a refusal changes from call to call": (_changing_text, plan),
    "any value of the carbon service is believed": (_gullible, garbage),
    "carbon holds an application beyond what it allows": (_held_longer, held),
    "preemption does not ask whether it helps": (_all_victims, evicting),
    "what a full disk refuses is lost": (_forgotten, full_disk),
}
