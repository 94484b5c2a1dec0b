"""A whole cluster in virtual time: two replicas of the service, their kube-schedulers, and everybody else.

The replicas are the product: reflectors, engine, webhooks, binder, patcher and checks, over its own client.
The API server, kube-schedulers, kubelet, users and the second scheduler on the same nodes are models.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from unittest import mock

from extender.adapters.accounting import accountant as accountant_module
from extender.adapters.accounting import ledger as ledger_module
from extender.adapters.kubernetes.credentials import anonymous
from extender.adapters.webhooks import binds as binds_module
from extender.adapters.webhooks import calls as calls_module
from extender.lab.registry import ENDED, NODE, POD, Object, Registry, node_of, phase_of, uid_of
from extender.lab.scheduler import ClusterView, project_pod
from extender.runtime import ledger_recorder as recorder_module
from extender.runtime import service as service_module
from extender.runtime.service import Service
from extender.settings.root import Settings
from tests.soak import loop as virtual
from tests.soak.api import Client, Server
from tests.soak.invariants import RACE_S, Judge
from tests.soak.kube_scheduler import KubeScheduler, answering
from tests.soak.objects import (
    NODES,
    OURS,
    TAINTED,
    TEAM,
    URGENT,
    app_of,
    bind_args,
    driver,
    filter_args,
    node,
    pod,
    role_of,
)
from tests.soak.plan import BUSY_S, Step
from tests.soak.surroundings import AtOnce, CarbonService, Disk, carbon_client, in_memory

CALM_S: Final = 900.0
"""How long, without faults, everything that can be admitted may take to be admitted and to end."""
NOTICED_S: Final = 150.0
"""How long a connection that has fallen silent may stay unnoticed, and half a minute."""

_EPOCH_S: Final = 1_700_000_000.0
_POLL_S: Final = 10.0
_FLUSH_S: Final = 20.0
_FAULTS: Final = frozenset(
    {"requests", "watch", "fail over", "kill", "kill at", "compact", "clock", "slow for good"}
)
"""After these a foreign pod may be unknown for long."""


@dataclass
class Replica:
    """One extender and the kube-scheduler beside it."""

    name: str
    client: Client
    service: Service = field(init=False)
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
        self._kill_at: list[list[Any]] = []
        self.permit_s: list[float] = [0.0, 0.01, 0.5, 3.0]
        self.carbon = CarbonService(self.true_s, self.server.draw)
        kinds = {step.kind for step in steps}
        self._settings = _settings(seed, kinds)
        if kinds & _FAULTS:
            self.judge.race_s = RACE_S

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
            self.registry.create(NODE, node(f"n{number}"))
        self.server.on_effect = self._maybe_kill
        for name in ("a", "b"):
            client = Client(self.server, name, await anonymous("http://api"))
            self.replicas.append(Replica(name, client))
            self._start(self.replicas[-1])
        self._lead(0)
        self._spawn(self._kubelet())
        for step in self._steps:
            self._spawn(self._at(step))
        try:
            await asyncio.sleep(BUSY_S)
            self._calm()
            await asyncio.sleep(NOTICED_S)
            self.judge.once_calm(self.replicas[self.leader].service)
            until_s = self.true_s() + CALM_S
            while not self.judge.settled() and self.true_s() < until_s:  # noqa: ASYNC110 - virtual seconds
                await asyncio.sleep(5.0)
            await asyncio.sleep(5.5)  # between two rounds of the kubelet: the watches show what it did
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
        self.carbon.how = "well"
        Disk.full = False
        for replica in self.replicas:
            for watch in replica.client.watches:
                if watch.how and watch.how != "silent":
                    watch.how = ""
            if not replica.alive:
                self._start(replica)
        for name in [f"n{number}" for number in range(NODES)]:
            self._set_node(name, "back")
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
        with (
            mock.patch.object(service_module, "CarbonClient", carbon_client(self.carbon)),
            # A quarter of a run would go into building a REST API that nobody calls here.
            mock.patch.object(service_module, "create_app", mock.Mock()),
        ):
            return Service(self._settings, client, clock=self.skewed_s)

    def _start(self, replica: Replica) -> None:
        if replica.alive:
            return
        replica.client.cut_off = False
        replica.service = self._service(replica.client)
        parts = replica.service.background()
        parts.pop("rights", None)
        if replica.service.carbon is not None:
            parts["first signal"] = _once(replica.service._await_first_signal)
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
        self.judge.led_s = self.true_s()
        replica = self.replicas[number]
        if replica.scheduler is None or replica.scheduler.done():
            replica.scheduler = asyncio.ensure_future(KubeScheduler(self, replica).run())

    def _maybe_kill(self, who: str, place: str) -> bool:
        """Kill a replica that gets where it is to be killed; whether it was."""
        replica = self._replica(who)
        if replica is None or not replica.alive:
            return False
        for each in self._kill_at:
            if each[0] in (place, "anywhere"):
                each[1] -= 1
                if each[1] <= 0:
                    self._kill_at.remove(each)
                    self.say(f"at: {place}")
                    self._spawn(self._do_kill(self.replicas.index(replica), 2))
                    return True
        return False

    def crash_point(self, name: str) -> None:
        """The product's own crash points: a replica that is killed at one does not get any further."""
        replica = self._replica(answering.get())
        if replica is not None and not replica.alive:
            raise asyncio.CancelledError
        if self._maybe_kill(answering.get(), name):
            assert replica is not None
            self._stop(replica)
            raise asyncio.CancelledError

    def _replica(self, who: str) -> Replica | None:
        return next((each for each in self.replicas if each.name == who), None)

    async def _do_kill(self, replica: int, down_s: float) -> None:
        victim = self.replicas[replica]
        self.say(f"replica {victim.name} is killed")
        self._stop(victim)
        await asyncio.sleep(down_s)
        self._start(victim)

    def _do_kill_at(self, place: str, number: int) -> None:
        self._kill_at.append([place, number])

    async def _do_fail_over(self, both_s: float) -> None:
        """The other kube-scheduler leads. With `both_s` the first one does not know it for a while."""
        before = self.replicas[self.leader]
        self.judge.two_leaders_until_s = self.true_s() + both_s + 60.0 if both_s else 0.0
        if not both_s and before.scheduler is not None:
            before.scheduler.cancel()
        self._lead(1 - self.leader)
        await asyncio.sleep(both_s)
        if before.scheduler is not None and self.replicas[self.leader] is not before:
            before.scheduler.cancel()

    async def _do_requests(
        self, faults: list[str], share: float, lasts_s: float, late_s: tuple[float, float] = (2.0, 20.0)
    ) -> None:
        self.server.late_s = late_s
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
        made = node(name)
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

    async def _do_submit(
        self,
        app: str,
        executors: int,
        runs_s: float,
        extra: int = 0,
        forged: bool = False,
        gated_s: float = 0.0,
        max_delay_s: float = 0.0,
        within_s: float = 0.0,
        wanted: bool = True,
    ) -> None:
        self._runs_s[app] = runs_s
        made = driver(
            app, executors, executors + extra, forged=forged, gated=gated_s > 0, max_delay_s=max_delay_s
        )
        name = made["metadata"]["name"]
        if self.registry.find(POD, TEAM, name) is not None:
            return
        self.registry.create(POD, made)
        if wanted:
            self.judge.submitted(app, executors, max_delay_s)
        if gated_s:
            await asyncio.sleep(gated_s)
            if self.registry.find(POD, TEAM, name) is not None:
                self.registry.merge_patch(POD, TEAM, name, {"spec": {"schedulingGates": None}})
        if within_s:
            await asyncio.sleep(within_s)
            self.judge.in_time(name, within_s)

    async def _do_foreign(self, name: str, cpu: int, runs_s: float) -> None:
        """The default scheduler knows no reservations; it sees what is bound."""
        made = self.registry.create(POD, pod(name, cpu=cpu, scheduler="default-scheduler"))
        await asyncio.sleep(0.05)
        view = ClusterView(self.registry)
        for place in view.fitting(project_pod(made)):
            self.judge.foreign_s[place] = self.true_s()
            self.registry.bind(TEAM, name, {"metadata": {}, "target": {"name": place}})
            break
        await asyncio.sleep(runs_s)
        self._delete(name)

    def _delete(self, name: str) -> None:
        if self.registry.find(POD, TEAM, name) is not None:
            self.registry.delete(POD, TEAM, name, now=True)

    def evict(self, uids: list[str]) -> None:
        """Have pods stopped, as an eviction or a user does: their kubelet ends them."""
        for made in self.registry.all(POD):
            if uid_of(made) in uids:
                if role_of(made) == "driver":
                    self.judge.withdrawn(app_of(made))
                self.registry.delete(POD, TEAM, made["metadata"]["name"])

    def _do_delete(self, number: int, now: bool = True) -> None:
        app = f"app-{number}"
        if now:
            self._remove_application(app)
        else:
            self.evict([uid_of(made) for made in self.registry.all(POD) if app_of(made) == app])

    def _do_lose(self, number: int) -> None:
        """An executor is lost; Spark requests another one."""
        executors = [each for each in self.registry.all(POD) if _executor_of(each, f"app-{number}")]
        for made in executors[:1]:
            self._delete(made["metadata"]["name"])

    def _do_edit(self, number: int, annotations: dict[str, str | None]) -> None:
        """A user edits the driver."""
        name = f"app-{number}-driver"
        if self.registry.find(POD, TEAM, name) is not None:
            self.registry.merge_patch(POD, TEAM, name, {"metadata": {"annotations": annotations}})
            if "carbon-scheduler/executor-cpu" in annotations:
                self.judge.withdrawn(f"app-{number}")  # with a request that is wrong it may never start

    async def _do_urgent(self, number: int, cpu: int, runs_s: float, priority: int = URGENT) -> None:
        """A pod that may evict others."""
        name = f"urgent-{number}"
        if self.registry.find(POD, TEAM, name) is None:
            self.registry.create(POD, pod(name, cpu=cpu, priority=priority))
            await asyncio.sleep(runs_s)
            self._delete(name)

    async def _do_carbon(self, how: str, lasts_s: float) -> None:
        """There is a carbon service; for a while it sends garbage, or nothing."""
        self.carbon.how = how
        await asyncio.sleep(lasts_s)
        self.carbon.how = "well"

    async def _do_ledger(self, full_s: float) -> None:
        """There is a ledger; for a while its disk is full."""
        Disk.full = full_s > 0
        await asyncio.sleep(full_s)
        Disk.full = False

    def _do_permit(self, seconds: list[float]) -> None:
        """How long kube-scheduler takes between filter and bind."""
        self.permit_s = seconds

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
        if self.registry.find(POD, TEAM, made["metadata"]["name"]) is None:
            self.registry.create(POD, made)

    def _do_namesake(self, number: int) -> None:
        """A pod is deleted and made again under its name: it is another one."""
        app = f"app-{number}"
        made = self.registry.find(POD, TEAM, f"{app}-driver")
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
        await calls.filter(filter_args(lie, [TAINTED]))
        await asyncio.sleep(0.2)
        await calls.bind(bind_args(lie, TAINTED))
        await asyncio.sleep(5.0)
        self._delete(victim["metadata"]["name"])

    async def _do_ghosts(self, number: int) -> None:
        """Somebody asks for pods that do not exist, to use the room up."""
        calls = self.replicas[self.leader].service.calls
        names = [f"n{each}" for each in range(NODES)]
        for each in range(20):
            made = pod(f"ghost-{number}-{each}", cpu=1)
            made["metadata"]["uid"] = f"ghost-{number}-{each}-{self.registry.version}"
            await calls.filter(filter_args(made, names))
            if each % 5 == 0:
                await calls.bind(bind_args(made, names[0]))

    # -- kubelet and Spark -------------------------------------------------------------------------

    async def _kubelet(self) -> None:
        """Bound pods run; drivers make executors and end; what is to be deleted stops."""
        while True:
            await asyncio.sleep(1.0)
            for made in self.registry.all(POD):
                if self.registry.find(POD, TEAM, made["metadata"]["name"]) is made:
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
                POD, TEAM, name, {"status": {"phase": "Running", "began": self.true_s()}}, status=True
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
            self.registry.merge_patch(POD, TEAM, name, {"status": {"phase": "Succeeded"}}, status=True)
            return
        for number in range(len(executors), wanted):
            made = pod(f"{app}-exec-{number}-{self.registry.version}", app=app, role="executor")
            self.registry.create(POD, made)


def _executor_of(made: Object, app: str) -> bool:
    return role_of(made) == "executor" and app_of(made) == app


def _settings(seed: int, kinds: set[str]) -> Settings:
    """Carbon and accounting are on where something befalls them."""
    options: dict[str, Any] = {}
    if "carbon" in kinds:
        options["carbon"] = {"url": "http://carbon", "poll_s": _POLL_S}
    if "ledger" in kinds:
        options["accounting"] = {"ledger": f"ledger-{seed}", "flush_s": _FLUSH_S}
    return Settings.model_validate(options)


def _once(work: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
    """Work that ends, as a part that does not."""

    async def run() -> None:
        await work()
        await asyncio.Event().wait()

    return run


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the service's log: faults are what a run is about."""
    logger = logging.getLogger("extender")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def simulate(seed: int, steps: list[Step]) -> tuple[list[str], list[str]]:
    """One run: what is wrong (empty when all invariants hold), and what happened."""

    async def go() -> tuple[list[str], list[str]]:
        world = World(seed, steps)
        with ExitStack() as stack:
            stack.enter_context(_quiet())
            for module in (calls_module, binds_module):
                stack.enter_context(mock.patch.object(module, "crash_point", world.crash_point))
            for module in (accountant_module, recorder_module):
                stack.enter_context(mock.patch.object(module, "Worker", AtOnce))
            stack.enter_context(mock.patch.object(recorder_module, "Ledger", Disk))
            stack.enter_context(mock.patch.object(ledger_module, "_sqlite", in_memory))
            return await world.run(), world.story

    return virtual.run(go())
