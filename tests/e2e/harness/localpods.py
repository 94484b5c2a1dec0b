"""What the process kubelet knows about one of its pods."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass, field
from enum import Enum, auto

from tests.e2e.harness.client import Object
from tests.e2e.harness.processes import Process
from tests.e2e.harness.sandbox import Sandbox

ADDRESSES = itertools.count(1)  # shared by all kubelets of a run: one machine has one loopback network


class Stage(Enum):
    WAITING = auto()  # admitted, something it mounts is missing
    RUNNING = auto()
    STOPPING = auto()
    FINISHED = auto()


@dataclass
class LocalPod:
    """One pod of this kubelet."""

    pod: Object
    sandbox: Sandbox
    stage: Stage = Stage.WAITING
    removed: bool = False
    processes: dict[str, Process] = field(default_factory=dict)
    started_at: str = ""
    retry_at_s: float = 0.0
    kill_at_s: float = 0.0
    terminate_at_s: float = 0.0
    status: Object | None = None  # not yet delivered

    @property
    def uid(self) -> str:
        return self.pod["metadata"]["uid"]

    @property
    def name(self) -> str:
        return self.pod["metadata"]["name"]

    @property
    def node(self) -> str:
        return self.pod["spec"]["nodeName"]

    def ended(self) -> bool:
        return not any(process.running() for process in self.processes.values())


def loopback_address() -> str:
    """Pod addresses: every address in 127/8 can be bound without any set-up (on Linux).

    The network follows from the process number, so that two runs at a time seldom meet.
    """
    number = next(ADDRESSES)
    return f"127.{os.getpid() % 250 + 1}.{number // 250}.{number % 250 + 1}"
