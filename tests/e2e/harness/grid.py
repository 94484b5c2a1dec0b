"""`carbon-scheduler carbon-api` that replays an invented grid, faster than real time."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import yaml

from tests.e2e.harness.extender import Extender
from tests.e2e.harness.processes import Process, free_port
from tests.e2e.harness.waiting import wait_for

ZONE = "XX"
ZONE_LABELS = {"carbon-scheduler/carbon-zone": ZONE}
WARM_DAYS, DAYS = 60, 80
BEGIN_S = 1_767_225_600  # 2026-01-01T00:00:00Z; the replay starts when the warm days are over
HEADER = "Datetime (UTC),Country,Zone name,Zone id,Carbon intensity gCO₂eq/kWh (Life cycle)"


def sunny(hour: int) -> float:
    """Cleanest at 14, dirtiest at 2 o'clock: 200..400 g/kWh, no two days alike."""
    return round(300 + 90 * math.cos(2 * math.pi * (hour - 2) / 24) + 10 * math.sin(hour / 37), 2)


class Grid:
    """Starts at `hour` of a day; an hour lasts `hour_s` seconds. `intensity` maps hours to g/kWh."""

    def __init__(
        self,
        work: Path,
        name: str,
        hour: int,
        hour_s: float = 2.0,
        intensity: Callable[[int], float] = sunny,
    ) -> None:
        self._work, self._name, self._hour_s = work, name, hour_s
        self._directory = work / name
        self._directory.mkdir()
        rows = [HEADER]
        for step in range(DAYS * 24):
            moment = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(BEGIN_S + step * 3600))
            rows.append(f"{moment},Nowhere,Nowhere,{ZONE},{intensity(step)}")
        (self._directory / "days.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self.process = self._start(hour)

    def _start(self, hour: int) -> Process:
        start = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(BEGIN_S + (WARM_DAYS * 24 + hour) * 3600))
        settings = {
            "zones": {ZONE: {"source": "replay", "files": ["days.csv"]}},
            "replay": {"start": start, "speed": 3600 / self._hour_s},
        }
        path = self._directory / f"settings-{hour}.yaml"
        path.write_text(yaml.safe_dump(settings), encoding="utf-8")
        command = [Path(sys.executable).with_name("carbon-scheduler"), "carbon-api", "serve"]
        command += ["--config", path, "--listen-port", str(self._port)]
        environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self._work)}
        return Process(self._name, command, self._work / "logs" / f"{self._name}.log", environment)

    def jump(self, hour: int) -> None:
        """It is `hour` o'clock: the service is started again at the same address."""
        self.kill()
        self.process = self._start(hour)

    def kill(self) -> None:
        """The source is gone."""
        self.process.kill()

    def await_known(self, extender: Extender) -> None:
        """Returns when the extender has a value of it."""
        wait_for(
            lambda: not extender.get("/v1/carbon")["zones"][0]["stale"], "a value", 30, self.process.log_tail
        )
