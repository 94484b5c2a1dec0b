"""docker-compose.yml by podman-compose."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from tests.containers.podman import podman, run


@dataclass
class Project:
    """One run of the file; `variables` replace images and ports."""

    name: str
    variables: dict[str, str] = field(default_factory=dict[str, str])
    started: bool = False

    def compose(self, *arguments: str, timeout_s: float = 300.0) -> str:
        """What podman-compose said."""
        program = Path(sys.executable).with_name("podman-compose")
        done = run(
            [program, "--podman-path", "podman", "--project-name", self.name, *arguments],
            variables=self.variables,
            timeout_s=timeout_s,
        )
        return done.stdout + done.stderr

    def up(self, *services: str, profile: str = "") -> None:
        """Start services: the named ones, or all."""
        self.started = True
        options = ("--profile", profile) if profile else ()
        self.compose(*options, "up", "--detach", "--no-build", *services)

    def down(self) -> None:
        """Nothing of it is left: containers, volumes, network."""
        if self.started:
            self.compose("--profile", "small", "down", "--volumes", "--timeout", "10")

    def container(self, service: str) -> str:
        return f"{self.name}_{service}_1"

    def logs(self, service: str) -> str:
        done = run(["podman", "logs", self.container(service)], check=False)
        return done.stdout + done.stderr

    def state(self, service: str) -> dict[str, Any]:
        return json.loads(podman("inspect", self.container(service)))[0]["State"]

    def get(self, port: str, path: str) -> bytes:
        """What a published port answers; empty as long as it does not."""
        try:
            with urlopen(f"http://127.0.0.1:{self.variables[port]}{path}", timeout=10) as answer:
                return answer.read()
        except OSError:
            return b""
