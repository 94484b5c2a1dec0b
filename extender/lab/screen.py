"""The demo's picture in the terminal: nodes as bars, the queue with its reasons, gangs, what happened."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, Final

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from extender.core.nodes.resources import CPU
from extender.lab.carbon import GRIDS, CarbonView, epoch_s, sparkline
from extender.lab.cluster import ZONE_LABEL, Driver
from extender.lab.registry import Object, encode
from extender.lab.workload import ZONES
from extender.lab.world import Note, World
from extender.objects.projection import node_facts
from extender.objects.structs import decode_node

_STYLES: Final = {
    "starting": "dim",
    "submitted": "dim",
    "admitted": "green",
    "waits": "yellow",
    "refused": "red",
    "held": "cyan",
    "finished": "blue",
}
_MARKS: Final = {
    "starting": "·",
    "submitted": "·",
    "admitted": "+",
    "waits": "-",
    "refused": "x",
    "held": "~",
    "finished": "=",
}
_PREFIX: Final = "carbon-scheduler/"
"""Of annotation keys; without it more of a reason fits into its line."""
GRID_OF: Final[dict[str, str]] = dict(zip(ZONES, GRIDS, strict=True))
_CPU_TEXT: Final = 10
_NAME: Final = 10
_WIDE: Final = 100


@dataclass
class Frame:
    """The last answers of the extender's API."""

    nodes: Sequence[Mapping[str, Any]] = ()
    queue: Sequence[Mapping[str, Any]] = ()
    applications: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])


def frame_of(nodes: Iterable[Object]) -> Frame:
    """The cluster before the extender has said anything: its nodes, empty."""
    facts = [node_facts(decode_node(encode(node))) for node in nodes]
    return Frame(
        [
            {
                "name": node.name,
                "zone": node.labels.get(ZONE_LABEL, ""),
                "allocatable": node.allocatable,
                "used": {},
                "reserved": {},
            }
            for node in facts
        ]
    )


class Screen:
    """Renders a world; what is held, and why gangs wait, is shown as the extender's API tells it."""

    def __init__(self, world: World, most_submissions: int) -> None:
        self.world = world
        self.frame = Frame()
        self.carbon = CarbonView()
        self.url = ""
        self._most_submissions = most_submissions

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width, height = options.max_width, options.height or console.height
        nodes = self._nodes(width)
        node_lines = (
            2 + bool(self.carbon.curves) + max((len(zone) for zone in self._zones().values()), default=0)
        )
        # First line, address, three rules and the legend are always there.
        left = max(6, height - node_lines - 6)
        queue_lines = max(2, left * 2 // 5)
        gang_lines = max(2, left * 3 // 10)
        note_lines = max(1, left - queue_lines - gang_lines)
        yield self._first_line(width)
        yield self._address(width)
        yield nodes
        yield self._legend()
        yield self._carbon(width)
        yield Rule(self._queue_title(queue_lines), align="left", style="dim")
        yield _exactly(self._queue(width, queue_lines), queue_lines)
        yield Rule(self._gang_title(gang_lines), align="left", style="dim")
        yield _exactly(self._gangs(width, gang_lines), gang_lines)
        yield Rule("What happened", align="left", style="dim")
        yield _exactly(self._notes(width, note_lines), note_lines)

    def _address(self, width: int) -> Text:
        """Where the dashboard answers, and how to explain an application that waits, else one that runs."""
        if not self.url:
            return Text("dashboard: the extender is starting", style="dim")
        able = [each for each in self.frame.queue if not each["refused_for_good"]]
        name = next((each["leader"] for each in [*able, *self.frame.applications.values()]), "DRIVER")
        return _cut(
            Text.assemble(
                ("dashboard ", "dim"),
                (self.url, "bold underline"),
                (f"   explain: carbon-scheduler explain {name} --url {self.url}", "dim"),
            ),
            width,
        )

    # -- first line --------------------------------------------------------------------------------

    def status_line(self) -> Text:
        """Where things stand, for output that is not a terminal."""
        return self._first_line(_WIDE * 2)

    def _first_line(self, width: int) -> Text:
        world, wide = self.world, width >= _WIDE
        elapsed_s = int(world.clock() - world.began_s)
        line = Text("carbon-scheduler  " if wide else "", style="bold")
        line.append(f"{elapsed_s // 60:02d}:{elapsed_s % 60:02d}", "not bold")
        numbers: list[tuple[str, object, str]] = [
            ("submitted" if wide else "sent", f"{len(world.records)}/{self._most_submissions}", "bold"),
            ("waiting", len(world.waiting), "bold yellow"),
            ("running", len(world.running), "bold green"),
            ("finished", len(world.finished), "bold blue"),
            ("refused", len(world.refused), "bold red"),
        ]
        if wide:
            numbers.append(("decisions", self._decisions(), "bold"))
        for name, value, style in numbers:
            line.append(f"  {name} ", "not bold dim").append(str(value), style)
        broken = world.checker.broken_count
        line.append("  invariants " if wide else "  checks ", "not bold dim")
        line.append(f"{broken} broken" if broken else "hold", "bold red" if broken else "bold green")
        return _cut(line, width)

    def _decisions(self) -> int:
        return len(self.world.extender.latencies_s["filter"]) if self.world.extender is not None else 0

    # -- nodes -------------------------------------------------------------------------------------

    def _zones(self) -> dict[str, list[Mapping[str, Any]]]:
        zones: dict[str, list[Mapping[str, Any]]] = {}
        for each in self.frame.nodes:
            zones.setdefault(each["zone"], []).append(each)
        return dict(sorted(zones.items()))

    def _nodes(self, width: int) -> RenderableType:
        zones = self._zones()
        if not zones:
            return Text("waiting for the extender's first answer", style="dim")
        table = Table.grid(expand=True, padding=(0, 1))
        for _ in zones:
            table.add_column(ratio=1, no_wrap=True)
        bar_width = max(4, width // len(zones) - _CPU_TEXT - 5)
        table.add_row(*(Text(zone, style="bold") for zone in zones))
        if self.carbon.curves:
            table.add_row(*(self._curve(zone, max(4, width // len(zones) - 13)) for zone in zones))
        for row in zip_longest(*zones.values()):
            table.add_row(*(self._node(each, bar_width) if each is not None else Text() for each in row))
        return table

    def _curve(self, zone: str, width: int) -> Text:
        """The grid of a zone: past, present, forecast, and the present value."""
        curve = self.carbon.curves.get(GRID_OF.get(zone, ""))
        if curve is None or not curve.past:
            return Text("no signal", style="dim")
        past, ahead = sparkline(curve, width)
        now = curve.past[-1]
        told = f" {now:.0f} g/kWh" if now is not None else " unknown"
        return Text.assemble(
            (past[:-1], "blue"), (past[-1:], "bold"), ("│", "bold red"), (ahead, "dim cyan"), told
        )

    def _carbon(self, width: int) -> Text:
        """Grams so far, and who is held until when at the latest."""
        booked, line = self.carbon.booked, Text("carbon ", style="dim")
        if booked is None:
            line.append("nothing booked yet", "dim")
        else:
            line.append(f"{booked.grams:.2f} g", "bold not dim").append(f" {1000 * booked.kwh:.2f} Wh")
            saved = f", who may wait saved {booked.saved_g:+.2f} g ({booked.saved_percent:+.0f} %)"
            line.append(saved, "green")
        line.append(f"  held {len(self.carbon.held)}", "cyan not dim")
        names = {each.app.app_id: each.app.name for each in self.world.records}
        until = (
            f" {names.get(app_id, app_id)} <={epoch_s(each['latest_start']) - self.world.began_s:.0f}s"
            for app_id, each in self.carbon.held.items()
        )
        return _cut(line.append(",".join(until), "not dim"), width)

    def _node(self, node: Mapping[str, Any], width: int) -> Text:
        offered, used, reserved = (node[each].get(CPU, 0) for each in ("allocatable", "used", "reserved"))
        line = Text(f"{node['name']:<3}")
        line.append_text(bar(used, reserved, offered, width))
        return line.append(f" {used / 1000:g}+{reserved / 1000:g}/{offered / 1000:g}", "dim")

    def _legend(self) -> Text:
        return Text.assemble(
            ("█", "green"),
            (" used by pods   ", "dim"),
            ("▒", "yellow"),
            (" reserved for executors to come   ", "dim"),
            ("·", "dim"),
            (" free   (cpu)", "dim"),
        )

    # -- queue -------------------------------------------------------------------------------------

    def _queue_title(self, lines: int) -> str:
        more = len(self.frame.queue) - lines
        return f"Queue: who waits, and why{f' ({more} more)' if more > 0 else ''}"

    def _queue(self, width: int, lines: int) -> list[Text]:
        names = {each.app.app_id: each.app for each in self.world.records}
        # Gangs that can never start would fill a small screen; the others come first.
        entries = sorted(self.frame.queue, key=lambda each: each["refused_for_good"])
        out: list[Text] = []
        for entry in entries[:lines]:
            app = names.get(entry["app_id"])
            name = app.name if app is not None else entry["app_id"]
            refused, outcome = entry["refused_for_good"], entry["outcome"]
            place = "--" if refused else f"{entry['position']:>2}"
            line = Text(f"{place} {entry['pool'] or '-':<6}{name:<{_NAME}}{entry['age_s']:>4.0f} s  ")
            line.append("refused for good: " if refused else "", "red")
            line.append(outcome or "not looked at", "red" if refused else "yellow")
            blocker = names.get(entry["blocked_by"].rpartition("/")[2])
            if held := self.carbon.held.get(entry["app_id"]):
                ends_s = [epoch_s(held[each]) - self.world.began_s for each in ("until", "latest_start")]
                entry = {**entry, "reason": f"expected at {ends_s[0]:.0f} s, {ends_s[1]:.0f} s at the latest"}
            reason = f"after {blocker.name}" if blocker is not None else entry["reason"].replace(_PREFIX, "")
            out.append(_cut(line.append(f": {reason}", "dim"), width))
        return out or [Text("no gang waits", style="dim")]

    # -- running gangs -----------------------------------------------------------------------------

    def _gang_title(self, lines: int) -> str:
        more = len(self.world.running) - lines
        return f"Running: executors bound and held{f' ({more} more)' if more > 0 else ''}"

    def _gangs(self, width: int, lines: int) -> list[Text]:
        out: list[Text] = []
        for record in self.world.running[:lines]:
            app, driver = record.app, self.world.drivers.get(record.app.name)
            summary = self.frame.applications.get(app.app_id, {})
            bound, still_open = len(record.executors), int(summary.get("slots_open", 0))
            line = Text(f"{app.name:<{_NAME}}")
            line.append_text(_members(bound, still_open, app.most))
            line.append(f"{bound:>3} bound {still_open:>2} held  ")
            line.append(_progress(driver), "blue")
            line.append(f"  driver on {record.driver['spec']['nodeName']}, {app.size}", "dim")
            out.append(_cut(line, width))
        return out or [Text("nothing runs", style="dim")]

    # -- notes -------------------------------------------------------------------------------------

    def _notes(self, width: int, lines: int) -> list[Text]:
        return [_cut(note_line(each), width) for each in list(self.world.notes)[-lines:]]


def note_line(note: Note) -> Text:
    """A note as one line."""
    line = Text(f"{note.at_s:6.1f} s ", style="dim")
    line.append(f"{_MARKS[note.kind]} {note.kind:<9} ", f"not dim {_STYLES[note.kind]}")
    return line.append(f"{note.name:<{_NAME}}", "not dim").append(note.text.replace(_PREFIX, ""))


def bar(used: int, held: int, offered: int, width: int) -> Text:
    """A bar of `width` characters: what is used, what is held, what is free."""
    if offered <= 0:
        return Text("·" * width, style="dim")
    full = min(width, round(width * used / offered))
    till = min(width, max(full, round(width * (used + held) / offered)))
    # A small amount must be visible too.
    if held > 0 and till == full and full < width:
        till += 1
    return Text.assemble(
        ("█" * full, "green"), ("▒" * (till - full), "yellow"), ("·" * (width - till), "dim")
    )


def _members(bound: int, still_open: int, most: int) -> Text:
    shown = 8
    if most > shown:
        bound, still_open = bound * shown // most, still_open * shown // most
    line = Text.assemble(("■" * bound, "green"), ("□" * still_open, "yellow"))
    line.pad_right(max(0, shown - len(line)))
    return line


def _progress(driver: Driver | None) -> str:
    if driver is None:
        return "  0 %"
    return f"{100 * driver.progress:3.0f} %"


def _cut(line: Text, width: int) -> Text:
    line.no_wrap = True
    line.truncate(width, overflow="ellipsis")
    return line


def _exactly(lines: Iterable[Text], number: int) -> Group:
    """Always the same number of lines, so that nothing below moves."""
    kept = list(lines)[:number]
    return Group(*kept, *(Text("") for _ in range(number - len(kept))))
