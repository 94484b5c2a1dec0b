"""Watches the cluster's truth and notes every moment at which a promise was broken."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction

from tests.e2e.harness.client import ApiError, Client, Object
from tests.e2e.harness.extender import RESERVATION
from tests.e2e.harness.quantities import amounts, pod_requests
from tests.e2e.harness.waiting import wait_for

FINISHED = ("Succeeded", "Failed")
LOST = ("OutOf", "NodeAffinity", "UnexpectedAdmissionError")


@dataclass
class Observer:
    """Follows all pods; after each event the state of the world is judged.

    Judged is what the API shows, independent of the extender's own opinion: no node over its
    allocatable; no pod refused by its kubelet; and no driver bound without room for its executors, where
    an executor has room if it is bound or its slot, as the driver's annotation places it, still fits.
    """

    client: Client
    nodes: dict[str, dict[str, Fraction]] = field(default_factory=dict)
    pods: dict[str, Object] = field(default_factory=dict)
    bound_order: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    judged: int = 0
    check_gangs: bool = True
    watches: int = 0
    _stopped: bool = False

    def start(self) -> Observer:
        """Take the present state and follow from there."""
        for node in self.client.list("nodes"):
            self.nodes[node["metadata"]["name"]] = amounts(node["status"]["allocatable"])
        pods, version = self.client.list_with_version("pods")
        for pod in pods:
            self.pods[pod["metadata"]["uid"]] = pod
        self._watch = self.client.watch("pods", version=version)
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """No more judging."""
        self._stopped = True
        while self._thread.is_alive():  # it may be about to begin another watch
            self._watch.stop()
            self._thread.join(0.5)

    def assert_kept(self) -> None:
        """Every promise held at every observed moment, and there were such moments."""
        self.stop()
        assert self.judged > 0
        assert not self.broken, "\n".join(self.broken[:20])

    def named(self, name: str) -> Object | None:
        """The pod of this name as last seen."""
        return next((pod for pod in list(self.pods.values()) if pod["metadata"]["name"] == name), None)

    def await_bound(self, names: Iterable[str], timeout_s: float = 240.0) -> None:
        """Wait until all these pods have been seen bound."""
        wanted = set(names)
        wait_for(
            lambda: wanted <= set(self.bound_order),
            "pods bound",
            timeout_s,
            lambda: f"missing: {sorted(wanted - set(self.bound_order))}, {self.describe()}",
        )

    def describe(self) -> str:
        """What it has seen so far."""
        return (
            f"{len(self.bound_order)} bound, {self.judged} events judged in {self.watches} watches, "
            f"failure: {self._watch.failure}, broken: {self.broken[:3]}"
        )

    def _follow(self) -> None:
        try:
            self._note_events()
        except Exception as failure:
            self.broken.append(f"the observer itself failed: {failure!r}")
            raise

    def _note_events(self) -> None:
        """Follow watches; a server may end one at any time, and a list then shows what was missed."""
        while True:
            self.watches += 1
            for kind, pod in self._watch:
                self._note(kind, pod)
            if self._stopped:
                return
            self._catch_up()

    def _catch_up(self) -> None:
        """Take the present state, and watch from there, as soon as the API server answers."""
        while not self._stopped:
            try:
                pods, version = self.client.list_with_version("pods")
                watch = self.client.watch("pods", version=version)
            except (ApiError, OSError, http.client.HTTPException):
                time.sleep(0.2)  # the scenario has stopped it
                continue
            self._watch = watch
            for uid in self.pods.keys() - {pod["metadata"]["uid"] for pod in pods}:
                del self.pods[uid]
            for pod in pods:
                self._note("MODIFIED", pod)
            return

    def _note(self, kind: str, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        before = self.pods.get(uid)
        if kind == "DELETED":
            self.pods.pop(uid, None)
        else:
            self.pods[uid] = pod
            if pod["spec"].get("nodeName") and not (before and before["spec"].get("nodeName")):
                self.bound_order.append(pod["metadata"]["name"])
        self._judge(pod)

    def _judge(self, changed: Object) -> None:
        self.judged += 1
        reason = changed.get("status", {}).get("reason", "")
        if changed.get("status", {}).get("phase") == "Failed" and reason.startswith(LOST):
            self.broken.append(f"{changed['metadata']['name']} failed on its node: {reason}")
        used: dict[str, dict[str, Fraction]] = {name: {} for name in self.nodes}
        for pod in self.pods.values():
            node = pod["spec"].get("nodeName")
            if node in used and pod["status"].get("phase") not in FINISHED:
                add(used[node], pod_requests(pod) | {"pods": Fraction(1)})
        for name, amount in used.items():
            over = {k: v for k, v in amount.items() if v > self.nodes[name].get(k, Fraction(0))}
            if over:
                self.broken.append(f"node {name} is over its allocatable in {sorted(over)}")
        if self.check_gangs:
            for pod in list(self.pods.values()):
                if pod["metadata"].get("labels", {}).get("spark-role") == "driver":
                    self._judge_gang(pod, used)

    def _judge_gang(self, driver: Object, used: dict[str, dict[str, Fraction]]) -> None:
        if not driver["spec"].get("nodeName") or driver["status"].get("phase") in FINISHED:
            return
        name = driver["metadata"]["name"]
        text = driver["metadata"].get("annotations", {}).get(RESERVATION)
        if driver["spec"].get("schedulerName") != "carbon-scheduler":
            return
        if text is None:
            self.broken.append(f"{name} is bound without a reservation")
            return
        reservation = json.loads(text)
        app = driver["metadata"]["labels"]["spark-app-selector"]
        bound = [
            pod
            for pod in self.pods.values()
            if pod["metadata"].get("labels", {}).get("spark-app-selector") == app
            and pod["metadata"]["labels"].get("spark-role") == "executor"
            and pod["spec"].get("nodeName")
            and pod["status"].get("phase") not in FINISHED
        ]
        open_slots = [node for node, number in reservation["slots"] for _ in range(number)]
        for pod in bound:
            if pod["spec"]["nodeName"] in open_slots:
                open_slots.remove(pod["spec"]["nodeName"])
            elif open_slots:
                open_slots.pop()
        worker = {k: Fraction(v) / (1000 if k == "cpu" else 1) for k, v in reservation["worker"].items()}
        for node in open_slots:
            add(used[node], worker | {"pods": Fraction(1)})
        for node in set(open_slots):
            over = {k for k, v in used[node].items() if v > self.nodes[node].get(k, Fraction(0))}
            if over:
                self.broken.append(f"{name} is bound but {node} has no room for its slots in {sorted(over)}")


def add(total: dict[str, Fraction], more: dict[str, Fraction]) -> None:
    """Add amounts in place."""
    for key, value in more.items():
        total[key] = total.get(key, Fraction(0)) + value
