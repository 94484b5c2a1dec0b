"""`carbon-scheduler demo`: the real service on an embedded cluster, to look at and to check."""

from __future__ import annotations

import asyncio
import random
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
from rich.console import Console
from rich.live import Live
from rich.text import Text

from extender.lab.carbon import read_booked, read_curves, service_flags, write_grids
from extender.lab.cluster import Pace
from extender.lab.profiled import Described, ProfileUnusable, applications_like, read_profile
from extender.lab.screen import Frame, Screen, frame_of, note_line
from extender.lab.service_process import (
    CarbonProcess,
    ServiceApi,
    ServiceProcess,
    ServiceProcessFailed,
)
from extender.lab.summary import Summary, print_summary, summarize
from extender.lab.workload import (
    ForeignPod,
    Submission,
    applications,
    demo_nodes,
    flexible,
    foreign_pods,
)
from extender.lab.world import World

DEFAULT_OUTPUT: Final = Path("summary.json")

_LOOK_EVERY_S: Final = 0.25
_LINE_EVERY_S: Final = 5.0
_PATIENCE_S: Final = 12.0
"""An idle cluster in which somebody has waited this long is stuck: waking takes a tenth of it."""
_REST_S: Final = 6.0
Draw = Callable[[], None]

_UNREACHABLE: Final = (aiohttp.ClientError, TimeoutError)


@dataclass(frozen=True, slots=True)
class Script:
    """How much happens: applications, mean gap between them (simulated seconds), speed, longest time."""

    applications: int
    gap_s: float
    foreign_gap_s: float = 0.8
    speed: float = 1.0
    longest_s: float = 600.0
    delay_s: tuple[float, float] = (8.0, 16.0)


SHORT: Final = Script(applications=44, gap_s=0.6, speed=1.5, longest_s=45.0)
LONG: Final = Script(applications=110, gap_s=0.7)


def run_demo(
    once: bool = False,
    seed: int = 1,
    output: Path | None = None,
    *,
    profile: Path | None = None,
    script: Script | None = None,
    console: Console | None = None,
) -> int:
    """Run the demo to its end and return the exit code: 0 when every invariant held, else 1.

    With a `profile` (`carbon-scheduler profile`) the applications are like those in it.

    With `once` it ends within a minute and writes `summary.json`, else it takes a few minutes, ends
    early on Ctrl-C, and writes a summary only to a given `output`. Live on a terminal, otherwise lines.
    """
    console = console or Console()
    script = script or (SHORT if once else LONG)
    if output is None and once:
        output = DEFAULT_OUTPUT
    if output is not None and not output.parent.is_dir():
        return _fail(console, f"{output} cannot be written: there is no directory {output.parent}")
    try:
        described = None if profile is None else read_profile(profile)
        summary = asyncio.run(_play(script, seed, console, described))
    except (ServiceProcessFailed, ProfileUnusable) as problem:
        return _fail(console, str(problem))
    written = output
    try:
        if output is not None:
            summary.write(output)
    except OSError as problem:
        written = None
        _fail(console, f"{output} cannot be written: {problem.strerror}")
    print_summary(console, summary, written)
    return 0 if summary.sound and written == output else 1


def _fail(console: Console, text: str) -> int:
    console.print(Text.assemble(("carbon-scheduler demo: ", "red"), text), soft_wrap=True)
    return 1


async def _play(
    script: Script, seed: int, console: Console, described: Sequence[Described] | None = None
) -> Summary:
    stop = stop_on_signals()
    draw = random.Random(seed)  # noqa: S311 - not a secret
    if described is None:
        apps = applications(script.applications, script.gap_s, draw)
    else:
        apps = applications_like(described, script.applications, script.gap_s, draw)
    foreign = foreign_pods(apps[-1].at_s, script.foreign_gap_s, draw)
    apps = flexible(apps, script.delay_s, draw)
    world = World(demo_nodes(), Pace(script.speed), draw=draw)
    with tempfile.TemporaryDirectory(prefix="carbon-scheduler-demo-") as directory:
        ledger = Path(directory) / "ledger.db"
        async with world, AsyncExitStack() as stack:
            show = Show(world, script, console, stop)
            # People see the cluster at once; the services need some seconds.
            stack.enter_context(show.picture())
            grids = await _carbon_service(stack, Path(directory), show)
            flags = service_flags(grids.url if grids is not None else "", ledger)
            show.starting("extender", "carbon-scheduler serve")
            async with (
                ServiceProcess(world.server.url, Path(directory), flags=flags) as service,
                ServiceApi(service.url) as api,
            ):
                await world.schedule_with(service.url)
                show.serves_at(service.url)
                show.watch_carbon(grids, ledger)
                try:
                    complete = await show.run(service, api, apps, foreign)
                    outcomes = await api.outcomes()
                except _UNREACHABLE as problem:
                    service.check()
                    raise ServiceProcessFailed(f"the service does not answer: {problem}") from problem
            # The service has written the rest of its bookings when it ended.
            booked = await asyncio.to_thread(read_booked, ledger, world.flexible)
            return summarize(world, seed, outcomes, complete=complete, booked=booked)


async def _carbon_service(stack: AsyncExitStack, directory: Path, show: Show) -> ServiceApi | None:
    """The carbon service; without it the demo goes on, and nothing is held."""
    show.starting("carbon-api", "carbon-scheduler carbon-api serve, with three synthetic grids")
    try:
        process = await stack.enter_async_context(CarbonProcess(write_grids(directory)))
    except (ServiceProcessFailed, OSError) as problem:
        show.starting("carbon-api", f"no carbon service, going on without: {problem}")
        return None
    return await stack.enter_async_context(ServiceApi(process.url))


def stop_on_signals() -> asyncio.Event:
    """An event that is set by Ctrl-C and its like, so that the service's process is ended properly."""
    stop = asyncio.Event()
    # Signals can be handled in the main thread of Unix only.
    with suppress(NotImplementedError, RuntimeError, ValueError):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


class Show:
    """One run: submits, looks at the service's API a few times a second, draws, and knows when to end."""

    def __init__(
        self,
        world: World,
        script: Script,
        console: Console,
        stop: asyncio.Event,
    ) -> None:
        self._world = world
        self._script = script
        self._console = console
        self._screen = Screen(world, script.applications)
        self._screen.frame = frame_of(world.nodes)
        self._stop = stop
        self._draw: Draw = lambda: None
        self._idle_since_s: float | None = None
        self._grids: ServiceApi | None = None
        self._ledger: Path | None = None
        self._carbon_next_s = 0.0

    def watch_carbon(self, grids: ServiceApi | None, ledger: Path) -> None:
        """Show the grids (None: there is no carbon service) and what is booked in the ledger."""
        self._grids, self._ledger = grids, ledger

    def serves_at(self, url: str) -> None:
        """The extender answers, and its dashboard with it."""
        self._screen.url = url
        self._world.note("starting", "dashboard", f"{url}/ in a browser; it is live")
        self._world.note("starting", "explain", f"carbon-scheduler explain DRIVER --url {url}")

    @contextmanager
    def picture(self) -> Iterator[None]:
        """Show what happens: as a live picture on a terminal, else as lines."""
        if not self._console.is_terminal:
            self._world.tell = lambda note: self._console.print(note_line(note), soft_wrap=True)
            self._draw = self._lines()
            yield
            return
        with Live(
            self._screen, console=self._console, screen=True, auto_refresh=False, transient=True
        ) as live:
            self._draw = live.refresh
            yield

    def starting(self, name: str, text: str) -> None:
        """Tell that something is being started."""
        self._world.note("starting", name, text)
        if self._console.is_terminal:
            self._draw()

    async def run(
        self,
        service: ServiceProcess,
        api: ServiceApi,
        apps: Sequence[Submission],
        foreign: Sequence[ForeignPod],
    ) -> bool:
        """Play everything; whether all applications came to their end. Raises `ServiceProcessFailed`."""
        self._service, self._api = service, api
        loop = asyncio.get_running_loop()
        self._world.began_s = self._world.clock()
        submitting = loop.create_task(self._world.play(apps, foreign))
        try:
            complete = await self._follow(submitting)
            await self._come_to_rest()
            return complete
        finally:
            submitting.cancel()
            await asyncio.wait([submitting])

    async def _follow(self, submitting: asyncio.Task[None]) -> bool:
        """Look and draw until all is done, time is up, or somebody presses Ctrl-C."""
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + self._script.longest_s
        while not self._stop.is_set() and loop.time() < ends_s:
            self._service.check()
            self._world.check()
            await self._look()
            self._draw()
            if submitting.done():
                submitting.result()
                if self._world.settled(self._script.applications):
                    return True
            if self._stuck(submitting.done()):
                return False
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_EVERY_S):
                    await self._stop.wait()
        return False

    def _stuck(self, all_submitted: bool) -> bool:
        """Whether nothing has run for so long that no waiting gang will ever start."""
        now_s = asyncio.get_running_loop().time()
        if not all_submitted or self._world.running or self._screen.carbon.held:
            self._idle_since_s = None
        elif self._idle_since_s is None:
            self._idle_since_s = now_s
        return self._idle_since_s is not None and now_s - self._idle_since_s > _PATIENCE_S

    async def _look(self) -> None:
        """Ask the service what it thinks. It may be slow; the picture then stays as it was."""
        asked_s = self._world.clock()
        try:
            nodes, queue, summaries = await asyncio.gather(
                *(self._api.get(path) for path in ("/v1/nodes", "/v1/queue", "/v1/applications"))
            )
        except _UNREACHABLE:
            return
        self._world.checker.saw_applications(summaries, asked_s)
        self._screen.frame = Frame(nodes, queue, {each["app_id"]: each for each in summaries})
        await self._look_at_carbon()

    async def _look_at_carbon(self) -> None:
        """Read held gangs at each look; curves and ledger once a second."""
        view = self._screen.carbon
        with suppress(*_UNREACHABLE):
            told = await self._api.get("/v1/carbon")
            view.held = {each["app_id"]: each for each in told["held"]}
            self._world.checker.saw_held(view.held)
        now_s = asyncio.get_running_loop().time()
        if now_s < self._carbon_next_s:
            return
        self._carbon_next_s = now_s + 1.0
        if self._grids is not None:
            view.curves = await read_curves(self._grids)
        if self._ledger is not None:
            booked = await asyncio.to_thread(read_booked, self._ledger, self._world.flexible)
            view.booked = booked or view.booked

    async def _come_to_rest(self) -> None:
        """Stop the cluster, and compare the service's accounts with it once its watches have caught up."""
        loop = asyncio.get_running_loop()
        idle_s = loop.time() - self._idle_since_s if self._idle_since_s is not None else 0.0
        checker = self._world.checker
        checker.came_to_rest(idle_s, _PATIENCE_S)
        await self._world.freeze()
        ends_s = loop.time() + _REST_S
        while True:
            nodes = await self._api.get("/v1/nodes")
            summaries = await self._api.get("/v1/applications")
            if checker.agrees(nodes, summaries) or loop.time() >= ends_s:
                break
            await asyncio.sleep(_LOOK_EVERY_S)
        checker.saw_last(nodes, summaries)

    def _lines(self) -> Draw:
        """Without a terminal: a line about where things stand, every few seconds."""
        next_s = 0.0

        def draw() -> None:
            nonlocal next_s
            now_s = asyncio.get_running_loop().time()
            if now_s >= next_s:
                next_s = now_s + _LINE_EVERY_S
                self._console.print(self._screen.status_line(), soft_wrap=True)

        return draw
