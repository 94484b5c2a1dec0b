"""Blocking calls beside the event loop, on a thread that never keeps the process from ending."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class Worker:
    """Runs blocking calls one after the other, in the order in which they are submitted.

    `asyncio.to_thread` and `ThreadPoolExecutor` do not serve for calls that may hang: at its end Python waits
    for their threads. These threads are daemons, and one lives only while there is something to do.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._jobs: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._works = False

    def submit(self, job: Callable[[], T]) -> Future[T]:
        """Have a call made; its result or exception is in the future. It cannot be cancelled any more."""
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()
        with self._lock:
            self._jobs.append((future, job))
            if not self._works:
                self._works = True
                threading.Thread(target=self._work, name=self._name, daemon=True).start()
        return future

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._jobs:
                    self._works = False
                    return
                future, job = self._jobs.popleft()
            try:
                result = job()
            except BaseException as problem:
                future.set_exception(problem)
            else:
                future.set_result(result)
