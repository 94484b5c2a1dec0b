"""Users, drivers and kubelets in virtual time: pods are created, start, work, and end."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from extender.adapters.spark.flexibility import MAX_DELAY_KEY, POLICY_KEY, RUNTIME_KEY
from extender.core.facts import GangKey, PodFacts, Role
from extender.core.nodes.resources import CPU, MEMORY
from extender.lab.simulation.clock import Timer
from extender.lab.simulation.cluster import Cluster
from extender.lab.simulation.kube_scheduler import OUR_SCHEDULER
from extender.lab.simulation.workload import Submission

_MIB: Final = 1 << 20
_DRIVER: Final = {CPU: 1000, MEMORY: 1024 * _MIB}


@dataclass(frozen=True, slots=True)
class Delays:
    """Time that starting takes, in seconds: from the Binding of a pod until it runs."""

    driver_start_s: float = 5.0
    executor_start_s: float = 5.0


@dataclass(slots=True)
class PodRun:
    """A pod that was bound: where, from when, until when (None: it still runs), and its cores."""

    node: str
    cores: float
    bound_s: float
    ended_s: float | None = None


@dataclass(slots=True)
class Application:
    """One application's course. Moments in seconds since the epoch, None where it has not come to them.

    `started_s` is the Binding of its driver, `working_s` the moment at which all its minimum executors run.
    `done_s` is work done, in executor-seconds. It has failed when its driver was lost before that was all.
    """

    submission: Submission
    started_s: float | None = None
    working_s: float | None = None
    ended_s: float | None = None
    failed: bool = False
    created: int = 0
    pods: dict[str, PodRun] = field(default_factory=dict[str, PodRun])
    executors: set[str] = field(default_factory=set[str])
    running: set[str] = field(default_factory=set[str])
    done_s: float = 0.0
    counted_s: float = 0.0
    end: Timer | None = None

    @property
    def work_s(self) -> float:
        """All its work, in executor-seconds."""
        return self.submission.executors * self.submission.run_s


class Applications:
    """Runs submissions on a cluster. `on_end` hears of each that has ended.

    `moved_s` is when the last one is or was submitted, started, or ended.

    A driver creates its executors when it runs, and others for those it loses. The work begins when the
    minimum of them runs, and goes on in proportion to those that run. When it is done, all pods end at once.
    """

    def __init__(
        self, cluster: Cluster, delays: Delays, on_end: Callable[[Application], None] = lambda _: None
    ) -> None:
        self.by_uid: dict[str, Application] = {}
        self.unfinished = 0
        self.moved_s = cluster.clock.time()
        self._cluster = cluster
        self._clock = cluster.clock
        self._delays = delays
        self._on_end = on_end
        cluster.listeners.append(self._hear)

    def plan(self, submissions: Iterable[Submission]) -> None:
        """Submit each at its time."""
        for submission in submissions:
            self.unfinished += 1
            self.moved_s = max(self.moved_s, submission.at_s)
            self._clock.call_at(submission.at_s, self._submit, submission)

    def _submit(self, submission: Submission) -> None:
        app = Application(submission)
        driver = driver_pod(submission, self._clock.time())
        self.by_uid[driver.uid] = app
        self._cluster.create(driver)

    # -- kubelets --------------------------------------------------------------------------------

    def _hear(self, before: PodFacts | None, after: PodFacts | None) -> None:
        """A pod that has just been bound starts; one that is gone or has failed works no more."""
        pod = after or before
        assert pod is not None
        app = self.by_uid.get(_driver_uid(pod))
        if app is None:
            return
        if after is not None and after.node and (before is None or not before.node):
            now = self._clock.time()
            self.moved_s = max(self.moved_s, now)
            app.pods[pod.uid] = PodRun(pod.node, pod.requests.get(CPU, 0) / 1000, now)
            leads = pod.role is Role.LEADER
            if leads:
                app.started_s = now
            delay_s = self._delays.driver_start_s if leads else self._delays.executor_start_s
            self._clock.call_later(delay_s, self._run, pod.uid)
        elif after is None or after.finished:
            self._end_of_pod(app, pod)

    def _run(self, uid: str) -> None:
        pod = self._cluster.pods.get(uid)
        if pod is None or pod.finished:
            return
        pod = self._cluster.change(replace(pod, phase="Running"))
        app = self.by_uid[_driver_uid(pod)]
        if pod.role is Role.LEADER:
            self._ask_for_executors(app)
            self._work(app)
        else:
            self._count(app)
            app.running.add(uid)
            self._work(app)

    def _end_of_pod(self, app: Application, pod: PodFacts) -> None:
        run = app.pods.get(pod.uid)
        if run is not None and run.ended_s is None:
            run.ended_s = self._clock.time()
        if app.ended_s is not None:
            return
        if pod.role is Role.LEADER:
            app.failed = True
            self._clock.call_later(0.0, self._finish, app)
        elif pod.uid in app.executors:
            app.executors.discard(pod.uid)
            self._count(app)
            app.running.discard(pod.uid)
            self._work(app)
            self._clock.call_later(0.0, self._ask_for_executors, app)

    def _ask_for_executors(self, app: Application) -> None:
        """The driver creates as many executors as are missing."""
        while app.ended_s is None and not app.failed and len(app.executors) < app.submission.most:
            app.created += 1
            executor = executor_pod(app.submission, app.created, self._clock.time())
            app.executors.add(executor.uid)
            self._cluster.create(executor)

    # -- the work of an application --------------------------------------------------------------

    def _count(self, app: Application) -> None:
        """Book the work done since the number of executors changed last."""
        now = self._clock.time()
        if app.working_s is not None:
            app.done_s += len(app.running) * (now - app.counted_s)
        app.counted_s = now

    def _work(self, app: Application) -> None:
        """Plan the end by the executors that run now."""
        now = self._clock.time()
        number = len(app.running)
        if app.working_s is None:
            if number < app.submission.executors:
                return
            app.working_s = app.counted_s = now
        if app.end is not None:
            app.end.cancel()
            app.end = None
        if not app.submission.executors:
            app.end = self._clock.call_at(app.working_s + app.submission.run_s, self._finish, app)
        elif number:
            left_s = max(0.0, app.work_s - app.done_s)
            app.end = self._clock.call_later(left_s / number, self._finish, app)

    def _finish(self, app: Application) -> None:
        """The driver deletes its executors and ends; somebody cleans up after it."""
        if app.ended_s is not None:
            return
        self._count(app)
        app.ended_s = self._clock.time()
        self.moved_s = max(self.moved_s, app.ended_s)
        self.unfinished -= 1
        for uid in sorted(app.executors):
            self._cluster.delete(uid)
        driver = self._cluster.pods.get(_uid(app.submission, "driver"))
        if driver is not None:
            if not driver.finished:
                self._cluster.change(replace(driver, phase="Succeeded"))
            self._cluster.delete(driver.uid)
        self._on_end(app)


# -- pods ------------------------------------------------------------------------------------------


def driver_pod(submission: Submission, now: float) -> PodFacts:
    """The driver that a submission creates, annotated as its author would."""
    annotations = {
        "carbon-scheduler/executor-cpu": str(submission.cores),
        "carbon-scheduler/executor-memory": f"{submission.memory_mib}Mi",
    }
    if submission.most > submission.executors:
        annotations["carbon-scheduler/executor-min-count"] = str(submission.executors)
        annotations["carbon-scheduler/executor-max-count"] = str(submission.most)
    else:
        annotations["carbon-scheduler/executor-count"] = str(submission.executors)
    if submission.max_delay_s is not None:
        annotations[MAX_DELAY_KEY] = f"{submission.max_delay_s:.0f}"
    if submission.estimate_s is not None:
        annotations[RUNTIME_KEY] = f"{submission.estimate_s:.0f}"
    if submission.policy:
        annotations[POLICY_KEY] = submission.policy
    return PodFacts(
        _uid(submission, "driver"),
        submission.namespace,
        f"{submission.name}-driver",
        OUR_SCHEDULER,
        requests=_DRIVER,
        created_s=now,
        role=Role.LEADER,
        gang=GangKey(submission.namespace, submission.name),
        annotations=annotations,
        gated=submission.gated,
        hold_gate=submission.gated,
    )


def executor_pod(submission: Submission, number: int, now: float) -> PodFacts:
    """An executor that the running driver creates; `number` counts from 1."""
    return PodFacts(
        _uid(submission, f"exec-{number:04d}"),
        submission.namespace,
        f"{submission.name}-exec-{number}",
        OUR_SCHEDULER,
        requests={CPU: 1000 * submission.cores, MEMORY: submission.memory_mib * _MIB},
        created_s=now,
        role=Role.WORKER,
        gang=GangKey(submission.namespace, submission.name),
        leader_optional=True,
    )


def _uid(submission: Submission, member: str) -> str:
    return f"{submission.namespace}/{submission.name}/{member}"


def _driver_uid(pod: PodFacts) -> str:
    return f"{pod.gang.namespace}/{pod.gang.app_id}/driver" if pod.gang is not None else ""
