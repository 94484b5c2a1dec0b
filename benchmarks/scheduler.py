"""Suite `scheduler`: pods a second through a real kube-scheduler with 5,000 nodes.

Five run after one another on the same control plane: kube-scheduler alone, looking at all nodes
(percentageOfNodesToScore 100) and at the default share of them; with an extender that accepts everything;
with ours, and with ours where it names no nodes. Those with an extender look at all nodes. The rate is that
between 5 and 95 percent bound.
Then gangs that have no room wait, and the calls that one pod event brings are counted. Needs what `make e2e`
builds.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.bodies import node_name
from benchmarks.figures import Figures, figure
from benchmarks.processes import ProgramFailed, program
from tests.e2e.harness.client import MERGE, Client, Object
from tests.e2e.harness.controlplane import ADMIN_TOKEN, BIN, ControlPlane
from tests.e2e.harness.extender import CONFIG, Extender, make_pair, shipped_flags
from tests.e2e.harness.extender import install as install_roles
from tests.e2e.harness.kwok import node_body
from tests.e2e.harness.schedulers import ExtenderAddress, Scheduler, load_config, plain_config

NODES = 5000
SINGLES = 400
GANGS, WORKERS = 60, 4
ROUNDS = 2
PARKED = 300
EVENTS = 4
NAMESPACE = "benchmark"
_CONNECTIONS = 16
_TIMEOUT_S = 240.0
_QUIET_S = 4.0
"""No call for this long: longer than kube-scheduler's back-off, so no pod is on the way to the queue."""
SCHEDULERS = ("bare", "bare sampling", "null extender", "ours", "ours without names")
_SHARE = {"bare sampling": {}}
"""Settings of a scheduler where it is not to look at all nodes."""


def run(figures: Figures, *, full: bool) -> Iterator[str]:
    """Measure; says after each scheduler what it did."""
    if not (BIN / "kube-scheduler").exists():
        raise ProgramFailed("the control plane is not built: run make e2e, or tests/e2e/setup_tools.py")
    rates: dict[tuple[str, str], list[list[float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as work, control_plane(Path(work)) as cluster:
        yield f"scheduler: {NODES} nodes created"
        for part in range(ROUNDS * 2 if full else ROUNDS):
            for name in SCHEDULERS:
                with scheduler(cluster, name, part):
                    for kind, rate in measure(cluster.admin).items():
                        rates[name, kind].append([rate])
                yield f"scheduler: round {part + 1}, {name}"
        for (what, unit), rounds in storm(cluster, PARKED).items():
            figures.add(figure(f"scheduler: {what}, {PARKED} gangs wait, nodes={NODES}", unit, rounds))
        yield f"scheduler: storm of {PARKED} gangs"
    for (name, kind), rounds in rates.items():
        figures.add(figure(f"scheduler: {kind} through {name}, nodes={NODES}", "pods/s", rounds))


@contextlib.contextmanager
def control_plane(work: Path) -> Iterator[ControlPlane]:
    """API server with ready nodes. Without controllers: nothing may change while we measure."""
    cluster = ControlPlane(work)
    try:
        cluster.start()
        cluster.create_namespace(NAMESPACE)
        install_roles(cluster)
        assert cluster.controllers is not None
        cluster.controllers.kill()
        each(range(NODES), lambda number: create_node(cluster.admin, number))
        yield cluster
    finally:
        cluster.stop()


def create_node(client: Client, number: int) -> None:
    """A ready node of a common size, in one of three zones."""
    body = node_body(node_name(number), "16", "64Gi", zone=f"zone-{'abc'[number % 3]}")
    body["status"]["conditions"] = [{"type": "Ready", "status": "True", "reason": "Benchmark"}]
    client.create("nodes", body)
    untainted = {"spec": {"taints": None}}  # the API server taints every new node
    client.patch("nodes", body["metadata"]["name"], untainted, content_type=MERGE)


def each(items: Sequence[Any] | range, do: Any) -> None:
    """For all items, on several connections."""
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        list(pool.map(do, items))


@contextlib.contextmanager
def scheduler(cluster: ControlPlane, name: str, part: int) -> Iterator[None]:
    """One of `SCHEDULERS`, running; all answer to the name carbon-scheduler."""
    label = f"{name.replace(' ', '-')}-{part}"
    with contextlib.ExitStack() as stack:
        if name.startswith("ours"):
            names = str(name == "ours").lower()
            pair = make_pair(cluster, label, log__level="warning", kubernetes__name_nodes=names)
            stack.callback(pair.kill)
            pair.start()
        else:
            share = _SHARE.get(name, {"percentageOfNodesToScore": 100})
            config = plain_config("carbon-scheduler", **share)
            if name == "null extender":
                null = stack.enter_context(program("null_extender"))
                config = load_config(CONFIG, ExtenderAddress(null.url), leader_elect=False)
                for entry in config["extenders"]:
                    del entry["bindVerb"], entry["preemptVerb"]
            config["clientConnection"] = {"qps": 2000, "burst": 4000}
            running = Scheduler(cluster, label, config, token=ADMIN_TOKEN, verbosity=0, flags=shipped_flags())
            stack.callback(running.kill)
            running.start()
        yield


def measure(client: Client) -> dict[str, float]:
    """Pods a second by kind; everything is deleted again after each kind."""
    rates = {"single pods": bound_rate(client, [pod(f"single-{number}") for number in range(SINGLES)])}
    clear(client)
    leaders = [member(gang, "leader", 0) for gang in range(GANGS)]
    rates["drivers"] = bound_rate(client, leaders)
    workers = [member(gang, "worker", number) for gang in range(GANGS) for number in range(WORKERS)]
    rates["executors"] = bound_rate(client, workers)
    clear(client)
    return rates


def storm(cluster: ControlPlane, gangs: int) -> dict[tuple[str, str], list[list[float]]]:
    """Calls and time after single pod events, while gangs wait that need all nodes but find one in use."""
    client = cluster.admin
    out: dict[tuple[str, str], list[list[float]]] = defaultdict(list)
    pair = make_pair(cluster, "storm", log__level="warning")
    try:
        pair.start()
        bound_rate(client, [pod(f"user-{number}", "8") for number in range(2)])
        asks = {
            "carbon-scheduler/worker-count": str(NODES),
            "carbon-scheduler/worker-cpu": "9",
            "carbon-scheduler/worker-memory": "64Mi",
        }
        for number in range(gangs):
            labels = {"carbon-scheduler/gang": f"parked-{number}", "carbon-scheduler/role": "leader"}
            client.create("pods", pod(f"parked-{number}", labels=labels, annotations=asks), NAMESPACE)
        quiet(pair.extender)
        for number in range(EVENTS):
            calls, busy_s = filter_calls(pair.extender)
            began_s = time.monotonic()
            foreign = pod(f"foreign-{number // 2}")
            foreign["spec"] |= {"schedulerName": "default-scheduler", "nodeName": node_name(7)}
            if number % 2:
                client.delete("pods", foreign["metadata"]["name"], NAMESPACE, grace_s=0)
            else:
                client.create("pods", foreign, NAMESPACE)
            ended_s = quiet(pair.extender)
            after, busy_after_s = filter_calls(pair.extender)
            event = "a pod that ended" if number % 2 else "a pod that was bound"
            out[f"filter calls after {event}", "calls"].append([float(after - calls)])
            if after > calls:
                ours_ms = (busy_after_s - busy_s) / (after - calls) * 1e3
                out[f"our time a call after {event}", "ms"].append([ours_ms])
                out[f"time until quiet after {event}", "s"].append([ended_s - began_s])
    finally:
        pair.kill()
        clear(client)
    return out


def filter_calls(extender: Extender) -> tuple[int, float]:
    """Filter calls answered so far, and the seconds they took from the body read to the reply sent."""
    text = extender.get("/metrics")
    found = {
        key: float(value)
        for key, _, value in (line.rpartition(" ") for line in text.splitlines())
        if key.startswith("carbon_scheduler_request_duration_seconds_") and 'verb="filter"' in key
    }
    prefix = "carbon_scheduler_request_duration_seconds"
    return int(found.get(f'{prefix}_count{{verb="filter"}}', 0)), found.get(
        f'{prefix}_sum{{verb="filter"}}', 0.0
    )


def quiet(extender: Extender) -> float:
    """Wait until no call comes any more; returns when the last one was seen (monotonic seconds)."""
    seen, last_s = filter_calls(extender)[0], time.monotonic()
    deadline_s = last_s + _TIMEOUT_S
    while time.monotonic() - last_s < _QUIET_S:
        if time.monotonic() > deadline_s:
            raise ProgramFailed("kube-scheduler did not stop asking")
        time.sleep(0.1)
        calls = filter_calls(extender)[0]
        if calls != seen:
            seen, last_s = calls, time.monotonic()
    return last_s


def pod(name: str, cpu: str = "100m", **metadata: Any) -> Object:
    """A small pod of our scheduler."""
    container = {
        "name": "main",
        "image": "none",
        "resources": {"requests": {"cpu": cpu, "memory": "64Mi"}},
    }
    spec = {
        "schedulerName": "carbon-scheduler",
        "containers": [container],
        "automountServiceAccountToken": False,
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **metadata}, "spec": spec}


def member(gang: int, role: str, number: int) -> Object:
    """A member of a gang with `WORKERS` workers."""
    labels = {"carbon-scheduler/gang": f"gang-{gang}", "carbon-scheduler/role": role}
    asks = {
        "carbon-scheduler/worker-count": str(WORKERS),
        "carbon-scheduler/worker-cpu": "100m",
        "carbon-scheduler/worker-memory": "64Mi",
    }
    return pod(f"gang-{gang}-{role}-{number}", labels=labels, annotations=asks if role == "leader" else {})


def bound_rate(client: Client, pods: Sequence[Object]) -> float:
    """Pods bound a second, between 5 and 95 percent of them.

    Raises:
        ProgramFailed: they were not all bound in time.
    """
    names = {each["metadata"]["name"] for each in pods}
    times: list[float] = []
    _, version = client.list_with_version("pods", NAMESPACE)
    watching = client.watch("pods", NAMESPACE, version=version)
    with watching as watch, ThreadPoolExecutor(_CONNECTIONS) as pool:
        posting = [pool.submit(client.create, "pods", body, NAMESPACE) for body in pods]
        deadline_s = time.monotonic() + _TIMEOUT_S
        while names:
            left_s = deadline_s - time.monotonic()
            event = watch.next(left_s) if left_s > 0 else None
            if event is None:
                raise ProgramFailed(f"{len(names)} of {len(pods)} pods were not bound in time")
            name = event[1]["metadata"]["name"]
            if name in names and event[1]["spec"].get("nodeName"):
                names.discard(name)
                times.append(time.monotonic())
        for each_posted in posting:
            each_posted.result()
    first, last = int(len(times) * 0.05), int(len(times) * 0.95)
    return (last - first) / (times[last] - times[first])


def clear(client: Client) -> None:
    """Delete all pods and wait until they are gone."""
    client.delete_all("pods", NAMESPACE, grace_s=0)
    deadline_s = time.monotonic() + _TIMEOUT_S
    while client.list("pods", NAMESPACE):
        if time.monotonic() > deadline_s:
            raise ProgramFailed("pods could not be deleted")
        time.sleep(0.2)
