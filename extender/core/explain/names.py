"""Which application a person means: by id, by the name of a pod of it, or by its Spark application name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from extender.core.facts import GangKey, PodFacts
from extender.core.gangs.gang import Gang
from extender.core.state import State

_MOST_NAMED: Final = 5


@dataclass(frozen=True, slots=True)
class Found:
    """An application, and the pod of it that was named, where one was."""

    key: GangKey
    pod: PodFacts | None = None


@dataclass(frozen=True, slots=True)
class NotFound:
    """Nothing, or more than one thing, has this name; `text` says what to write instead."""

    text: str


def find(state: State, text: str, namespace: str = "") -> Found | NotFound:
    """The application that `text` names: NAME or NAMESPACE/NAME.

    Ids come first, then pods, then Spark application names: of several runs with one name, the one that waits
    or runs. The beginning of a name is enough where only one application has it.
    """
    if not namespace and "/" in text:
        namespace, _, text = text.partition("/")
    gangs = [gang for gang in state.gangs.values() if namespace in ("", gang.key.namespace)]
    for number, names in enumerate((_ids, _pods, _app_names)):
        hits = [(gang, pod) for gang in gangs for name, pod in names(gang) if name == text]
        if number == 2 and len({gang.key for gang, _ in hits}) > 1:
            hits = [hit for hit in hits if _lives(hit[0])] or hits
        if hits:
            return _only(hits, text)
    single = next(
        (pod for pod in state.pods.values() if pod.name == text and namespace in ("", pod.namespace)), None
    )
    if single is not None:
        why = single.label_problem or "it names no gang in its labels"
        return NotFound(f"pod {single.namespace}/{text} belongs to no application: {why}")
    begins = [
        (gang, pod)
        for gang in gangs
        for names in (_ids, _pods, _app_names)
        for name, pod in names(gang)
        if text and name.startswith(text)
    ]
    return _only(begins, text) if begins else NotFound(_unknown(gangs, text, namespace))


def _only(hits: list[tuple[Gang, PodFacts | None]], text: str) -> Found | NotFound:
    keys = sorted({gang.key for gang, _ in hits})
    if len(keys) == 1:
        pods = {pod.uid: pod for _, pod in hits if pod is not None}
        return Found(keys[0], next(iter(pods.values())) if len(pods) == 1 else None)
    more = f" and {len(keys) - _MOST_NAMED} more" if len(keys) > _MOST_NAMED else ""
    return NotFound(f"{text!r} may be {', '.join(map(str, keys[:_MOST_NAMED]))}{more}: name one of them")


def _unknown(gangs: list[Gang], text: str, namespace: str) -> str:
    known = {name for gang in gangs for names in (_ids, _app_names, _leaders) for name, _ in names(gang)}
    close = get_close_matches(text, known, n=3)
    where = f" in namespace {namespace}" if namespace else ""
    hint = f": did you mean {' or '.join(close)}?" if close else "; see `carbon-scheduler top`"
    return f"no application or pod {text!r} is known{where}{hint}"


def _lives(gang: Gang) -> bool:
    return gang.owner is not None or any(leader.waiting for leader in gang.leaders.values())


def _ids(gang: Gang) -> Iterator[tuple[str, PodFacts | None]]:
    yield gang.key.app_id, None


def _leaders(gang: Gang) -> Iterator[tuple[str, PodFacts | None]]:
    return ((pod.name, pod) for pod in gang.leaders.values())


def _pods(gang: Gang) -> Iterator[tuple[str, PodFacts | None]]:
    return ((pod.name, pod) for pod in (*gang.leaders.values(), *gang.workers.values()))


def _app_names(gang: Gang) -> Iterator[tuple[str, PodFacts | None]]:
    return ((pod.app_name, None) for pod in gang.leaders.values() if pod.app_name)
