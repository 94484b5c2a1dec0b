"""What the product does against each fault, and how to take it out: the simulation must find every one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest

from extender.adapters.kubernetes.patience import Patience
from extender.adapters.kubernetes.reflector import Reflector
from extender.core.handlers import Changes
from extender.runtime.handover import Handover
from tests.soak.plan import Step, handed_over, plan

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
    _returns(Changes, "unconfirmed", False)(monkeypatch)
    _returns(Changes, "_unsay", None)(monkeypatch)


MUTATIONS: Final[dict[str, tuple[Patch, Callable[[int], list[Step]]]]] = {
    "the caller of the webhooks is believed": (_lies, plan),
    "what the watch shows does not replace a lie": (_returns(Changes, "_unsay", None), plan),
    "a silent watch is not noticed": (_silence, plan),
    "time-outs do not follow the answers": (_fixed_time_outs, plan),
    "a new leader does not catch up": (_no_catching_up, handed_over),
}
