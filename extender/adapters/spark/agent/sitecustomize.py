"""Agent of carbon-scheduler inside a Spark driver written in Python: one file, nothing to install.

Put this file in a directory on the driver's PYTHONPATH. Python imports it at start; it waits for a
SparkContext, listens to its events, tells the extender about stages, and applies what the extender
answers (stage order, number of executors). The job runs as if the agent were absent, whatever fails here.

It runs in the user's image: Python 3.8 and newer, Spark 3.5 and 4.x. Settings are environment variables,
see docs/agent.md; without CARBON_SCHEDULER_URL it does nothing at all.
"""

from __future__ import annotations

import io
import os
import sys

VERSION = 1
_CONTEXT_MODULES = ("pyspark.core.context", "pyspark.context")  # 4.x, 3.5
_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount/"
_MARK = "carbon_scheduler"  # attribute of what there is but once in an interpreter
_THREADS = "carbon-scheduler"  # how the names of the agent's threads begin

_QUEUE_LIMIT = 10_000  # as many events as Spark itself keeps for a listener
_STEP_LIMIT = 1_000  # events taken in before the next look at the clock
_EVENT_CHARS = 8 << 20  # a longer event is dropped: reading it would hold up the job's own Python
_TEXT_CHARS = 1_000  # of a name or a reason: a failure may carry pages
_RDDS = 100  # of a stage, the latest: they are what tells it from others
_PENDING_LIMIT = 5_000  # updates waiting for the extender, and stages in them
_BATCH_LIMIT = 1_000  # of these in one request

_REQUEST_S = 3.0  # for a request as a whole, from connecting to the last byte
_PATIENCE_S = 4.0  # for the same and the look-up of the name, which knows no limit
_REPLY_BYTES = 1 << 18  # priorities of 15,000 stages
_REPLY_DEPTH = 100  # brackets in an answer; two are usual
_URGENT_S = 0.1  # a new stage is reported this soon: Spark is about to order its tasks
_INTERVAL_S, _SHORTEST_S, _LONGEST_S = 5.0, 0.2, 300.0  # between batches
_LONGEST_RETRY_S = 60.0
_RESEND_S = 30.0  # an extender that restarts more often gets repetitions more slowly
_STEERING_LEASE_S = 60.0  # without a good answer for so long, the agent undoes its changes
_MOST_EXECUTORS = 100_000  # within Kubernetes' own limit of pods
_ORDER_S = 0.05  # between two looks for task sets that wait for their priority
_LAST_WORDS_S = 1.0
_LISTENERS = 10  # that py4j says nothing of: a process may have many contexts, one after the other


def _say(text, problem=None):
    """A word to the one who looks for it; stderr belongs to the job.

    Past Python's buffer, whose lock no thread may hold while the interpreter ends.
    """
    if os.environ.get("CARBON_SCHEDULER_AGENT_DEBUG"):
        import contextlib

        with contextlib.suppress(Exception):  # a closed stderr is the job's business
            words = text if problem is None else f"{text}: {problem!r}"
            os.write(sys.stderr.fileno(), f"carbon-scheduler agent: {words}\n".encode("utf-8", "replace"))


class Settings:
    """Settings from the environment. `problem` is why the agent has nothing to do, else empty."""

    def __init__(self, environ):
        self.url = environ.get("CARBON_SCHEDULER_URL", "").rstrip("/")
        # No default: the account's own token opens the Kubernetes API, and has another audience.
        self.token_file = environ.get("CARBON_SCHEDULER_TOKEN_FILE", "")
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


def _text(value):
    return (value or "")[:_TEXT_CHARS]


def _stage(info):
    rdd_ids = [rdd["RDD ID"] for rdd in info.get("RDD Info", [])]
    return {
        "stage_id": info["Stage ID"],
        "attempt": info.get("Stage Attempt ID", 0),
        "name": _text(info.get("Stage Name")),
        "tasks": info["Number of Tasks"],
        "parent_ids": info.get("Parent IDs", []),
        "rdd_ids": rdd_ids if len(rdd_ids) <= _RDDS else sorted(rdd_ids)[-_RDDS:],
        "profile_id": info.get("Resource Profile Id", 0),
        "submitted_ms": info.get("Submission Time"),
        "completed_ms": info.get("Completion Time"),
        "failure": _text(info.get("Failure Reason")),
    }


def _job_start(event):
    properties = event.get("Properties") or {}
    return {
        "job_id": event["Job ID"],
        "time_ms": event["Submission Time"],
        "stages": [_stage(info) for info in event.get("Stage Infos", [])],
        "pool": _text(properties.get("spark.scheduler.pool")),
        "sql_execution_id": _text(properties.get("spark.sql.execution.id")),
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
        "reason": _text(event.get("Removed Reason")),
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


def _weight(updates):
    """How much there is to keep and to send: updates, and the stages in them."""
    return sum(1 + len(update.get("stages", ())) for update in updates)


def _fitting(updates, room):
    """The updates from the first on that fit together."""
    for count, update in enumerate(updates):
        room -= _weight((update,))
        if room < 0:
            return updates[:count]
    return updates


class Running:
    """Reports of jobs that still run, to be repeated for an extender that has restarted."""

    _JOBS = 100
    _JOB_STAGES = 10_000
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
                while len(self._jobs) > self._JOBS or _weight(self._jobs.values()) > self._JOB_STAGES:
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
        self._load = 0  # weight of the open ones
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
        self._load += _weight((update,))
        while self._load > self._limit and len(self._open) > 1:
            lost = self._open.pop(0)
            self._load -= _weight((lost,))
            self._progress.pop((lost.get("stage_id"), lost.get("attempt")), None)
            self.dropped += 1

    def batch(self):
        """(number, updates): the same pair until `done` is called, so that a repetition is known as one."""
        if not self._under_way:
            self._under_way = True
            self._batch = _fitting(self._open, _BATCH_LIMIT) or self._open[:1]
            self._open = self._open[len(self._batch) :]
            self._load = _weight(self._open)
            self._progress, self._number, self.urgent = {}, self._number + 1, False
        return self._number, self._batch

    def done(self, accepted, forgot=False):
        """The batch was taken, or will never be. An extender that `forgot` took it without those before."""
        self.dropped += 0 if accepted else len(self._batch)
        if forgot:
            self._open[:0] = _fitting(self._running.again(), self._limit - self._load)
            self._load = _weight(self._open)
            self._running, self.urgent = Running(), True  # told when it is taken
        if accepted:
            self._running.told(self._batch)
        self._batch, self._under_way = [], False
        self.urgent = self.urgent or self._load >= _BATCH_LIMIT


# --- HTTP ----------------------------------------------------------------------------------------------


class _Incoming(io.RawIOBase):
    """Bytes of a socket until an end in time and in size: what drips in moves neither."""

    def __init__(self, talk):
        super().__init__()
        self._talk = talk
        self._room = _REPLY_BYTES

    def readable(self):
        return True

    def readinto(self, buffer):
        count = self._talk.ready().recv_into(buffer)
        self._room -= count
        if self._room < 0:
            raise OSError("answer too long")  # http.client makes something else of a ValueError
        return count


class _Talk:
    """A socket as http.client knows it, with one end in time for all that is sent and received."""

    def __init__(self, address, limit_s):
        import socket
        import time

        self._clock = time.monotonic
        self._ends_s = self._clock() + limit_s
        self._socket = socket.create_connection(address, limit_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def secure(self, context, name):
        self._socket = context.wrap_socket(self.ready(), server_hostname=name)

    def ready(self):
        """The socket, to wait on until the end at most."""
        left_s = self._ends_s - self._clock()
        if left_s <= 0:
            raise TimeoutError("the request takes too long")
        self._socket.settimeout(left_s)
        return self._socket

    def sendall(self, data):
        view = memoryview(data)
        while len(view):
            view = view[self.ready().send(view) :]

    def makefile(self, _mode):
        return io.BufferedReader(_Incoming(self))

    def close(self):
        """http.client closes before it reads the answer: the one who made this calls `hang_up`."""

    def hang_up(self):
        self._socket.close()


_tls = {}


def _tls_context(ca_file):
    """A context, made again only when the file changes: reading a system's authorities takes 20 ms."""
    import ssl

    key = (ca_file, os.stat(ca_file).st_mtime_ns if ca_file else 0)
    if key not in _tls:
        context = ssl.create_default_context(cafile=ca_file or None)
        _tls.clear()
        _tls[key] = context
    return _tls[key]


def post(settings, path, body, limit_s=_REQUEST_S):
    """(status, answer bytes) of one POST; no proxies, no redirects, nothing after `limit_s`.

    Only a name that is looked up or has several addresses may take longer, see `Courier`.
    """
    import http.client
    from urllib.parse import urlsplit

    target = urlsplit(settings.url)
    secure = target.scheme == "https"
    headers = {"Content-Type": "application/json", "Connection": "close", "Host": target.netloc}
    token = _read(settings.token_file) if settings.token_file else ""  # read again: the kubelet rotates it
    if token:
        if not (token.isascii() and token.isprintable()):
            raise ValueError("no token in " + settings.token_file)  # and none in a message of http.client
        headers["Authorization"] = "Bearer " + token
    talk = _Talk((target.hostname, target.port or (443 if secure else 80)), limit_s)
    try:
        if secure:
            talk.secure(_tls_context(settings.ca_file), target.hostname)
        connection = http.client.HTTPConnection(target.netloc)
        connection.sock = talk
        connection.request("POST", target.path + path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        talk.hang_up()


class Courier:
    """Does `send` on a thread of its own and waits so long only, whatever hangs there.

    One at a time: while a request hangs, the next fails at once.
    """

    def __init__(self, send=post, patience_s=_PATIENCE_S):
        self._send = send
        self._patience_s = patience_s
        self._thread = None

    def __call__(self, *request):
        import threading

        if self._thread is not None and self._thread.is_alive():
            raise TimeoutError("an earlier request hangs")
        outcome = []

        def work():
            try:
                outcome.append((self._send(*request), None))
            except Exception as problem:
                outcome.append((None, problem))

        self._thread = threading.Thread(target=work, name=_THREADS + "-request", daemon=True)
        self._thread.start()
        self._thread.join(self._patience_s)
        if not outcome:
            raise TimeoutError("the request hangs")
        answer, problem = outcome[0]
        if problem is not None:
            raise problem
        return answer


# --- Answers -------------------------------------------------------------------------------------------


def _integer(digits):
    if len(digits) > 20:  # reading a million of them takes seconds, and the GIL
        raise ValueError("a number too long")
    return int(digits)


def _refuse(name):
    raise ValueError(name + " is no number of JSON")


def read_reply(answer):
    """The fields of an answer in bytes, checked. Raises ValueError: no part of a bad answer is obeyed."""
    import json

    if answer.count(b"[") + answer.count(b"{") > _REPLY_DEPTH:  # deep ones can end the whole process
        raise ValueError("an answer too deep")
    reply = json.loads(answer.decode("utf-8"), parse_int=_integer, parse_constant=_refuse)
    if not isinstance(reply, dict):
        raise ValueError("an answer is an object")
    interval_s = reply.get("interval_s", _INTERVAL_S)
    if type(interval_s) not in (int, float) or not 0 < interval_s < float("inf"):
        raise ValueError("interval_s is a number of seconds")
    priorities = reply.get("priorities") or {}
    if not isinstance(priorities, dict):
        raise ValueError("priorities are an object")
    for stage, value in priorities.items():
        if not (stage.isascii() and stage.isdigit() and len(stage) <= 10):
            raise ValueError("priorities are by stage id")
        if type(value) is not int or not -(1 << 31) <= value < 1 << 31:
            raise ValueError("a priority is a 32-bit number")
    target = reply.get("target_executors")
    if target is not None and (type(target) is not int or not 0 < target <= _MOST_EXECUTORS):
        raise ValueError("target_executors is a number of executors")
    return {
        "interval_s": min(max(interval_s, _SHORTEST_S), _LONGEST_S),
        "priorities": priorities,
        "target_executors": target,
        "off": reply.get("off") is True,
        "resend": reply.get("resend") is True,
    }


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
        """Take the wishes of a checked answer; what it does not name goes back to Spark's own."""
        wanted = {int(stage): value for stage, value in reply.get("priorities", {}).items()}
        if wanted != self._wanted:
            self._wanted = wanted
            self._active = dict.fromkeys(self._active, self._TRIES)
        self._request(reply.get("target_executors"))

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
    """The listener that Spark's bus calls, on one thread that shares the GIL with the job: it only stores
    events. It also answers methods of future Spark versions."""

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


def _nothing():
    pass


class Agent:
    """Takes events of one SparkContext, tells the extender, applies its answers.

    `decode` makes Spark's JSON text of an event, `send` posts, `clock` counts seconds. `detach` may be set
    to what leaves Spark's listener bus.
    """

    def __init__(
        self, settings, app_id, decode, steering=None, send=None, clock=None, jitter=None, about=None
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
        self.detach = _nothing
        self._path = "/v1/applications/{}/{}/events".format(quote(settings.namespace, ""), quote(app_id, ""))
        self._about = dict(about or {}, agent=VERSION, driver=uuid.uuid4().hex)
        self._decode = decode
        self._steering = steering
        self._send = send or Courier()
        self._clock = clock or time.monotonic
        self._jitter = jitter or random.SystemRandom().random  # not the sequence of the job's
        self._queue = collections.deque()
        self._wake = threading.Event()
        self.finished = threading.Event()
        self._leaving = False
        self._failures = 0
        self._due_s = self._earliest_s = self._order_s = self._answered_s = self._clock()
        self._forgotten_s = None  # when the extender last asked for everything again
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
        """Work until the application ends, the agent is switched off or the process exits."""
        try:
            while self.active and not self._leaving and not (self.ended and not len(self.updates)):
                self._wake.wait(self.wait_s())
                self._wake.clear()
                if not self._leaving:
                    self.step()
            if self._leaving:
                self._detach()
                self._take_in()
                if self.healthy:
                    self._exchange()
        except Exception as problem:
            _say("stopped", problem)
        finally:
            self.active = False
            if not self.ended:
                self._take_back()
                self._detach()
            self._queue.clear()  # and no reference of the agent keeps the context in the memory of the JVM
            self._steering, self.detach, self.updates = None, _nothing, Updates()
            self.finished.set()

    def wait_s(self):
        """Seconds until there is something to do unasked: enough to sleep, and a second at most."""
        due_s = self._due_s
        if self._steering is not None and self._steering.pending:
            due_s = min(due_s, self._order_s)
        if self._queue:
            due_s = self._clock()
        return min(max(0.01, due_s - self._clock()), 1.0)

    def step(self):
        """Take in what came, send what is due, steer. Takes a few seconds at most, and raises nothing."""
        self._take_in()
        now = self._clock()
        if self.updates.urgent and not self._failures:
            self._due_s = min(self._due_s, max(now + _URGENT_S, self._earliest_s))
        last = self.ended and not self._failures and now >= self._earliest_s
        if now >= self._due_s or last:
            self._exchange()
        self._steer()

    def _take_in(self):
        import json

        for _ in range(min(len(self._queue), _STEP_LIMIT)):
            kind, event = self._queue.popleft()
            try:
                text = self._decode(event)
                if len(text) > _EVENT_CHARS:
                    raise ValueError(f"{len(text)} characters")
                decoded = json.loads(text)
                self.updates.add(kind, decoded)
                if self._steering is not None:
                    self._steering.heard(kind, decoded)
            except Exception as problem:
                self.updates.dropped += 1
                _say(f"{kind} not understood", problem)
            self.ended = self.ended or kind == "ApplicationEnd"

    def _exchange(self):
        import json

        number, events = self.updates.batch()
        message = dict(self._about, batch=number, dropped=self.updates.dropped, events=events)
        try:
            status, answer = self._send(self.settings, self._path, json.dumps(message).encode())
            if status != 200:
                if 400 <= status < 500 and status not in (401, 403, 408, 425, 429):
                    self.updates.done(accepted=False)  # it will not be better the next time
                raise ValueError(f"answer {status}")
            reply = read_reply(answer)
        except Exception as problem:
            self._fail(problem)
            return
        self.updates.done(accepted=True, forgot=reply["resend"])
        self._answered(reply)

    def _answered(self, reply):
        """Plan the next batch, and do what the answer says."""
        now = self._clock()
        self.healthy, self._failures, self._answered_s = True, 0, now
        interval_s = reply["interval_s"]
        if reply["priorities"] or reply["target_executors"]:
            interval_s = min(interval_s, _STEERING_LEASE_S / 3)  # who steers is asked in time
        self._due_s = now + interval_s
        if reply["resend"]:
            if self._forgotten_s is not None and now - self._forgotten_s < _RESEND_S:
                self._earliest_s = self._due_s = now + max(interval_s, _INTERVAL_S)
            self._forgotten_s = now
        if reply["off"]:
            self._take_back()
            self.active = False
        elif self._steering is not None:
            try:
                self._steering.wish(reply)
            except Exception as problem:
                self._give_up(problem)

    def _fail(self, problem):
        self.healthy = False
        self._failures += 1
        wait_s = min(_LONGEST_RETRY_S, 2.0 ** min(self._failures, 10))
        self._due_s = self._clock() + wait_s * (0.5 + self._jitter() / 2)
        if self.ended:
            self.active = False  # nothing to hold the driver for
        _say("extender not reached", problem)

    def _steer(self):
        """Set what waits to be set, now and then: the walk through the task sets costs the job something."""
        if self._steering is None:
            return
        now = self._clock()
        try:
            if now - self._answered_s > _STEERING_LEASE_S:
                self._steering.wish({})
            if self._steering.pending and now >= self._order_s:
                self._steering.order()
                ended_s = self._clock()
                self._order_s = ended_s + max(_ORDER_S, 10 * (ended_s - now))
        except Exception as problem:
            self._give_up(problem)

    def _give_up(self, problem):
        _say("steering given up", problem)
        self._take_back()
        self._steering = None

    def _take_back(self):
        """Leave stages and executors to Spark, as far as it lets us."""
        try:
            if self._steering is not None:
                self._steering.wish({})
                if self._steering.pending:
                    self._steering.order()
        except Exception as problem:
            _say("steering not taken back", problem)

    def _detach(self):
        """Leave the listener bus: Spark logs an error for every event that a listener does not take."""
        detach, self.detach = self.detach, _nothing
        try:
            detach()
        except Exception as problem:
            _say("not detached", problem)

    def last_words(self):
        """At exit: a moment to leave Spark, and for the last batch if the extender has been answering."""
        if self.active and os.getpid() == self._pid:
            self._leaving = True
            self._wake.set()
            self.finished.wait(_LAST_WORDS_S)


class _Quiet:
    """Keeps py4j's words on the agent's doings out of the job's log: at INFO it has one for each event."""

    def __init__(self):
        self.endings: tuple = ()  # of what it says on calls of our listeners, the latest

    def add(self, names):
        """Say nothing of calls of these objects."""
        self.endings = (*self.endings, *(" id " + name for name in names))[-_LISTENERS:]

    def filter(self, record):
        try:
            return not (record.threadName.startswith(_THREADS) or str(record.msg).endswith(self.endings))
        except Exception:
            return True

    def install(self):
        import logging

        for name in ("py4j.clientserver", "py4j.java_gateway"):
            logging.getLogger(name).addFilter(self)  # once, however often


_quiet = _Quiet()
_current = None


def attach(context, environ=os.environ):
    """Listen to a SparkContext on a queue of its own. Answers the agent, or None with nothing done."""
    global _current
    if _current is None:
        import atexit

        atexit.register(_at_exit)
    else:
        _current.active = False
    settings = Settings(environ)
    if settings.problem or context._jsc is None:
        _say(settings.problem or "no JVM behind this context")
        return None
    if not settings.token_file:
        _say("no token is sent: mount a projected one and name its path in CARBON_SCHEDULER_TOKEN_FILE")
    # All imports here: a process forked while the agent's thread imports could never import the same.
    import encodings.idna  # looking up a name does
    import http.client
    import json
    import ssl
    import threading

    del encodings, http, json, ssl
    _quiet.install()
    _current = agent = _listen(context, settings)
    try:
        threading.Thread(target=agent.run, name=_THREADS + "-agent", daemon=True).start()
    except RuntimeError:  # the container has all the threads it may have
        agent.active = False
        agent._detach()
        raise
    _say("attached to " + context.applicationId)
    return agent


def _listen(context, settings):
    """The agent on Spark's listener bus."""
    from pyspark.java_gateway import (  # pyright: ignore[reportMissingImports] - the image has it
        ensure_callback_server_started,
    )

    gateway, spark = context._gateway, context._jsc.sc()
    ensure_callback_server_started(gateway)
    steering = Steering(context) if settings.steer else None
    decode = context._jvm.org.apache.spark.util.JsonProtocol.sparkEventToJsonString
    about = {"app_name": context.appName, "spark_version": context.version}
    agent = Agent(settings, context.applicationId, decode, steering, about=about)
    listener = Listener(agent)
    known = context._jvm.java.util.ArrayList()
    known.add(listener)
    proxy = known.get(0)  # the listener as Java knows it: only this one can be removed again
    pool = gateway.gateway_property.pool.dict
    _quiet.add([name for name, each in list(pool.items()) if each is listener])
    spark.listenerBus().addToQueue(proxy, "carbonScheduler")
    agent.detach = lambda: spark.removeSparkListener(proxy)
    return agent


def _at_exit():
    if _current is not None:
        _current.last_words()  # and never shutdown_callback_server(), which hangs


# --- Injection -----------------------------------------------------------------------------------------


def patch(module):
    """Make the SparkContext of an imported module attach the agent once it is up."""
    import functools

    original = module.SparkContext._do_init
    if hasattr(original, _MARK):
        return

    @functools.wraps(original)
    def _do_init(self, *args, **kwargs):
        result = original(self, *args, **kwargs)
        _quietly(attach, self)
        return result

    setattr(_do_init, _MARK, True)
    module.SparkContext._do_init = _do_init


def _quietly(work, *arguments):
    """For what happens within Python's own start and imports: those go on."""
    try:
        return work(*arguments)
    except Exception as problem:
        _say(f"{work.__name__} failed", problem)
        return None


def _patch_if_real(module):
    if module.SparkContext.__module__ == module.__name__:  # not the alias that 4.x keeps
        patch(module)


class _Wrapped:
    """The real loader of pyspark's module, with a word at the end."""

    def __init__(self, inner):
        self._inner = inner

    def __getattr__(self, name):
        if name == "_inner":  # a copy without it
            raise AttributeError(name)
        return getattr(self._inner, name)


class _Loader(_Wrapped):
    def create_module(self, spec):
        return self._inner.create_module(spec)

    def exec_module(self, module):
        _quietly(self._step_back, module)
        self._inner.exec_module(module)
        _quietly(_patch_if_real, module)

    def _step_back(self, module):
        """Code that looks at the module sees the real loader."""
        for owner, name in ((module, "__loader__"), (module.__spec__, "loader")):
            if getattr(owner, name, None) is self:
                setattr(owner, name, self._inner)


class _OldLoader(_Wrapped):
    """For loaders without exec_module, as those of zip files up to Python 3.9."""

    def load_module(self, name):
        module = self._inner.load_module(name)
        _quietly(_patch_if_real, module)
        return module


_looked_for = set()  # names that the finder looks up now


class _Finder:
    """Finds nothing itself; wraps what the finders after it find for two names.

    One for an interpreter, whatever loads this file again. It may be asked by a finder that it asks.
    """

    carbon_scheduler = True

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name not in _CONTEXT_MODULES or name in _looked_for:
            return None
        _looked_for.add(name)
        try:
            return _quietly(cls._wrap, name, path, target)  # else Python asks the others itself
        finally:
            _looked_for.discard(name)

    @classmethod
    def _wrap(cls, name, path, target):
        finders = list(sys.meta_path)
        if cls in finders:
            del finders[: finders.index(cls)]
        for finder in finders:
            find_spec = getattr(finder, "find_spec", None)
            if find_spec is None or getattr(finder, _MARK, False):
                continue
            spec = find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None and not isinstance(spec.loader, _Wrapped):
                    modern = hasattr(spec.loader, "exec_module")
                    spec.loader = (_Loader if modern else _OldLoader)(spec.loader)
                return spec
        return None


def _install():
    if Settings(os.environ).problem or any(getattr(finder, _MARK, False) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, _Finder)


def _hidden_sitecustomize():
    """The spec of the sitecustomize that this file hides, if the image has one.

    The next on the path that is no copy of this file. Another product's may look for the next in its turn,
    and find this file again: each runs once in an interpreter.
    """
    import importlib.machinery

    here = os.path.dirname(os.path.abspath(__file__))
    places = [place for place in sys.path if isinstance(place, str)]
    behind = iter(places)
    if not any(os.path.abspath(place or ".") == here for place in behind):
        return None  # not found on the path, so nothing is hidden
    ran = getattr(sys, _MARK, set())
    setattr(sys, _MARK, ran)
    for place in behind:
        spec = importlib.machinery.PathFinder.find_spec("sitecustomize", [place])
        if spec is None or spec.loader is None or not spec.origin or spec.origin in ran:
            continue
        if "Agent of carbon-scheduler inside a Spark driver" not in _read(spec.origin):
            ran.add(spec.origin)
            return spec
    return None


def _run(spec):
    """As Python would have, had it found this one: what it raises is said as ever."""
    import importlib.util

    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(spec.name, None)
        raise


if __name__ == "sitecustomize":
    _quietly(_install)
    _hidden = _quietly(_hidden_sitecustomize)
    if _hidden is not None:
        _run(_hidden)
