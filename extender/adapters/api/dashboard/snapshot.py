"""The sections of the dashboard: each is rendered once, and sent only when it has changed."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import numpy as np

import extender
from extender.adapters.api.ports import ServiceHealth
from extender.core import queries
from extender.core.carbon.signal import Outlook, Signal
from extender.core.explain.ahead import work_ahead
from extender.core.facts import GangKey
from extender.core.nodes.resources import CPU, MEMORY
from extender.core.queries import GangState
from extender.core.stages.stage import StageState
from extender.core.store import Store

MOST_LISTED: Final = 200
"""Applications in one list of the page; `total` says how many there are."""

_PAST_STEP_S: Final = 300.0
"""Between two points of the past; less where the forecast has shorter steps, as in the demo."""

_MOST_PAST: Final = 24 * 12
_READY: Final = 1
_OPEN: Final = 2


@dataclass(slots=True)
class Past:
    """Intensities that were seen, by zone: seconds since the epoch and g/kWh."""

    values: dict[str, list[tuple[float, float]]] = field(default_factory=dict[str, list[tuple[float, float]]])

    def see(self, zone: str, value: float | None, now: float, step_s: float) -> None:
        """Keep a value; what is not known leaves a gap."""
        kept = self.values.setdefault(zone, [])
        if value is None or (kept and now - kept[-1][0] < min(step_s, _PAST_STEP_S)):
            return
        kept.append((round(now), round(value, 1)))
        del kept[:-_MOST_PAST]


class Snapshots:
    """Renders the sections of one moment as JSON. `savings` are figures of the ledger, None without one."""

    def __init__(
        self, store: Store, health: ServiceHealth, savings: Callable[[], Mapping[str, Any] | None]
    ) -> None:
        self._store = store
        self._health = health
        self._savings = savings
        self._past = Past()

    def look(self, now: float) -> None:
        """Keep the present intensities for the past of the curves."""
        for each in queries.zones(self._store, now):
            step_s = each.good.step_s if each.good is not None else _PAST_STEP_S
            self._past.see(each.zone, each.value, now, step_s)

    def sections(self, now: float) -> dict[str, bytes]:
        """JSON by section."""
        self.look(now)
        queue = queries.queue(self._store, now)
        found: dict[str, Any] = {
            "totals": self._totals(),
            "queue": self._queue(queue),
            "gangs": self._gangs(now),
            "carbon": self._carbon(queue, now),
            "nodes": self._nodes(),
            "savings": self._savings(),
        }
        return {name: msgspec.json.encode(each) for name, each in found.items()}

    def _totals(self) -> dict[str, Any]:
        totals = queries.totals(self._store)
        problems = [*queries.faults(self._store), *self._health.problems()]
        ready = queries.synced(self._store)
        pick = (CPU, MEMORY)
        return {
            "version": extender.__version__,
            "status": "degraded" if ready and problems else "ok" if ready else "not-ready",
            "problems": problems[:20],
            "nodes": totals.nodes,
            "gangs": {str(state): number for state, number in totals.gangs.items()},
            "budget": queries.budget(self._store),
            "allocatable": {name: totals.allocatable[name] for name in pick},
            "used": {name: totals.used[name] for name in pick},
            "reserved": {name: totals.reserved[name] for name in pick},
        }

    def _queue(self, queue: list[queries.QueueEntry]) -> dict[str, Any]:
        rows = [
            {
                "ns": each.namespace,
                "id": each.app_id,
                "name": each.leader,
                "app": each.app_name,
                "pool": each.pool,
                "place": each.position,
                "outcome": each.outcome,
                "reason": each.reason,
                "after": each.blocked_by,
                "since_s": each.since_s,
                "starts_s": None if each.expected_s is None else _coarse(each.expected_s),
                "refused": each.refused_for_good,
            }
            for each in queue[:MOST_LISTED]
        ]
        return {"total": len(queue), "rows": rows}

    def _gangs(self, now: float) -> dict[str, Any]:
        store = self._store
        live = [
            each
            for each in queries.applications(store)
            if each.state in (GangState.ADMITTED, GangState.RUNNING)
        ]
        return {"total": len(live), "rows": [self._gang(each, now) for each in live[:MOST_LISTED]]}

    def _gang(self, summary: queries.Summary, now: float) -> dict[str, Any]:
        store, key = self._store, GangKey(summary.namespace, summary.app_id)
        extent, stages = queries.extent(store, key), queries.stages(store, key)
        done = (StageState.COMPLETE, StageState.SKIPPED)
        return {
            "ns": summary.namespace,
            "id": summary.app_id,
            "name": summary.leader,
            "app": extent.app_name,
            "state": str(summary.state),
            "node": summary.leader_node,
            "since_s": extent.running_since_s,
            "bound": summary.workers_bound,
            "waiting": summary.workers_waiting,
            "least": extent.min_workers,
            "most": extent.max_workers,
            "target": queries.target(store, key, now),
            "stages": [sum(1 for each in stages if each.state in done), len(stages)],
        }

    def _carbon(self, queue: list[queries.QueueEntry], now: float) -> dict[str, Any]:
        ahead = work_ahead(self._store, queue, now)
        zones: list[dict[str, Any]] = []
        for each in queries.zones(self._store, now):
            outlook = each.outlook
            zones.append(
                {
                    "zone": each.zone,
                    "nodes": each.nodes,
                    "now": each.value,
                    "why": "" if each.value is not None else each.reason,
                    "past": self._past.values.get(each.zone, []),
                    "start_s": outlook.start_s if outlook is not None else None,
                    "step_s": outlook.step_s if outlook is not None else None,
                    "values": [round(value, 1) for value in outlook.values] if outlook is not None else [],
                    **_band(each.good, outlook),
                    "lower": outlook.lower if outlook is not None else None,
                    "upper": outlook.upper if outlook is not None else None,
                    "cores": _trimmed(ahead.cores.get(each.zone, ())),
                }
            )
        return {
            "first_s": ahead.first_s,
            "work_step_s": ahead.step_s,
            "zones": zones,
            "elsewhere": _trimmed(ahead.cores.get("", ())),
            "held": len(queries.held(self._store, now)),
        }

    def names(self) -> dict[str, Any]:
        """Names and carbon zones of the nodes, in the order of the section `nodes`."""
        places = queries.node_places(self._store)
        return {"epoch": places.epoch, "names": places.names, "zones": places.zones}

    def _nodes(self) -> dict[str, Any]:
        """A byte a node for each figure: percent used, and used or reserved, of its scarcer resource.

        `flags` say whether a node is ready and not cordoned.
        """
        loads = queries.node_loads(self._store)
        flags = [
            (_READY if ready else 0) | (_OPEN if schedulable else 0)
            for ready, schedulable in zip(loads.ready, loads.schedulable, strict=True)
        ]
        return {
            "epoch": loads.epoch,
            "used": _bytes(loads.used),
            "taken": _bytes(loads.taken),
            "flags": base64.b64encode(bytes(flags)).decode(),
        }


def _band(signal: Signal | None, outlook: Outlook | None) -> dict[str, list[float]]:
    """Low and high of the steps of an outlook, as far as their source states an interval."""
    if signal is None or outlook is None or not signal.forecast_low:
        return {"low": [], "high": []}
    first = round((outlook.start_s - signal.forecast_start_s) / outlook.step_s)
    return {
        "low": [round(each, 1) for each in signal.forecast_low[first:]],
        "high": [round(each, 1) for each in signal.forecast_high[first:]],
    }


def _coarse(at_s: float) -> float:
    """To ten seconds: what moves by less than people see is no news."""
    return math.ceil(at_s / 10) * 10


def _trimmed(cores: tuple[float, ...]) -> list[float]:
    """Without the empty steps at the end."""
    last = max((number for number, each in enumerate(cores) if each), default=-1)
    return list(cores[: last + 1])


def _bytes(shares: Any) -> str:
    percent = np.clip(np.rint(100 * shares), 0, 255).astype(np.uint8)
    return base64.b64encode(percent.tobytes()).decode()
