"""Child processes that never outlive the tests: own process group, killed at exit, at worst by the kernel."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.e2e.harness.waiting import wait_for

SPAWN = Path(__file__).with_name("spawn.py")
LIVING: set[Process] = set()
GRACE_S = 10.0


def free_port(host: str = "127.0.0.1") -> int:
    """A port that was free a moment ago; components are told their port before they start."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


class Process:
    """One child with its log file. It is the leader of its own session, so its children go with it.

    The kernel kills the child when the *thread* that started it ends: start from a thread that lives as long.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.name = name
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        shim = [sys.executable, "-I", "-S", str(SPAWN), str(os.getpid())]
        with log.open("ab") as output:
            self.popen = subprocess.Popen(
                [*shim, *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(env) if env is not None else None,
                cwd=cwd,
                start_new_session=True,
            )
        LIVING.add(self)

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; shell style (128 + signal) when a signal ended it."""
        code = self.popen.poll()
        return 128 - code if code is not None and code < 0 else code

    def running(self) -> bool:
        return self.popen.poll() is None

    def signal(self, number: int) -> None:
        """Sends to the whole group; silently too late if the group is gone."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def stop(self, grace_s: float = GRACE_S) -> None:
        """Asks, waits, then kills what is left of the group."""
        if self.running():
            self.signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.popen.wait(grace_s)
        self.kill()

    def kill(self) -> None:
        """Ends the group at once, as a crash would."""
        self.signal(signal.SIGKILL)
        self.popen.wait()
        LIVING.discard(self)

    def wait(self, timeout_s: float) -> int:
        """Exit code, when it ends by itself."""
        wait_for(lambda: not self.running(), f"end of {self.name}", timeout_s, self.log_tail)
        self.kill()
        code = self.exit_code
        assert code is not None
        return code

    def log_tail(self, lines: int = 40) -> str:
        text = self.log.read_text(errors="replace").splitlines()[-lines:] if self.log.exists() else []
        return "\n".join([f"--- last lines of {self.log.name}", *text])


def stop_all() -> None:
    """Last resort at exit; asks nobody."""
    for process in list(LIVING):
        process.kill()


atexit.register(stop_all)
