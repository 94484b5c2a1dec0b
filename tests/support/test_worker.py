"""Blocking calls on a thread of their own: in order, with their outcome, and never in the way of the end."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from extender.support.worker import Worker


def test_calls_are_made_in_order_and_tell_their_outcome() -> None:
    worker, made = Worker("test"), list[int]()

    def call(number: int) -> int:
        made.append(number)
        if number % 3 == 0:
            raise ZeroDivisionError(number)
        return number * number

    futures = [worker.submit(lambda number=number: call(number)) for number in range(50)]
    for number, future in enumerate(futures):
        if number % 3 == 0:
            with pytest.raises(ZeroDivisionError):
                future.result(60)
        else:
            assert future.result(60) == number * number
    assert made == list(range(50))


async def test_who_waits_may_give_up_and_the_call_is_made_nevertheless() -> None:
    worker, goes_on, made = Worker("test"), threading.Event(), threading.Event()
    worker.submit(lambda: goes_on.wait(60))
    waiting = asyncio.ensure_future(asyncio.wrap_future(worker.submit(made.set)))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    goes_on.set()
    assert await asyncio.to_thread(made.wait, 60)


def test_a_call_that_hangs_does_not_keep_the_process_from_ending() -> None:
    program = (
        "import asyncio, threading\n"
        "from extender.support.worker import Worker\n"
        "async def main():\n"
        "    hangs = threading.Event()\n"
        "    waiting = asyncio.wrap_future(Worker('test').submit(hangs.wait))\n"
        "    await asyncio.wait([waiting], timeout=0)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], timeout=120, check=True, capture_output=True)
    assert done.stderr == b""
