"""Answers that are cut, late, stale or nonsense: nothing is lost and nothing stops the rest."""

from __future__ import annotations

import json
import logging

import pytest

from extender.adapters.kubernetes.client import ApiClient
from extender.objects.structs import Pod
from tests.cluster.apiserver import ApiServer, answer, first_do, lose, pod, text
from tests.cluster.follower import Mirror, Naps, reflector, running


def lists(server: ApiServer) -> list[dict[str, str]]:
    return [query for operation, _, query in server.requests if operation == "list"]


async def test_half_a_line_is_not_lost(server: ApiServer, client: ApiClient) -> None:
    mirror = Mirror()
    async with running(reflector(client, mirror)):
        stream = await server.opened.get()
        server.streams.remove(stream)
        obj = server.put("pods", pod("a"))
        server.streams.append(stream)
        line = json.dumps({"type": "ADDED", "object": obj}).encode() + b"\n"
        stream.raw(line[: len(line) // 2])
        stream.drop()
        await mirror.until_same_as(server)


async def test_lines_are_split_whatever_the_chunks(server: ApiServer, client: ApiClient) -> None:
    mirror = Mirror()
    async with running(reflector(client, mirror)):
        stream = await server.opened.get()
        server.streams.remove(stream)
        lines = b""
        for name in "abcdef":
            obj = server.put("pods", pod(name, note=name * 300))
            lines += json.dumps({"type": "ADDED", "object": obj}).encode() + b"\n"
        server.streams.append(stream)
        for start in range(0, len(lines), 97):
            stream.raw(lines[start : start + 97])
        await mirror.until_same_as(server)
    assert server.count("watch") == 1


async def test_a_pod_of_a_megabyte_passes(server: ApiServer, client: ApiClient) -> None:
    mirror = Mirror()
    async with running(reflector(client, mirror)):
        await server.opened.get()
        server.put("pods", pod("big", note="x" * 1_500_000))
        await mirror.until_same_as(server)


async def test_a_silent_watch_is_cut(server: ApiServer, client: ApiClient) -> None:
    mirror, naps = Mirror(), Naps()
    made = reflector(client, mirror, sleep=naps, silence_s=0.05)
    async with running(made):
        await server.opened.get()
        await server.opened.get()
        assert made.health.restarts >= 1
        assert "said nothing" in made.health.last_problem


async def test_what_a_silent_watch_missed_comes_with_the_short_one_that_follows(
    server: ApiServer, client: ApiClient
) -> None:
    mirror = Mirror()
    made = reflector(client, mirror, sleep=Naps(), silence_s=0.2)
    async with running(made):
        first = await server.opened.get()
        server.streams.remove(first)  # it stays open and says nothing more, whatever happens
        server.put("pods", pod("missed"))
        second = await server.opened.get()
        await mirror.until_same_as(server)
    assert int(second.params["timeoutSeconds"]) < 10 < int(first.params["timeoutSeconds"])
    assert server.count("list") == 1


async def test_a_quiet_watch_whose_short_one_ends_in_order_is_fresh(
    server: ApiServer, client: ApiClient
) -> None:
    hours = iter(range(1000))
    made = reflector(client, Mirror(), sleep=Naps(), silence_s=0.2, clock=lambda: float(next(hours)))
    async with running(made):
        await server.opened.get()
        before_s = made.health.fresh_s
        (await server.opened.get()).ask_to_end()
        await server.opened.get()
    assert before_s is not None
    assert made.health.fresh_s is not None
    assert made.health.fresh_s > before_s


async def test_a_line_that_is_no_event_leads_to_a_new_list(server: ApiServer, client: ApiClient) -> None:
    mirror = Mirror()
    made = reflector(client, mirror)
    async with running(made):
        (await server.opened.get()).raw(b"<html>gateway</html>\n")
        await mirror.until(lambda: mirror.lists == 2)
    assert "not an event" in made.health.last_problem


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"<html>", b"{}", b'{"items":[],"metadata":{}}', b'{"items":7}']
)
async def test_a_list_that_is_none_is_asked_for_again(
    server: ApiServer, client: ApiClient, body: bytes
) -> None:
    server.put("pods", pod("a"))
    server.faults["list"].append(text(body))
    mirror = Mirror()
    made = reflector(client, mirror)
    async with running(made):
        await made.synced.wait()
        await mirror.until_same_as(server)
        assert "Unreadable" in made.health.last_problem


async def test_a_list_cut_in_the_middle_is_asked_for_again(server: ApiServer, client: ApiClient) -> None:
    for number in range(4):
        server.put("pods", pod(f"p{number}"))
    server.faults["list"].extend([first_do(lambda: None), lose()])
    mirror = Mirror()
    made = reflector(client, mirror, page_size=2)
    async with running(made):
        await made.synced.wait()
        await mirror.until_same_as(server)


async def test_pages_that_expire_are_replaced_by_one_answer(server: ApiServer, client: ApiClient) -> None:
    for number in range(6):
        server.put("pods", pod(f"p{number}"))
    server.faults["list"].extend([first_do(lambda: None), first_do(server.compact)])
    mirror = Mirror()
    made = reflector(client, mirror, page_size=2)
    async with running(made):
        await made.synced.wait()
        await mirror.until_same_as(server)
    assert "limit" not in lists(server)[-1]


async def test_an_unreadable_object_stops_no_other(
    server: ApiServer, client: ApiClient, caplog: pytest.LogCaptureFixture
) -> None:
    server.put("pods", pod("a", priority="high"))
    server.put("pods", pod("b"))
    mirror = Mirror()
    made = reflector(client, mirror)
    with caplog.at_level(logging.WARNING):
        async with running(made):
            await server.opened.get()
            assert mirror.pods.keys() == {"uid-b"}
            server.put("pods", pod("a", priority="higher"))
            server.put("pods", pod("c"))
            await mirror.until(lambda: "uid-c" in mirror.pods)
            assert made.health.skipped == 2
            server.put("pods", pod("a"))
            await mirror.until_same_as(server)
            server.delete("pods", "a", "ns")
            await mirror.until_same_as(server)
    assert caplog.text.count("skipped uid-a") == 1, "told once, not with every event"


async def test_an_unreadable_update_leaves_what_was_known(server: ApiServer, client: ApiClient) -> None:
    server.put("pods", pod("a", node="n1"))
    mirror = Mirror()
    async with running(reflector(client, mirror)):
        await server.opened.get()
        server.put("pods", pod("a", priority="high"))
        server.put("pods", pod("b"))
        await mirror.until(lambda: "uid-b" in mirror.pods)
        assert mirror.pods["uid-a"][1] == "n1"
        server.faults["watch"].append(answer(410, "Expired"))
        server.streams[0].drop()
        await mirror.until(lambda: mirror.lists == 2)
        assert mirror.pods["uid-a"][1] == "n1", "it is in the new list, so it is not gone"


async def test_a_sink_that_fails_is_told_the_rest(server: ApiServer, client: ApiClient) -> None:
    class Picky(Mirror):
        def seen(self, item: Pod) -> None:
            if item.metadata is not None and item.metadata.name == "bad":
                raise RuntimeError("no")
            super().seen(item)

    mirror = Picky()
    made = reflector(client, mirror)
    async with running(made):
        await server.opened.get()
        server.put("pods", pod("bad"))
        server.put("pods", pod("good"))
        await mirror.until(lambda: "uid-good" in mirror.pods)
    assert made.health.skipped == 1


async def test_an_event_older_than_the_list_is_ignored(server: ApiServer, client: ApiClient) -> None:
    server.put("pods", pod("a"))
    old = server.put("pods", pod("a"))
    server.put("pods", pod("a", node="n1"))
    mirror = Mirror()
    async with running(reflector(client, mirror)):
        stream = await server.opened.get()
        stream.event("MODIFIED", old)
        stream.event("DELETED", old)
        server.put("pods", pod("b"))
        await mirror.until_same_as(server)
        assert mirror.pods["uid-a"][1] == "n1"


async def test_events_of_unknown_types_are_passed_over(server: ApiServer, client: ApiClient) -> None:
    mirror = Mirror()
    async with running(reflector(client, mirror)):
        stream = await server.opened.get()
        stream.event("FUTURE", pod("x"))
        stream.raw(b'\n{"type":"ADDED"}\n{"type":"ADDED","object":{"metadata":3}}\n{}\n')
        server.put("pods", pod("a"))
        await mirror.until_same_as(server)
    assert server.count("watch") == 1


async def test_a_restored_server_leads_to_a_new_list(server: ApiServer, client: ApiClient) -> None:
    server.put("pods", pod("a"))
    mirror = Mirror()
    async with running(reflector(client, mirror)):
        stream = await server.opened.get()
        server.registry.restore(10)
        server.put("pods", pod("b"))
        server.faults["watch"].append(answer(504, "Timeout"))
        stream.drop()
        await mirror.until(lambda: mirror.lists == 2)
        await mirror.until_same_as(server)
        server.put("pods", pod("c"))
        await mirror.until_same_as(server)
