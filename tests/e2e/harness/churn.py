"""A busy cluster: small pods of our scheduler that come and go, ten a second."""

from __future__ import annotations

import threading
import time
from types import TracebackType

from tests.e2e.harness.client import Client, Object

EVERY_S = 0.1
LIVING = 10
REQUESTS = {"cpu": "100m", "memory": "64Mi"}
SPEC: Object = {
    "schedulerName": "carbon-scheduler",
    "containers": [{"name": "main", "image": "none", "resources": {"requests": REQUESTS}}],
}


class Churn:
    """Within this context a pod is made every tenth of a second, and the tenth before it deleted."""

    def __init__(self, client: Client, namespace: str) -> None:
        self.client, self.namespace = client, namespace
        self.made = 0
        self.failure: Exception | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="churn", daemon=True)

    def _run(self) -> None:
        try:
            due_s = time.monotonic()
            while not self._stop.wait(max(0.0, due_s - time.monotonic())):
                body: Object = {"metadata": {"name": f"busy-{self.made}"}, "spec": SPEC}
                self.client.create("pods", body, self.namespace)
                if self.made >= LIVING:
                    self.client.delete("pods", f"busy-{self.made - LIVING}", self.namespace)
                self.made += 1
                due_s += EVERY_S
        except Exception as failure:
            self.failure = failure

    def __enter__(self) -> Churn:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(10)
        if kind is None and self.failure:
            raise self.failure
