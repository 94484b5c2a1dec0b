"""Agent of carbon-scheduler inside a Spark driver written in Python: one file, nothing to install.

Put this file in a directory on the driver's PYTHONPATH. Python imports it at start; it waits for a
SparkContext, listens to its events, tells the extender about stages, and applies what the extender
answers (stage order, number of executors). Whatever goes wrong here, the job runs as if it were absent.

It runs in the user's image: Python 3.8 and newer, Spark 3.5 and 4.x. Settings are environment variables,
see docs/agent.md; without CARBON_SCHEDULER_URL it does nothing at all.
"""

from __future__ import annotations

import os
import sys

VERSION = 1
_CONTEXT_MODULES = ("pyspark.core.context", "pyspark.context")  # 4.x, 3.5
_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount/"
_QUEUE_LIMIT = 10_000  # as many events as Spark itself keeps for a listener
_PENDING_LIMIT = 5_000  # updates waiting for the extender
_BATCH_LIMIT = 1_000  # updates in one request
_TIMEOUT_S = 3.0
_REPLY_BYTES = 1 << 20
_URGENT_S = 0.1  # a new stage is told this soon: its tasks are about to be ordered
_INTERVAL_S = 5.0
_LONGEST_WAIT_S = 60.0
_STEERING_LEASE_S = 60.0  # without a good answer for so long, steering is taken back
_LAST_WORDS_S = 1.0


def _say(text):
    """A word to the one who looks for it; stderr belongs to the job."""
    if os.environ.get("CARBON_SCHEDULER_AGENT_DEBUG"):
        import contextlib

        with contextlib.suppress(Exception):  # a closed stderr is the job's business
            print("carbon-scheduler agent: " + text, file=sys.stderr, flush=True)


class Settings:
    """What the environment says. `problem` is why there is nothing to do, empty if there is."""

    def __init__(self, environ):
        self.url = environ.get("CARBON_SCHEDULER_URL", "").rstrip("/")
        named_token = environ.get("CARBON_SCHEDULER_TOKEN_FILE", "")
        # The account's own token opens the Kubernetes API: unless asked to, it never travels in clear.
        account = _ACCOUNT + "token" if self.url.startswith("https://") else ""
        self.token_file = named_token or account
        self.ca_file = environ.get("CARBON_SCHEDULER_CA_FILE", "")
        self.namespace = environ.get("CARBON_SCHEDULER_NAMESPACE") or _read(_ACCOUNT + "namespace")
        self.steer = environ.get("CARBON_SCHEDULER_AGENT_STEER", "on").lower() not in ("off", "false", "0")
        self.problem = ""
        if environ.get("CARBON_SCHEDULER_AGENT", "on").lower() in ("off", "false", "0"):
            self.problem = "switched off"
        elif not self.url.startswith(("http://", "https://")):
            self.problem = "CARBON_SCHEDULER_URL is not set to an http:// or https:// address"
        elif not self.namespace:
            self.problem = "no namespace: set CARBON_SCHEDULER_NAMESPACE"


def _read(path):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read(1 << 16).strip()
    except (OSError, ValueError):
        return ""


# --- Spark's JSON to compact updates -------------------------------------------------------------------


def _stage(info):
    return {
        "stage_id": info["Stage ID"],
        "attempt": info.get("Stage Attempt ID", 0),
        "name": info.get("Stage Name", ""),
        "tasks": info["Number of Tasks"],
        "parent_ids": info.get("Parent IDs", []),
        "rdd_ids": [rdd["RDD ID"] for rdd in info.get("RDD Info", [])],
        "profile_id": info.get("Resource Profile Id", 0),
        "submitted_ms": info.get("Submission Time"),
        "completed_ms": info.get("Completion Time"),
        "failure": info.get("Failure Reason") or "",
    }


def _job_start(event):
    properties = event.get("Properties") or {}
    return {
        "job_id": event["Job ID"],
        "time_ms": event["Submission Time"],
        "stages": [_stage(info) for info in event.get("Stage Infos", [])],
        "pool": properties.get("spark.scheduler.pool") or "",
        "sql_execution_id": properties.get("spark.sql.execution.id") or "",
    }


def _executor_added(event):
    info = event.get("Executor Info") or {}
    return {
        "executor_id": event["Executor ID"],
        "time_ms": event["Timestamp"],
        "host": info.get("Host", ""),
        "cores": info.get("Total Cores", 1),
        "profile_id": info.get("Resource Profile Id", 0),
    }


def _profile(event):
    cores = (event.get("Executor Resource Requests") or {}).get("cores") or {}
    cpus = (event.get("Task Resource Requests") or {}).get("cpus") or {}
    return {
        "profile_id": event["Resource Profile Id"],
        "executor_cores": int(cores.get("Amount", 0)),
        "task_cpus": cpus.get("Amount", 1.0),
    }


_UPDATES = {
    "JobStart": _job_start,
    "JobEnd": lambda event: {
        "job_id": event["Job ID"],
        "time_ms": event["Completion Time"],
        "succeeded": (event.get("Job Result") or {}).get("Result") == "JobSucceeded",
    },
    "StageSubmitted": lambda event: {"stage": _stage(event["Stage Info"])},
    "StageCompleted": lambda event: {"stage": _stage(event["Stage Info"])},
    "ExecutorAdded": _executor_added,
    "ExecutorRemoved": lambda event: {
        "executor_id": event["Executor ID"],
        "time_ms": event["Timestamp"],
        "reason": event.get("Removed Reason") or "",
    },
    "ResourceProfileAdded": _profile,
    "ApplicationEnd": lambda event: {"time_ms": event["Timestamp"]},
}
_HEARD = frozenset(_UPDATES) | {"TaskEnd"}
_SUMS = (
    "duration_ms",
    "input_bytes",
    "output_bytes",
    "shuffle_read_bytes",
    "shuffle_write_bytes",
    "spilled_bytes",
)
_ADDED = (*_SUMS, "succeeded", "failed")


def _task(event):
    """One ended task as amounts to add up."""
    info, metrics = event["Task Info"], event.get("Task Metrics") or {}
    read = metrics.get("Shuffle Read Metrics") or {}
    return {
        "duration_ms": max(0, info.get("Finish Time", 0) - info["Launch Time"]),
        "input_bytes": (metrics.get("Input Metrics") or {}).get("Bytes Read", 0),
        "output_bytes": (metrics.get("Output Metrics") or {}).get("Bytes Written", 0),
        "shuffle_read_bytes": read.get("Remote Bytes Read", 0) + read.get("Local Bytes Read", 0),
        "shuffle_write_bytes": (metrics.get("Shuffle Write Metrics") or {}).get("Shuffle Bytes Written", 0),
        "spilled_bytes": metrics.get("Disk Bytes Spilled", 0),
    }


class Running:
    """What was told of the jobs that still run, to be told again to an extender that has forgotten it."""

    _JOBS = 100
    _STAGES = 2_000

    def __init__(self):
        self._jobs = {}
        self._stages = {}  # (stage id, attempt): updates by type

    def told(self, updates):
        """The extender took these."""
        for update in updates:
            kind = update["type"]
            if kind == "JobStart":
                self._jobs[update["job_id"]] = update
                if len(self._jobs) > self._JOBS:
                    self._end(next(iter(self._jobs)))
            elif kind == "JobEnd":
                self._end(update["job_id"])
            elif kind == "TaskProgress":
                known = self._row(update["stage_id"], update["attempt"])
                row = known.setdefault(kind, dict(update, **dict.fromkeys(_ADDED, 0)))
                row.update({name: row[name] + update[name] for name in _ADDED})
                row["max_duration_ms"] = max(row["max_duration_ms"], update["max_duration_ms"])
            elif kind in ("StageSubmitted", "StageCompleted"):
                self._row(update["stage"]["stage_id"], update["stage"]["attempt"])[kind] = update

    def _row(self, stage_id, attempt):
        row = self._stages.setdefault((stage_id, attempt), {})
        if len(self._stages) > self._STAGES:
            del self._stages[next(iter(self._stages))]
        return row

    def _end(self, job_id):
        ended = self._jobs.pop(job_id, None)
        if ended is None:
            return
        wanted = {stage["stage_id"] for job in self._jobs.values() for stage in job["stages"]}
        over = {stage["stage_id"] for stage in ended["stages"]} - wanted
        self._stages = {key: row for key, row in self._stages.items() if key[0] not in over}

    def again(self):
        """All of it, as copies."""
        rows = [dict(update) for row in self._stages.values() for update in row.values()]
        return list(self._jobs.values()) + rows


class Updates:
    """Updates on their way to the extender, bounded; the tasks of a stage are one update a batch."""

    def __init__(self, limit=_PENDING_LIMIT):
        self._limit = limit
        self._open = []
        self._progress = {}
        self._batch = []
        self._under_way = False
        self._number = 0
        self._running = Running()
        self.dropped = 0
        self.urgent = False

    def __len__(self):
        return len(self._open) + len(self._batch)

    def add(self, kind, event):
        """Take one event in Spark's JSON form."""
        if kind == "TaskEnd":
            self._add_task(event)
            return
        update = _UPDATES[kind](event)
        update["type"] = "ProfileAdded" if kind == "ResourceProfileAdded" else kind
        self._append(update)
        self.urgent = self.urgent or kind in ("JobStart", "StageSubmitted", "ApplicationEnd")

    def _add_task(self, event):
        key = (event["Stage ID"], event.get("Stage Attempt ID", 0))
        amounts = _task(event)
        row = self._progress.get(key)
        if row is None:
            row = {"type": "TaskProgress", "stage_id": key[0], "attempt": key[1], "succeeded": 0, "failed": 0}
            row.update(dict.fromkeys(_SUMS, 0), max_duration_ms=0)
            self._progress[key] = row
            self._append(row)
        for name in _SUMS:
            row[name] += amounts[name]
        row["max_duration_ms"] = max(row["max_duration_ms"], amounts["duration_ms"])
        succeeded = (event.get("Task End Reason") or {}).get("Reason") == "Success"
        row["succeeded" if succeeded else "failed"] += 1

    def _append(self, update):
        self._open.append(update)
        if len(self._open) > self._limit:
            lost = self._open.pop(0)
            self._progress.pop((lost.get("stage_id"), lost.get("attempt")), None)
            self.dropped += 1

    def batch(self):
        """(number, updates): the same pair until `done` is called, so that a repetition is known as one."""
        if not self._under_way:
            self._under_way = True
            self._batch, self._open = self._open[:_BATCH_LIMIT], self._open[_BATCH_LIMIT:]
            self._progress, self._number, self.urgent = {}, self._number + 1, False
        return self._number, self._batch

    def done(self, accepted, forgot=False):
        """The batch was taken, or will never be. An extender that `forgot` took it without those before."""
        self.dropped += 0 if accepted else len(self._batch)
        if forgot:
            room = max(0, self._limit - len(self._open))
            self._open[:0] = self._running.again()[:room]
            self._running, self.urgent = Running(), True  # told when it is taken
        if accepted:
            self._running.told(self._batch)
        self._batch, self._under_way = [], False
        self.urgent = self.urgent or len(self._open) >= _BATCH_LIMIT


# --- HTTP ----------------------------------------------------------------------------------------------


def post(settings, path, body, timeout_s=_TIMEOUT_S):
    """(status, answer bytes) of one POST; no proxies, no redirects, no answer larger than the limit."""
    import http.client
    import ssl
    from urllib.parse import urlsplit

    target = urlsplit(settings.url)
    if target.scheme == "https":
        context = ssl.create_default_context(cafile=settings.ca_file or None)
        connection = http.client.HTTPSConnection(target.netloc, timeout=timeout_s, context=context)
    else:
        connection = http.client.HTTPConnection(target.netloc, timeout=timeout_s)
    headers = {"Content-Type": "application/json", "Connection": "close"}
    token = _read(settings.token_file) if settings.token_file else ""  # anew: the kubelet rotates it
    if token:
        headers["Authorization"] = "Bearer " + token
    try:
        connection.request("POST", target.path + path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read(_REPLY_BYTES)
    finally:
        connection.close()


# --- Steering ------------------------------------------------------------------------------------------


class Steering:
    """Applies the extender's wishes inside Spark, and takes them back when they end.

    Stages: `TaskSetManager.priority`, smaller runs first; only of task sets that exist, so a stage that
    was just submitted is tried for a while. Executors: `requestTotalExecutors`, with static allocation.
    """

    _TRIES = 200

    def __init__(self, context):
        self._context = context
        self._wanted = {}
        self._active = {}  # stage id: tries left
        self._original = {}
        self._target = None
        conf = context.getConf()
        self._initial = int(conf.get("spark.executor.instances", "2"))
        self._dynamic = conf.get("spark.dynamicAllocation.enabled", "false").lower() == "true"

    def heard(self, kind, event):
        """Follow which stages run."""
        if kind == "StageSubmitted":
            self._active[event["Stage Info"]["Stage ID"]] = self._TRIES
        elif kind == "StageCompleted":
            stage_id = event["Stage Info"]["Stage ID"]
            self._active.pop(stage_id, None)
            self._original.pop(stage_id, None)

    def wish(self, reply):
        """Take the wishes of an answer; what it does not name goes back to Spark's own."""
        wanted = {int(stage): int(value) for stage, value in (reply.get("priorities") or {}).items()}
        if any(abs(value) >= 1 << 31 for value in wanted.values()):
            raise ValueError("a priority is a 32-bit number")
        if wanted != self._wanted:
            self._wanted = wanted
            self._active = dict.fromkeys(self._active, self._TRIES)
        target = reply.get("target_executors")
        if target is not None and (type(target) is not int or not 0 < target < 1 << 31):
            raise ValueError("target_executors is a number of executors")
        self._request(target)

    def _request(self, target):
        if self._dynamic or target == self._target:
            return
        self._target = target
        maps = self._context._jvm.org.apache.spark.api.python.PythonUtils.toScalaMap({})
        total = self._initial if target is None else target
        self._context._jsc.sc().requestTotalExecutors(total, 0, maps)

    @property
    def pending(self):
        """Whether a task set waits for its priority."""
        return any(
            tries and (stage in self._wanted or stage in self._original)
            for stage, tries in self._active.items()
        )

    def order(self):
        """Set priorities of the task sets there are."""
        due = {stage for stage, tries in self._active.items() if tries}
        for stage in due:
            self._active[stage] -= 1
        self._walk(self._context._jsc.sc().taskScheduler().rootPool(), due)

    def _walk(self, pool, due):
        for item in list(pool.schedulableQueue().toArray()):
            if item.getClass().getSimpleName() != "TaskSetManager":
                self._walk(item, due)
                continue
            stage = item.stageId()
            if stage not in due:
                continue
            original = self._original.setdefault(stage, item.priority())
            getattr(item, "priority_$eq")(self._wanted.get(stage, original))
            self._active[stage] = 0
            if stage not in self._wanted:
                del self._original[stage]


# --- The agent -----------------------------------------------------------------------------------------


class Listener:
    """What Spark's bus calls. All its calls come on one thread that shares the GIL with the job: it only
    puts events aside. Methods of Spark versions to come are answered too."""

    def __init__(self, agent):
        self._agent = agent

    def __getattr__(self, name):
        if not name.startswith("on"):
            raise AttributeError(name)
        kind = name[2:]
        agent = self._agent
        if kind in _HEARD:
            return lambda event: agent.put(kind, event)
        return lambda *_event: None

    def equals(self, other):
        return False

    def hashCode(self):  # noqa: N802 - Java's name
        return id(self) & 0x7FFFFFFF

    def toString(self):  # noqa: N802 - Java's name
        return "carbon-scheduler agent"

    class Java:
        """How py4j learns what this object is."""

        implements = ["org.apache.spark.scheduler.SparkListenerInterface"]  # noqa: RUF012 - py4j wants a list


class Agent:
    """Takes events of one SparkContext, tells the extender, applies its answers.

    `decode` makes Spark's JSON text of an event, `send` is `post`, `clock` counts seconds.
    """

    def __init__(
        self, settings, app_id, decode, steering=None, send=post, clock=None, jitter=None, about=None
    ):
        import collections
        import random
        import threading
        import time
        import uuid
        from urllib.parse import quote

        self.settings = settings
        self.active = True
        self.updates = Updates()
        self.ended = False
        self.healthy = False
        self._path = "/v1/applications/{}/{}/events".format(quote(settings.namespace, ""), quote(app_id, ""))
        self._about = dict(about or {}, agent=VERSION, driver=uuid.uuid4().hex)
        self._decode = decode
        self._steering = steering
        self._send = send
        self._clock = clock or time.monotonic
        self._jitter = jitter or random.random
        self._queue = collections.deque()
        self._wake = threading.Event()
        self.finished = threading.Event()
        self._interval_s = _INTERVAL_S
        self._failures = 0
        self._due_s = self._clock()
        self._answered_s = self._due_s
        self._pid = os.getpid()

    def put(self, kind, event):
        """Called by Spark for each event: never waits, never raises; tasks give way to stages."""
        if not self.active:
            return
        room = _QUEUE_LIMIT // 2 if kind == "TaskEnd" else _QUEUE_LIMIT
        if len(self._queue) >= room:
            self.updates.dropped += 1
            return
        self._queue.append((kind, event))
        if kind != "TaskEnd":
            self._wake.set()

    def run(self):
        """Work until the application ends or the agent is switched off."""
        try:
            while self.active and not (self.ended and not len(self.updates)):
                self._wake.wait(self.wait_s())
                self._wake.clear()
                self.step()
        except Exception as problem:
            _say(f"stopped: {problem!r}")
        finally:
            self.active = False
            self._queue.clear()
            self.finished.set()

    def wait_s(self):
        """Seconds until there is something to do unasked."""
        if self._steering is not None and self._steering.pending:
            return 0.05
        return min(max(0.0, self._due_s - self._clock()), 1.0)

    def step(self):
        """Take in what came, send what is due, steer. Raises nothing."""
        self._take_in()
        now = self._clock()
        if self.updates.urgent and not self._failures:
            self._due_s = min(self._due_s, now + _URGENT_S)
        if now >= self._due_s or (self.ended and not self._failures):
            self._exchange()
        try:
            if self._steering is not None:
                if self._clock() - self._answered_s > _STEERING_LEASE_S:
                    self._steering.wish({})
                if self._steering.pending:
                    self._steering.order()
        except Exception as problem:
            _say(f"steering given up: {problem!r}")
            self._steering = None

    def _take_in(self):
        import json

        for _ in range(len(self._queue)):
            kind, event = self._queue.popleft()
            try:
                decoded = json.loads(self._decode(event))
                self.updates.add(kind, decoded)
                if self._steering is not None:
                    self._steering.heard(kind, decoded)
            except Exception as problem:
                self.updates.dropped += 1
                _say(f"{kind} not understood: {problem!r}")
            self.ended = self.ended or kind == "ApplicationEnd"

    def _exchange(self):
        import json

        number, events = self.updates.batch()
        message = dict(self._about, batch=number, dropped=self.updates.dropped, events=events)
        try:
            status, answer = self._send(self.settings, self._path, json.dumps(message).encode())
            if status == 200:
                reply = json.loads(answer)
                self._interval_s = min(max(float(reply.get("interval_s", _INTERVAL_S)), 0.2), 300.0)
            elif 400 <= status < 500 and status not in (401, 403, 408, 425, 429):
                self.updates.done(accepted=False)  # it will not be better the next time
                raise ValueError(f"answer {status}")
            else:
                raise ValueError(f"answer {status}")
        except Exception as problem:
            self._fail(problem)
            return
        self.updates.done(accepted=True, forgot=reply.get("resend") is True)
        self.healthy, self._failures, self._answered_s = True, 0, self._clock()
        self._due_s = self._answered_s + self._interval_s
        self._obey(reply)

    def _fail(self, problem):
        self.healthy = False
        self._failures += 1
        wait_s = min(_LONGEST_WAIT_S, 2.0 ** min(self._failures, 10))
        self._due_s = self._clock() + wait_s * (0.5 + self._jitter() / 2)
        if self.ended:
            self.active = False  # nothing to hold the driver for
        _say(f"extender not reached: {problem!r}")

    def _obey(self, reply):
        off = reply.get("off") is True
        if self._steering is not None:
            try:
                self._steering.wish({} if off else reply)
                if off and self._steering.pending:
                    self._steering.order()
            except Exception as problem:
                _say(f"answer not understood: {problem!r}")
        if off:
            self.active = False

    def last_words(self):
        """At exit: a moment for the last batch, if the extender has been answering."""
        if self.active and self.healthy and os.getpid() == self._pid:
            self._wake.set()
            self.finished.wait(_LAST_WORDS_S)


_current = None


def attach(context, environ=os.environ):
    """Listen to a SparkContext on a queue of its own. Answers the agent, or None with nothing done."""
    global _current
    if _current is not None:
        _current.active = False
    settings = Settings(environ)
    if settings.problem or context._jsc is None:
        _say(settings.problem or "no JVM behind this context")
        return None
    import atexit
    import threading

    from pyspark.java_gateway import (  # pyright: ignore[reportMissingImports] - the image has it
        ensure_callback_server_started,
    )

    ensure_callback_server_started(context._gateway)
    steering = Steering(context) if settings.steer else None
    decode = context._jvm.org.apache.spark.util.JsonProtocol.sparkEventToJsonString
    about = {"app_name": context.appName, "spark_version": context.version}
    agent = Agent(settings, context.applicationId, decode, steering, about=about)
    context._jsc.sc().listenerBus().addToQueue(Listener(agent), "carbonScheduler")
    threading.Thread(target=agent.run, name="carbon-scheduler-agent", daemon=True).start()
    atexit.register(agent.last_words)  # and never shutdown_callback_server(), which hangs
    _current = agent
    _say("attached to " + context.applicationId)
    return agent


# --- Injection -----------------------------------------------------------------------------------------


def patch(module):
    """Make the SparkContext of an imported module attach the agent once it is up."""
    original = module.SparkContext._do_init

    def _do_init(self, *args, **kwargs):
        result = original(self, *args, **kwargs)
        try:
            attach(self)
        except Exception as problem:
            _say(f"not attached: {problem!r}")
        return result

    module.SparkContext._do_init = _do_init


class _Wrapped:
    """The real loader of pyspark's module, with a word at the end."""

    def __init__(self, inner):
        self._inner = inner

    def __getattr__(self, name):
        return getattr(self._inner, name)


class _Loader(_Wrapped):
    def create_module(self, spec):
        return self._inner.create_module(spec)

    def exec_module(self, module):
        self._inner.exec_module(module)
        _try_patch(module)


class _OldLoader(_Wrapped):
    """For loaders without exec_module, as those of zip files up to Python 3.9."""

    def load_module(self, name):
        module = self._inner.load_module(name)
        _try_patch(module)
        return module


def _try_patch(module):
    try:
        if module.SparkContext.__module__ == module.__name__:  # not the alias that 4.x keeps
            patch(module)
    except Exception as problem:
        _say(f"{module.__name__} not patched: {problem!r}")


class _Finder:
    """Finds nothing itself; wraps what the others find for two names."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name not in _CONTEXT_MODULES:
            return None
        for finder in sys.meta_path:
            find_spec = getattr(finder, "find_spec", None)
            if finder is _Finder or find_spec is None:
                continue
            spec = find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    modern = hasattr(spec.loader, "exec_module")
                    spec.loader = (_Loader if modern else _OldLoader)(spec.loader)
                return spec
        return None


def _next_sitecustomize():
    """Run the sitecustomize that this file hides, if the image has one."""
    import importlib.machinery
    import importlib.util

    here = os.path.dirname(os.path.abspath(__file__))
    path = [each for each in sys.path if os.path.abspath(each or ".") != here]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", path)
    if spec is not None and spec.loader is not None and spec.origin != __file__:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


if __name__ == "sitecustomize":
    try:
        if not Settings(os.environ).problem:
            sys.meta_path.insert(0, _Finder)
    except Exception as problem:
        _say(f"not installed: {problem!r}")
    _next_sitecustomize()
