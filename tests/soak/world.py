"""A whole cluster in virtual time: two replicas of the service, their kube-schedulers, and everybody else.

The replicas are the product: reflectors, engine, webhooks, binder, patcher and checks, over its own client.
The API server, kube-schedulers, kubelet, users and the second scheduler on the same nodes are models.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from extender.adapters.kubernetes.credentials import anonymous
from extender.core.facts import GangKey
from extender.lab.registry import (
    ENDED,
    NODE,
    POD,
    Change,
    Object,
    Refusal,
    Registry,
    node_of,
    phase_of,
    uid_of,
)
from extender.lab.scheduler import ClusterView, project_pod
from extender.lab.scheduling_queue import SchedulingQueue
from extender.runtime.service import Service
from extender.settings.loading import load
from tests.soak import loop as virtual
from tests.soak.api import Client, Server, body_of
from tests.soak.invariants import OURS, Judge
from tests.soak.plan import BUSY_S, NODES, Step

CALM_S: Final = 900.0
"""How long, without faults, everything that can be admitted may take to be admitted and to end."""
NOTICED_S: Final = 150.0
"""How long a connection that has fallen silent may stay unnoticed, and half a minute."""

_EPOCH_S: Final = 1_700_000_000.0
_HTTP_TIMEOUT_S: Final = 5.0
_NS: Final = "team"


@dataclass
class Replica:
    """One extender and the kube-scheduler beside it."""

    name: str
    client: Client
    service: Service
    tasks: list[asyncio.Task[Any]] = field(default_factory=list)
    scheduler: asyncio.Task[None] | None = None

    @property
    def alive(self) -> bool:
        return bool(self.tasks)


class World:
    """One run. `problems` are what the invariants found; `story` is what happened, in order."""

    def __init__(self, seed: int, steps: list[Step]) -> None:
        self.story: list[str] = []
        self._seed = seed
        self._steps = steps
        self._skew_s = 0.0
        self._uids = 0
        self.registry = Registry(clock=self.true_s, new_uid=self._new_uid)
        self.server = Server(self.registry, seed)
        self.judge = Judge(self.registry, self.server, self.true_s)
        self.replicas: list[Replica] = []
        self.leader = 0
        self._runs_s: dict[str, float] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._kill_at: list[tuple[str, bool]] = []

    def _new_uid(self) -> str:
        self._uids += 1
        return f"uid-{self._uids:04d}"

    def true_s(self) -> float:
        """The API server's clock."""
        return _EPOCH_S + asyncio.get_running_loop().time()

    def skewed_s(self) -> float:
        """The clock of the extenders, which somebody may set."""
        return self.true_s() + self._skew_s

    def say(self, text: str) -> None:
        self.story.append(f"{asyncio.get_running_loop().time():7.2f} {text}")

    # -- the run -----------------------------------------------------------------------------------

    async def run(self) -> list[str]:
        """Everything; returns what is wrong."""
        for number in range(NODES):
            self.registry.create(
                NODE, _node(f"n{number}", cpu=4 if number else 8, tainted=number == NODES - 1)
            )
        self.server.before_effect = lambda who, operation: self._maybe_kill(who, operation, after=False)
        self.server.after_effect = lambda who, operation: self._maybe_kill(who, operation, after=True)
        for name in ("a", "b"):
            client = Client(self.server, name, await anonymous("http://api"))
            self.replicas.append(Replica(name, client, self._service(client)))
            self._start(self.replicas[-1])
        self._lead(0)
        self._spawn(self._kubelet())
        for step in self._steps:
            self._spawn(self._at(step))
        try:
            await asyncio.sleep(BUSY_S)
            self._calm()
            await asyncio.sleep(NOTICED_S)
            until_s = self.true_s() + CALM_S
            while not self.judge.settled() and self.true_s() < until_s:  # noqa: ASYNC110 - virtual seconds
                await asyncio.sleep(5.0)
            self.judge.at_the_end([each.service for each in self.replicas], self.leader)
        finally:
            await self._end()
        return self.judge.problems

    async def _end(self) -> None:
        tasks = [*self._tasks, *self.server.late]
        for replica in self.replicas:
            tasks += replica.tasks + ([replica.scheduler] if replica.scheduler is not None else [])
            await replica.client.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for replica in self.replicas:
            tasks = [task for _, task in replica.service.calls.binds._under_way.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (problem := task.exception()) is not None:
            self.judge.broken("the model failed", repr(problem))

    def _calm(self) -> None:
        """No more faults, and no foreign pods that take what belongs to gangs."""
        self.server.share = 0.0
        self._kill_at = []
        for replica in self.replicas:
            for watch in replica.client.watches:
                if watch.how and watch.how != "silent":
                    watch.how = ""
            if not replica.alive:
                self._start(replica)
        for name in [f"n{number}" for number in range(NODES)]:
            self._set_node(name, "back")
        self.judge.calm = True
        self.say("calm")

    async def _at(self, step: Step) -> None:
        await asyncio.sleep(step.at_s)
        self.say(str(step))
        act = getattr(self, "_do_" + step.kind.replace(" ", "_"))
        result = act(**step.values)
        if result is not None:
            await result

    # -- replicas and their schedulers -------------------------------------------------------------

    def _service(self, client: Client) -> Service:
        return Service(load(None, {}), client, clock=self.skewed_s)

    def _start(self, replica: Replica) -> None:
        if replica.alive:
            return
        replica.client.cut_off = False
        replica.service = self._service(replica.client)
        parts = replica.service.background()
        parts.pop("rights", None)
        keep = replica.service.supervisor.keep_running
        replica.tasks = [asyncio.ensure_future(keep(name, work)) for name, work in parts.items()]

    def _stop(self, replica: Replica) -> None:
        """As SIGKILL: nothing is finished; requests that have left may still have their effect."""
        for task in replica.tasks:
            task.cancel()
        for _, task in list(replica.service.calls.binds._under_way.values()):
            task.cancel()
        replica.tasks = []
        replica.client.watches = []

    def _lead(self, number: int) -> None:
        self.leader = number
        replica = self.replicas[number]
        if replica.scheduler is None or replica.scheduler.done():
            replica.scheduler = asyncio.ensure_future(KubeScheduler(self, replica).run())

    def _maybe_kill(self, who: str, operation: str, *, after: bool) -> None:
        if (operation, after) in self._kill_at and (replica := self._replica(who)) is not None:
            self._kill_at.remove((operation, after))
            self._spawn(self._do_kill(self.replicas.index(replica), 2))

    def _replica(self, who: str) -> Replica | None:
        return next((each for each in self.replicas if each.name == who), None)

    async def _do_kill(self, replica: int, down_s: float) -> None:
        victim = self.replicas[replica]
        self.say(f"replica {victim.name} is killed")
        self._stop(victim)
        await asyncio.sleep(down_s)
        self._start(victim)

    def _do_kill_at(self, operation: str, after: bool) -> None:
        self._kill_at.append((operation, after))

    async def _do_fail_over(self, both_s: float) -> None:
        """The other kube-scheduler leads. With `both_s` the first one does not know it for a while."""
        before = self.replicas[self.leader]
        self.judge.two_leaders_until_s = self.true_s() + both_s + 60.0 if both_s else 0.0
        if not both_s and before.scheduler is not None:
            before.scheduler.cancel()
        self._lead(1 - self.leader)
        await asyncio.sleep(both_s)
        if before.scheduler is not None:
            before.scheduler.cancel()

    async def _do_requests(self, faults: list[str], share: float, lasts_s: float) -> None:
        self.server.befall, self.server.share = tuple(faults), share
        await asyncio.sleep(lasts_s)
        self.server.share = 0.0

    def _do_slow_for_good(self, answers_s: float) -> None:
        """The API server is slow from now on: slow is not never."""
        self.server.answers_s = answers_s

    async def _do_watch(self, replica: int, how: str, lasts_s: float) -> None:
        watches = list(self.replicas[replica].client.watches)
        for watch in watches:
            if how == "drop":
                watch.drop()
            else:
                watch.how = how
        if how in ("delay", "twice"):
            await asyncio.sleep(lasts_s)
            for watch in watches:
                watch.how = "" if watch.how == how else watch.how

    def _do_compact(self) -> None:
        self.registry.compact()
        for replica in self.replicas:
            for watch in replica.client.watches:
                watch.drop()

    def _do_clock(self, seconds: float) -> None:
        self._skew_s += seconds

    async def _do_node(self, name: str, change: str) -> None:
        self.judge.disturbed_s[name] = self.true_s() + 60.0
        self._set_node(name, change)
        await asyncio.sleep(20.0)
        self._set_node(name, "back")

    def _set_node(self, name: str, change: str) -> None:
        tainted = name == f"n{NODES - 1}"
        made = _node(name, cpu=8 if name == "n0" else 4, tainted=tainted)
        if change == "cordon":
            made["spec"]["unschedulable"] = True
        elif change == "unready":
            made["status"]["conditions"] = [{"type": "Ready", "status": "False"}]
        if change == "gone":
            if self.registry.find(NODE, "", name) is not None:
                self.registry.delete(NODE, "", name)
        else:
            self.registry.put(NODE, made)

    # -- users -------------------------------------------------------------------------------------

    def _do_submit(self, app: str, executors: int, extra: int, runs_s: float, forged: bool) -> None:
        self._runs_s[app] = runs_s
        try:
            self.registry.create(POD, driver(app, executors, executors + extra, forged=forged))
        except Refusal:
            return
        self.judge.submitted(app, executors)

    async def _do_foreign(self, name: str, cpu: int, runs_s: float) -> None:
        """The default scheduler knows no reservations; it sees what is bound."""
        made = self.registry.create(POD, pod(name, cpu=cpu, scheduler="default-scheduler"))
        await asyncio.sleep(0.05)
        view = ClusterView(self.registry)
        for node in view.fitting(project_pod(made)):
            self.judge.foreign_s[node] = self.true_s()
            self.registry.bind(_NS, name, {"metadata": {}, "target": {"name": node}})
            break
        await asyncio.sleep(runs_s)
        self._delete(name)

    def _delete(self, name: str) -> None:
        if self.registry.find(POD, _NS, name) is not None:
            self.registry.delete(POD, _NS, name, now=True)

    def _do_delete(self, number: int) -> None:
        self._remove_application(f"app-{number}")

    def _remove_application(self, app: str) -> None:
        self.judge.withdrawn(app)
        for made in self.registry.all(POD):
            if made["metadata"].get("labels", {}).get("spark-app-selector") == app:
                self._delete(made["metadata"]["name"])

    def _do_odd_pod(self, number: int) -> None:
        made = driver(f"odd-{number}", 1, 1)
        made["spec"]["containers"][0]["resources"]["requests"] |= {
            f"r{each}.example.com/x": "1" for each in range(50)
        }
        made["metadata"]["annotations"]["carbon-scheduler/executor-memory"] = "9" * 300
        if self.registry.find(POD, _NS, made["metadata"]["name"]) is None:
            self.registry.create(POD, made)

    def _do_namesake(self, number: int) -> None:
        """A pod is deleted and made again under its name: it is another one."""
        app = f"app-{number}"
        made = self.registry.find(POD, _NS, f"{app}-driver")
        if made is not None and app in self.judge.wanted:
            executors = self.judge.wanted[app]
            self._remove_application(app)
            self.registry.create(POD, driver(app, executors, executors))
            self.judge.submitted(app, executors)

    async def _do_lie(self, number: int) -> None:
        """Somebody sends the webhooks a falsified copy of a pod, then has it bound."""
        victim = self.registry.create(
            POD, pod(f"victim-{number}-{self.registry.version}", cpu=2, scheduler="default-scheduler")
        )
        lie = json.loads(json.dumps(victim))
        lie["spec"]["schedulerName"] = OURS
        lie["spec"]["tolerations"] = [{"operator": "Exists"}]
        calls = self.replicas[self.leader].service.calls
        tainted = f"n{NODES - 1}"
        await calls.filter(body_of(lie, [tainted]))
        await asyncio.sleep(0.2)
        await calls.bind(_bind_args(lie, tainted))
        await asyncio.sleep(5.0)
        self._delete(victim["metadata"]["name"])

    async def _do_ghosts(self, number: int) -> None:
        """Somebody asks for pods that do not exist, to use the room up."""
        calls = self.replicas[self.leader].service.calls
        names = [f"n{each}" for each in range(NODES)]
        for each in range(20):
            made = pod(f"ghost-{number}-{each}", cpu=1)
            made["metadata"]["uid"] = f"ghost-{number}-{each}-{self.registry.version}"
            await calls.filter(body_of(made, names))
            if each % 5 == 0:
                await calls.bind(_bind_args(made, names[0]))

    # -- kubelet and Spark -------------------------------------------------------------------------

    async def _kubelet(self) -> None:
        """Bound pods run; drivers make executors and end; what is to be deleted stops."""
        while True:
            await asyncio.sleep(1.0)
            for made in self.registry.all(POD):
                if self.registry.find(POD, _NS, made["metadata"]["name"]) is made:
                    self._tend(made)

    def _tend(self, made: Object) -> None:
        metadata = made["metadata"]
        name, labels = metadata["name"], metadata.get("labels") or {}
        if metadata.get("deletionTimestamp"):
            self._delete(name)
            return
        if not node_of(made) or phase_of(made) in ENDED:
            return
        if phase_of(made) == "Pending":
            self.registry.merge_patch(
                POD, _NS, name, {"status": {"phase": "Running", "began": self.true_s()}}, status=True
            )
        app, role = labels.get("spark-app-selector", ""), labels.get("spark-role", "")
        if role != "driver":
            return
        began_s = (made.get("status") or {}).get("began", self.true_s())
        wanted = int(metadata["annotations"]["carbon-scheduler/executor-max-count"])
        executors = [each for each in self.registry.all(POD) if _executor_of(each, app)]
        running = [each for each in executors if node_of(each)]
        if self.true_s() - began_s > self._runs_s.get(app, 30.0) and len(running) >= self.judge.wanted.get(
            app, 0
        ):
            for each in executors:
                self._delete(each["metadata"]["name"])
            self.registry.merge_patch(POD, _NS, name, {"status": {"phase": "Succeeded"}}, status=True)
            return
        for number in range(len(executors), wanted):
            made = pod(f"{app}-exec-{number}-{self.registry.version}", app=app, role="executor")
            self.registry.create(POD, made)


class KubeScheduler:
    """The kube-scheduler beside one replica: its queue, its in-tree filters, its calls and their time-out."""

    def __init__(self, world: World, replica: Replica) -> None:
        self._world = world
        self._replica = replica
        self._queue = SchedulingQueue(1.0, 2.0)
        self._assumed: dict[str, str] = {}
        self._binding: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        registry = self._world.registry
        for made in registry.all(POD):
            self._see(made)
        unsubscribe = registry.subscribe(self._hear)
        try:
            while True:
                uid = await self._queue.pop()
                made = next((each for each in registry.all(POD) if uid_of(each) == uid), None)
                if made is not None and not node_of(made):
                    await self._schedule(made)
                await asyncio.sleep(0.002)
        finally:
            unsubscribe()
            for task in self._binding:
                task.cancel()

    def _see(self, made: Object) -> None:
        ours = made["spec"].get("schedulerName") == OURS
        if (
            ours
            and not node_of(made)
            and phase_of(made) not in ENDED
            and not made["metadata"].get("deletionTimestamp")
        ):
            if uid_of(made) not in self._queue:
                self._queue.add(uid_of(made), 0)
            else:
                self._queue.wake(uid_of(made))

    def _hear(self, change: Change) -> None:
        if change.kind == NODE:
            self._queue.wake()
        elif change.kind == POD:
            if change.type == "DELETED" or node_of(change.object):
                self._queue.remove(uid_of(change.object))
                self._assumed.pop(uid_of(change.object), None)
                self._queue.wake()
            else:
                self._see(change.object)

    async def _call(self, call: Callable[[bytes], Any], body: bytes) -> Any:
        """The decoded reply; None when there is none in time. A handler goes on without its caller."""
        if not self._replica.alive:
            return None
        handler = asyncio.ensure_future(call(body))
        try:
            async with asyncio.timeout(_HTTP_TIMEOUT_S):
                return (await asyncio.shield(handler)).body
        except TimeoutError:
            return None
        except asyncio.CancelledError:
            if handler.cancelled():
                return None  # the extender was killed
            raise

    async def _schedule(self, made: Object) -> None:
        uid = uid_of(made)
        view = ClusterView(self._world.registry)
        for assumed, node in self._assumed.items():
            found = next((each for each in self._world.registry.all(POD) if uid_of(each) == assumed), None)
            if found is not None:
                view.take(assumed, node, project_pod(found).requests)
        names = view.fitting(project_pod(made))
        if not names:
            self._queue.refused(uid)
            return
        calls, body = self._replica.service.calls, body_of(made, names)
        text = await self._call(calls.filter, body)
        if text is None:
            self._queue.failed(uid)
            return
        reply = json.loads(text)
        chosen = reply["NodeNames"] or []
        if reply["Error"]:
            self._queue.failed(uid)
        elif not chosen:
            self._world.judge.refused_twice(calls, body, text)
            self._queue.refused(uid)
        else:
            self._assumed[uid] = chosen[0]
            task = asyncio.ensure_future(self._bind(made, chosen[0]))
            self._binding.add(task)
            task.add_done_callback(self._binding.discard)

    async def _bind(self, made: Object, node: str) -> None:
        # Between filter and bind kube-scheduler waits for volumes and other plugins.
        await asyncio.sleep(self._world.server.draw("permit").choice([0.0, 0.01, 0.5, 3.0]))
        text = await self._call(self._replica.service.calls.bind, _bind_args(made, node))
        self._assumed.pop(uid_of(made), None)
        if text is None or json.loads(text)["Error"]:
            self._queue.failed(uid_of(made))
            self._queue.wake()


# -- objects ---------------------------------------------------------------------------------------


def pod(name: str, *, cpu: int = 1, scheduler: str = OURS, app: str = "", role: str = "") -> Object:
    """A pod of some cores."""
    labels = {"spark-role": role, "spark-app-selector": app} if app else {}
    requests = {"cpu": str(cpu), "memory": "1Gi"}
    return {
        "metadata": {"name": name, "namespace": _NS, "labels": labels, "annotations": {}},
        "spec": {
            "schedulerName": scheduler,
            "containers": [{"name": "c", "resources": {"requests": requests}}],
        },
    }


def driver(app: str, executors: int, most: int, *, forged: bool = False) -> Object:
    """A Spark driver. `forged`: its user wrote a reservation on it."""
    made = pod(f"{app}-driver", app=app, role="driver")
    made["metadata"]["annotations"] = {
        "carbon-scheduler/executor-min-count": str(executors),
        "carbon-scheduler/executor-max-count": str(most),
        "carbon-scheduler/executor-cpu": "1",
        "carbon-scheduler/executor-memory": "1Gi",
    }
    if forged:
        text = '{"v":1,"n":9000,"min":1,"max":1,"packer":"","worker":{"cpu":1},"slots":[["n0",1]]}'
        made["metadata"]["annotations"]["carbon-scheduler/reservation"] = text
    return made


def _node(name: str, *, cpu: int, tainted: bool) -> Object:
    taints = [{"key": "secure", "value": "", "effect": "NoSchedule"}] if tainted else []
    return {
        "metadata": {"name": name},
        "spec": {"taints": taints},
        "status": {
            "allocatable": {"cpu": str(cpu), "memory": "64Gi", "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def _executor_of(made: Object, app: str) -> bool:
    labels = made["metadata"].get("labels") or {}
    return labels.get("spark-role") == "executor" and labels.get("spark-app-selector") == app


def _bind_args(made: Object, node: str) -> bytes:
    metadata = made["metadata"]
    args = {"PodName": metadata["name"], "PodNamespace": metadata["namespace"]}
    return json.dumps({**args, "PodUID": metadata["uid"], "Node": node}).encode()


def key_of(app: str) -> GangKey:
    """The gang of an application."""
    return GangKey(_NS, app)


def simulate(seed: int, steps: list[Step]) -> tuple[list[str], list[str]]:
    """One run: what is wrong (empty when all invariants hold), and what happened."""
    logging.getLogger("extender").setLevel(logging.CRITICAL)

    async def go() -> tuple[list[str], list[str]]:
        world = World(seed, steps)
        return await world.run(), world.story

    return virtual.run(go())
