"""`carbon-scheduler profile`: logs in, description and picture out, with a progress bar."""

from __future__ import annotations

import random
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from extender.adapters.spark.eventlog.files import LogUnreadable, find_logs
from extender.adapters.spark.eventlog.picture import draw
from extender.adapters.spark.eventlog.profiler import Profiler
from extender.adapters.spark.eventlog.reader import Counts, EventLog
from extender.adapters.spark.eventlog.workload import Profile, Workload

PICTURES = (".svg", ".png", ".pdf")


class ProfileFailed(ValueError):
    """Nothing could be profiled; the text says why and what to do."""


def profile(logs: Sequence[str], output: Path | None, picture: Path | None, seed: int) -> None:
    """Profile each log; the description goes to `output` or stdout, progress and warnings to stderr.

    Of several logs each has a picture of its own, with its number before the suffix. One that cannot be
    profiled is a warning, unless it is the only one.

    Raises:
        ProfileFailed: no log can be profiled, or the result cannot be written.
    """
    if picture is not None and picture.suffix not in PICTURES:
        raise ProfileFailed(f"--picture {picture}: must end in {', '.join(PICTURES)}")
    if picture is not None and find_spec("matplotlib") is None:
        raise ProfileFailed("--picture needs matplotlib: pip install 'carbon-scheduler[plots]'")
    console = Console(stderr=True)
    workloads = _all(logs, seed, console)
    text = msgspec.json.format(msgspec.json.encode(Profile(tuple(workloads))), indent=2) + b"\n"
    try:
        if output is None:
            Console(soft_wrap=True, highlight=False).out(text.decode(), end="", highlight=False)
        else:
            output.write_bytes(text)
        for number, workload in enumerate(workloads if picture is not None else ()):
            draw(workload, _numbered(Path(picture or ""), number, len(workloads)))
    except OSError as problem:
        raise ProfileFailed(f"cannot write {problem.filename}: {problem.strerror}") from None


def _all(logs: Sequence[str], seed: int, console: Console) -> list[Workload]:
    workloads: list[Workload] = []
    problems: list[str] = []
    urls: list[str] = []
    for given in logs:
        try:
            urls += find_logs(given)
        except LogUnreadable as problem:
            problems.append(str(problem))
    for url in dict.fromkeys(urls):
        try:
            workloads.append(_one(url, seed, console))
        except (LogUnreadable, ProfileFailed) as problem:
            problems.append(str(problem))
    if not workloads:
        raise ProfileFailed("\n".join(problems))
    for problem in problems:
        _warn(console, f"left out: {problem}")
    return workloads


def _one(url: str, seed: int, console: Console) -> Workload:
    # Names of logs are no markup.
    name = TextColumn("{task.description}", markup=False)
    columns = (name, BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(url.rstrip("/").rsplit("/", 1)[-1])
        log = EventLog(url, advance=lambda read_bytes: progress.advance(task, read_bytes))
        progress.update(task, total=log.size_bytes())
        profiler = Profiler(random.Random(seed))  # noqa: S311 - a sample, no secret
        for event in log.read():
            profiler.take(event)
    if not log.counts.events:
        raise ProfileFailed(f"{url}: no events of Spark in it; is it an event log?")
    workload = profiler.workload(log.counts)
    if warning := _warning(workload.counts):
        _warn(console, f"{url}: {warning}")
    return workload


def _warn(console: Console, text: str) -> None:
    console.print(text, style="yellow", soft_wrap=True, markup=False, highlight=False)


def _warning(counts: Counts) -> str:
    words = {
        "lines that are no events": counts.garbage,
        "lines too long": counts.too_long,
        "damaged or truncated files": counts.broken_files,
        "events that cannot be true": counts.nonsense,
    }
    return ", ".join(f"{count} {what}" for what, count in words.items() if count)


def _numbered(path: Path, number: int, total: int) -> Path:
    return path if total == 1 else path.with_name(f"{path.stem}-{number + 1}{path.suffix}")
