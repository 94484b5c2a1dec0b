"""The in-driver agent's request to `/v1/applications/{namespace}/{id}/events`, and the answer."""

from __future__ import annotations

import msgspec

from extender.adapters.spark.eventlog.events import Update


class BatchRefused(ValueError):
    """A body that is no batch; the text says where it is wrong."""


class Batch(msgspec.Struct, frozen=True):
    """Updates of one driver process.

    Every process draws its own `driver`, `batch` counts up within it: a pair seen before is a repetition
    after a lost answer and changes nothing. `dropped` counts the updates lost since the process began.
    """

    agent: int
    driver: str
    batch: int
    events: tuple[Update, ...]
    dropped: int = 0
    app_name: str = ""
    spark_version: str = ""


class Reply(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer to a batch; fields left out mean that Spark decides.

    The agent takes an answer with a field out of its bounds for none at all.

    `interval_s`: seconds to the next batch, 0.2 to 300. `priorities`: stage id to priority among the
    task sets of the application, 32 bits, smaller first. `target_executors`: executors to request from
    Kubernetes, 1 to 100,000. `off`: the agent undoes its changes and stops reporting until the driver
    restarts. `resend`: the extender does not know the batches before this one; the agent reports the jobs
    that still run again.
    """

    interval_s: float = 5.0
    priorities: dict[int, int] = {}
    target_executors: int | None = None
    off: bool = False
    resend: bool = False


_DECODER = msgspec.json.Decoder(Batch)


def decode_batch(body: bytes) -> Batch:
    """The batch in a request's body. Raises `BatchRefused`."""
    try:
        return _DECODER.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as problem:
        raise BatchRefused(f"not a batch of the agent: {problem}") from None


def encode_reply(reply: Reply) -> bytes:
    """The answer's body."""
    return msgspec.json.encode(reply)
