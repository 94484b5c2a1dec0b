"""Lines for terminals and pipes: nothing is cut off, so that ids can be copied whatever the width."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from extender.adapters.api.tables import age, amount

NONE: Final = "-"
_GAP: Final = "   "
_LABEL: Final = 10
_STORY_LINES: Final = 8


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns as kubectl writes them: the last one is not padded, and none is shortened."""
    lines = [list(head), *(list(row) for row in rows)]
    widths = [max(len(line[number]) for line in lines) for number in range(len(head))]
    padded = (
        _GAP.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
    return "\n".join(padded)


def clock(at_s: float | None, now: float) -> str:
    """A moment in UTC, with the date where it is not today, and how far away it is."""
    if at_s is None:
        return "not known"
    moment, today = datetime.fromtimestamp(at_s, UTC), datetime.fromtimestamp(now, UTC)
    text = moment.strftime("%H:%M" if moment.date() == today.date() else "%Y-%m-%d %H:%M") + " UTC"
    return f"{text} (in {age(at_s - now)})" if at_s > now + 1 else f"{text} ({age(max(0.0, now - at_s))} ago)"


def labelled(label: str, text: str, width: int) -> str:
    """A label and its text, which goes on beneath itself; words are never broken."""
    lead = f"{label:<{_LABEL}} "
    return textwrap.fill(
        text,
        max(width, 40),
        initial_indent=lead,
        subsequent_indent=" " * len(lead),
        break_long_words=False,
        break_on_hyphens=False,
    )


def explained(found: Mapping[str, Any], now: float, width: int) -> str:
    """An explanation as text: the name first, then one fact a line."""
    summary, out = found["summary"], list[str]()

    def say(label: str, text: str) -> None:
        out.append(labelled(label, text, width))

    name = summary["leader"] or summary["app_id"]
    out.append(f"{name}  {summary['namespace']}/{summary['app_id']}" + _quoted(found["app_name"]))
    verdict = "refused for good" if found["refused_for_good"] else summary["state"]
    since = f", since {clock(found['since_s'], now)}" if found["since_s"] is not None else ""
    place = f" on {summary['leader_node']}" if summary["leader_node"] else ""
    say("State", f"{verdict}{place}{since}")
    say("Reason", f"{found['outcome']}: {found['headline']}" if found["outcome"] else found["headline"])
    if found["kube_scheduler"]:
        say("Scheduler", found["kube_scheduler"])
    if found["blocker"]:
        say("Blocker", found["blocker"])
    if found["pod"] is not None:
        pod = found["pod"]
        say("Pod", f"{pod['name']}: {'on ' + pod['node'] if pod['node'] else 'waits: ' + pod['reason']}")
    for fault in found["faults"]:
        say("Fault", fault)
    if found["request"] is not None:
        say("Asks for", _request(found["request"]))
    if summary["state"] != "waiting":
        waiting = summary["workers_waiting"]
        say(
            "Executors",
            f"{summary['workers_bound']} bound, {waiting} waiting, {summary['slots_open']} slots open",
        )
    else:
        _say_waiting(found, now, say)
    for number, each in enumerate(found["would_help"], 1):
        say("Would help" if number == 1 else "", f"{number}. {each['change']}: {each['gives']}")
    for number, each in enumerate(found["story"][-_STORY_LINES:]):
        say("" if number else "Story", f"{clock(each['at_s'], now)} {each['phase']}: {each['why']}")
    return "\n".join(out)


def _say_waiting(found: Mapping[str, Any], now: float, say: Any) -> None:
    for each in found["missing"]:
        if each["missing"]:
            resource = each["resource"]
            asked, free = amount(resource, each["requested"]), amount(resource, each["free"])
            missing = amount(resource, each["missing"])
            say(
                "Missing", f"{missing} of {resource}: it requests {asked} and {free} is free where it may run"
            )
    if found["workers_fit_now"] is not None and found["request"] is not None:
        say(
            "Room", f"{found['workers_fit_now']} of {found['request']['min_workers']} executors would fit now"
        )
    for each in found["nodes"]:
        reasons = ", ".join(f"{one['nodes']} {one['reason']}" for one in each["excluded"])
        pod = "driver" if each["pod"] == "leader" else "executor"
        say(
            "Nodes",
            f"{each['with_room']} of {each['nodes']} take the {pod}" + (f"; {reasons}" if reasons else ""),
        )
    if (place := found["place"]) is not None:
        pool = place["pool"] or "the default pool"
        text = f"{place['position']} of {place['waiting']} in {pool}"
        able = "" if found["refused_for_good"] else f", {place['can_start']} of those that can start"
        say("Place", text + able)
    expected = found["expected"]
    if expected is not None:
        text = clock(expected["at_s"], now)
        low, high = expected["earliest_s"], expected["latest_s"]
        if low is not None and high is not None and high - low > 60:
            text += f", between {clock(low, now)} and {clock(high, now)}"
        say("Starts", f"{text}: {expected['source']}")
    elif not found["refused_for_good"]:
        say("Starts", "not known: the expected ends of what runs do not give enough room")
    if (saving := found["saving"]) is not None:
        say(
            "Carbon",
            f"waiting saves {saving['grams']:.0f} g CO2e: {saving['planned_g_per_kwh']:.0f} instead of "
            f"{saving['now_g_per_kwh']:.0f} g/kWh for {saving['kwh']:.2f} kWh (run time "
            f"{saving['run_time']}; CPU at {saving['watts_per_core']:g} W a core)",
        )


def _quoted(name: str) -> str:
    return f'  "{name}"' if name else ""


def _request(request: Mapping[str, Any]) -> str:
    low, high = request["min_workers"], request["max_workers"]
    number = str(low) if low == high else f"{low} to {high}"
    return (
        f"a driver of {sizes(request['leader'])}; {number} executors of {sizes(request['worker'])} each "
        f"(read from {request['source']})"
    )


def sizes(amounts: Mapping[str, int]) -> str:
    """Amounts as people write them."""
    return ", ".join(f"{amount(name, value)} {name}" for name, value in amounts.items()) or "nothing"
