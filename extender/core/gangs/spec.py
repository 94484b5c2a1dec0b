"""What an application asks for."""

from __future__ import annotations

from dataclasses import dataclass

from extender.core.carbon.start.flexibility import INFLEXIBLE, Flexibility
from extender.core.nodes.resources import CPU, Resources
from extender.core.nodes.terms import ANYWHERE, PlacementTerms
from extender.core.outcomes import Outcome


@dataclass(frozen=True, slots=True)
class GangSpec:
    """A gang's request, complete and checked: 0 <= min_workers <= max_workers, no negative size.

    `worker` is what one worker (Spark: executor) requests, in base units and without the pod slot.
    The leader's size is not here: it is always the leader pod's own. `packer` is empty for the
    default of the pool. `source` says where the request was read from. `flexibility` is how long the
    gang may wait for clean power. `worker_slots` is how many tasks a worker runs at once; 0 when nobody
    said, then it is one a core that it requests. `weight` is its share of the executors next to others.
    """

    worker: Resources
    min_workers: int
    max_workers: int
    worker_terms: PlacementTerms = ANYWHERE
    packer: str = ""
    source: str = "annotations"
    flexibility: Flexibility = INFLEXIBLE
    worker_slots: int = 0
    weight: int = 1

    @property
    def tasks_at_once(self) -> int:
        """Tasks one worker runs at once, at least 1."""
        return self.worker_slots or max(1, -(-self.worker.get(CPU, 0) // 1000))


@dataclass(frozen=True, slots=True)
class SpecProblem:
    """Why a gang's request cannot be used (yet): an outcome and one sentence naming key, value and fix."""

    outcome: Outcome
    detail: str = ""


WAIT_FOR_CONFIGURATION = SpecProblem(Outcome.WAITING_FOR_CONFIGURATION)
