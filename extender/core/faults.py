"""The one place that catches exceptions of the core: a gang that cannot be judged costs itself only.

Every step that looks at one gang, pod, node or observer runs through `Faults.guard`. When the step raises,
the state is put in order, the fault is counted and kept for `/healthz` and explain, and the subject is left
alone until it is tried again: after 1 s, then 2, 4, ... up to 60 s.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeVar

from extender.core.facts import GangKey, PodFacts

T = TypeVar("T")

_FIRST_RETRY_S: Final = 1.0
_LAST_RETRY_S: Final = 60.0
_FORGOTTEN_AFTER_S: Final = 300.0
_MOST_KEPT: Final = 10_000
_MOST_UNREPORTED: Final = 100
_LONGEST_TEXT: Final = 300


class Subject(NamedTuple):
    """What a step was about: `kind` is gang, pod, node, zone, observer or part, `key` its identity."""

    kind: str
    key: str

    @classmethod
    def gang(cls, key: GangKey) -> Subject:
        """A gang as a whole."""
        return cls("gang", str(key))

    @classmethod
    def pod(cls, pod: PodFacts) -> Subject:
        """One pod."""
        return cls("pod", pod.uid)

    def __str__(self) -> str:
        return f"{self.kind} {self.key}"


@dataclass(slots=True)
class Fault:
    """A step that raised. Times are seconds since the epoch; the subject is left alone until `retry_s`."""

    subject: Subject
    name: str
    step: str
    error: str
    first_s: float
    last_s: float
    times: int
    retry_s: float

    @property
    def text(self) -> str:
        """One line for people; the same until the error changes."""
        what = f"{self.subject.kind} {self.name}"
        return f"{what} could not be handled ({self.step}): {self.error}; it is retried"


class Faults:
    """Faults by subject. `mend` puts the state in order after a step that raised half-way.

    `total` counts faults by kind since the start, `version` changes with every fault that comes or goes.
    """

    def __init__(
        self,
        mend: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._mend = mend
        self._faults: dict[Subject, Fault] = {}
        self._unreported: list[tuple[Fault, Exception]] = []
        self.total: Counter[str] = Counter()
        self.version = 0

    def __len__(self) -> int:
        return len(self._faults)

    def __iter__(self) -> Iterator[Fault]:
        return iter(self._faults.values())

    def of(self, subject: Subject) -> Fault | None:
        """The fault of a subject, while it has one."""
        return self._faults.get(subject)

    def left_alone(self, subject: Subject, now: float) -> bool:
        """Whether a subject failed and is not tried again yet."""
        fault = self._faults.get(subject)
        return fault is not None and now < fault.retry_s

    def guard(
        self,
        subject: Subject,
        step: str,
        now: float,
        work: Callable[[], T],
        otherwise: T,
        *,
        name: str = "",
        always: bool = False,
        reads_only: bool = False,
    ) -> T:
        """The result of `work`, or `otherwise` when it raises or its subject is left alone.

        `always`: try even while the subject is left alone (a fact must not be missed). `reads_only`: the step
        changes nothing, so nothing needs mending. `name` is what people call the subject, if not its key.
        """
        fault = self._faults.get(subject) if self._faults else None
        if fault is not None and now < fault.retry_s and not always:
            return otherwise
        try:
            result = work()
        except Exception as problem:
            self._failed(subject, name or subject.key, step, problem, now)
            if not reads_only:
                self._repair(step, now)
            return otherwise
        if fault is not None and fault.step == step:
            self.forget(subject)
        return result

    def _repair(self, step: str, now: float) -> None:
        try:
            self._mend(now)
        except Exception as problem:
            self._failed(Subject("part", "repair"), "repair", step, problem, now)

    def forget(self, subject: Subject) -> None:
        """A subject is gone, or is handled again as it should."""
        if self._faults.pop(subject, None) is not None:
            self.version += 1

    def expire(self, now: float) -> None:
        """Drop faults that did not come back within five minutes after they were to be tried again."""
        for fault in [each for each in self if now - each.retry_s > _FORGOTTEN_AFTER_S]:
            self.forget(fault.subject)

    def unreported(self) -> list[tuple[Fault, Exception]]:
        """Faults since the last call, for the log; those beyond the first hundred are only counted."""
        out, self._unreported = self._unreported, []
        return out

    def _failed(self, subject: Subject, name: str, step: str, problem: Exception, now: float) -> None:
        self.total[subject.kind] += 1
        self.version += 1
        before = self._faults.pop(subject, None)
        times = 1 if before is None else before.times + 1
        fault = Fault(
            subject=subject,
            name=name,
            step=step,
            error=f"{type(problem).__name__}: {problem}"[:_LONGEST_TEXT],
            first_s=now if before is None else before.first_s,
            last_s=now,
            times=times,
            retry_s=now + min(_LAST_RETRY_S, _FIRST_RETRY_S * 2 ** min(times - 1, 10)),
        )
        if len(self._faults) >= _MOST_KEPT:
            del self._faults[next(iter(self._faults))]
        self._faults[subject] = fault
        if len(self._unreported) < _MOST_UNREPORTED and (before is None or before.error != fault.error):
            self._unreported.append((fault, problem))
