"""The answer of a width policy about a running gang: how many workers it may have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from extender.core.carbon.start.flexibility import Flexibility
from extender.core.gangs.gang import Admission
from extender.core.outcomes import Outcome


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `workers` workers, those that run counted; `outcome` is the reason for one more to wait.

    `steers`: the running gang is brought to this width (the in-driver agent gets it as target), and not only
    kept from growing beyond it. `shared`: the room below the limit is that of all gangs together. The limit
    is good until `valid_until_s`, unless nodes, carbon or stages change.
    """

    workers: int
    outcome: Outcome
    valid_until_s: float
    steers: bool = False
    shared: bool = False


class WidthPolicy(Protocol):
    """Limits the workers of running gangs. Register it in `carbon/policies.py`.

    It is not asked about gangs that are exempt, and never takes a gang's minimum or a running worker.
    """

    def limit(self, admission: Admission, flexibility: Flexibility, now: float) -> Limit | None:
        """The limit for an admitted gang; None: there is none. Unknown carbon never limits."""
        ...
