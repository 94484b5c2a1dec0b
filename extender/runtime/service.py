"""Wires the rooms together and keeps them running."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any, Final

from extender.adapters.accounting.ledger import LedgerError
from extender.adapters.api.app import create_app
from extender.adapters.api.dashboard.stream import LiveSnapshots
from extender.adapters.api.metrics import Metrics
from extender.adapters.carbon.client import CarbonClient
from extender.adapters.kubernetes.binding import Binder
from extender.adapters.kubernetes.client import ApiClient, ApiError
from extender.adapters.kubernetes.events import EventWriter
from extender.adapters.kubernetes.patching import PodPatcher
from extender.adapters.kubernetes.reflector import Reflector, name_of, namespaced_name_of, uid_of
from extender.adapters.kubernetes.rights import RightsCheck
from extender.adapters.spark.identify import identify
from extender.adapters.spark.reader import SpecReader
from extender.adapters.webhooks.asgi import WebhookApplication
from extender.adapters.webhooks.calls import Calls
from extender.core import queries
from extender.core.carbon.signal import Signal
from extender.core.events import AnnotatePod, CarbonSeen, Instruction, NameNode, RemoveGate, VerifyPod
from extender.core.facts import NodeFacts, PodFacts
from extender.engine import ConfigMapSeen, Engine
from extender.objects.projection import PodProjector, node_facts
from extender.objects.structs import decode_node, decode_pod
from extender.runtime.agent_reports import driver_application
from extender.runtime.bind_writer import BindWriter
from extender.runtime.cap_quota import cap_quota
from extender.runtime.handover import Handover
from extender.runtime.health import Health
from extender.runtime.http.server import CannotListen, api_server, driver_server, webhook_server
from extender.runtime.ledger_recorder import Bookkeeper
from extender.runtime.needed_rights import needed_rights
from extender.runtime.notifier import Notifier
from extender.runtime.pod_checks import PodChecks
from extender.runtime.pod_conditions import PodConditions
from extender.runtime.pod_reads import PodReads
from extender.runtime.savings_reader import SavingsReader
from extender.runtime.stage_polling import StageSources
from extender.runtime.supervisor import ServiceFailed, Supervisor
from extender.runtime.watch_sinks import WatchSinks, config_map_facts, config_maps_of
from extender.settings.root import Settings
from extender.support.backoff import Sleep

TICK_S: Final = 1.0
_GRACE_S: Final = 10.0
_CARBON: Final = "carbon"
_FIRST_SIGNAL_S: Final = 5.0

_log = logging.getLogger(__name__)


class Service:
    """The extender for one API server.

    `clock` gives seconds since the epoch. Call `run`; `stop` ends it.
    """

    def __init__(
        self,
        settings: Settings,
        client: ApiClient,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.settings = settings
        self.engine = Engine(settings.to_policy(), SpecReader())
        self.store = self.engine.store
        self.bookkeeper: Bookkeeper | None = None
        try:
            self.store.rate_stages(settings.stages.to_provider())
        except ValueError as problem:
            raise ServiceFailed(f"the importance of stages cannot be computed: {problem}") from None
        self.patcher = PodPatcher(client, still_wanted=self.engine.early.wanted)
        self.rights = RightsCheck(client, needed_rights(settings), sleep=sleep)
        self._clock = clock
        self._sleep = sleep
        self.carbon = self._carbon_client()
        self._zones_asked = 1
        self._open_books()
        self.quota = cap_quota(settings, client, self.store, clock)
        self._projector = PodProjector(identify)
        also = () if self.carbon is None else (_CARBON,)
        self.sinks = WatchSinks(
            self.engine,
            self.perform,
            clock,
            self._synced,
            also,
            settings.stages.switches,
            settings.config_map_namespaces(),
        )
        self.reflectors = self._reflectors(client)
        recheck = settings.kubernetes.recheck_before_bind
        binder = Binder(client, partial(queries.allocatable, self.store), self._projector, last_look=recheck)
        pods = PodReads(client, self._projector, self.engine, self.perform, clock)
        self.checks = PodChecks(pods)
        self.calls = Calls(
            self.engine,
            self._projector,
            BindWriter(binder),
            pods,
            self.perform,
            clock,
            catch_up=Handover(pods),
        )
        self.sources = StageSources(settings.stages, client, self.engine, self.perform, clock, sleep)
        self.health = Health(
            settings,
            self.store,
            self.reflectors,
            self.calls.binds,
            self.patcher,
            self.rights,
            self.sources,
            self.carbon,
            self.bookkeeper,
            self.quota,
        )
        self.metrics = Metrics(self.store, self.health, clock)
        self.events = EventWriter(client, socket.gethostname())
        self.notifier = Notifier(self.store, self.events, self.patcher, clock)
        self.supervisor = Supervisor(self.metrics.restarted, sleep)
        saved = SavingsReader(self.bookkeeper, clock)
        why = PodConditions(client, clock).why_unscheduled
        api = create_app(
            self.store, self.health, self.metrics, clock, savings=saved.current, why_unscheduled=why
        )
        self.live: LiveSnapshots = api.state.live
        self.application = WebhookApplication(self.calls, api, self.metrics.answered)
        self._servers = [webhook_server(self.application, settings)]
        if settings.http.api_port is not None:
            self._servers.append(api_server(api, settings))
        if settings.drivers.port is not None:
            parts = (self.engine, self.perform, self.metrics, clock)
            drivers = driver_application(settings, client, *parts, self.sources.agent_reported)
            self._servers.append(driver_server(drivers, settings))
        self._stop = asyncio.Event()
        self.listening = asyncio.Event()
        self.ready = asyncio.Event()

    def _carbon_client(self) -> CarbonClient | None:
        carbon = self.settings.carbon
        if carbon.url is None:
            return None
        return CarbonClient(
            carbon.url,
            lambda: queries.carbon_zones(self.store),
            self._signal,
            self._clock,
            poll_s=carbon.poll_s,
            kind=carbon.kind,
            stale_after_s=carbon.stale_after_s,
        )

    def _signal(self, signal: Signal) -> None:
        """The carbon service said something of a zone."""
        self.perform(self.engine.observe(CarbonSeen(signal), self._clock()))

    async def _keep_quota(self) -> None:
        """Not before all is known: a restart must not lift the limit for a moment."""
        assert self.quota is not None
        await self.ready.wait()
        await self.quota.run()

    async def _restore_quota(self) -> None:
        if self.quota is None:
            return
        try:
            await self.quota.restore()
        except ApiError as problem:
            _log.error("the ResourceQuota of CAP was not restored; the next start does it: %s", problem)

    def _open_books(self) -> None:
        if self.settings.accounting.ledger is None:
            return
        try:
            self.bookkeeper = Bookkeeper(self.settings, self.store, self._clock)
        except LedgerError as problem:
            raise ServiceFailed(f"the ledger cannot be used: {problem}") from None
        self.engine.observers.append(self.bookkeeper)

    def _reflectors(self, client: ApiClient) -> tuple[Reflector[Any], ...]:
        options: dict[str, Any] = {"clock": self._clock}
        nodes: Reflector[NodeFacts] = Reflector(
            client,
            "/api/v1/nodes",
            lambda raw: node_facts(decode_node(raw)),
            self.sinks.nodes,
            name="nodes",
            key=name_of,
            **options,
        )
        pods: Reflector[PodFacts] = Reflector(
            client,
            "/api/v1/pods",
            lambda raw: self._projector.facts(decode_pod(raw)),
            self.sinks.pods,
            name="pods",
            key=uid_of,
            # A list from the API server's cache may be old: after a restart it could lack a driver bound
            # a moment before, whose room would then be given away twice.
            first_list_from_cache=False,
            **options,
        )
        config_maps: list[Reflector[ConfigMapSeen]] = [
            Reflector(
                client,
                f"/api/v1/namespaces/{namespace}/configmaps" if namespace else "/api/v1/configmaps",
                lambda raw: config_map_facts(raw, self.settings.stages.switches),
                sink,
                name=config_maps_of(namespace),
                key=namespaced_name_of,
                **options,
            )
            for namespace, sink in self.sinks.config_maps.items()
        ]
        return nodes, pods, *config_maps

    def perform(self, instructions: Iterable[Instruction]) -> None:
        """Carry out what the store asks for."""
        for each in instructions:
            match each:
                case AnnotatePod():
                    self.patcher.submit(each.namespace, each.name, each.uid, each.annotations)
                    self.metrics.annotated(wake=each.wake)
                case RemoveGate():
                    self.patcher.ungate(each.namespace, each.name, each.uid)
                    self.metrics.ungated()
                case NameNode():
                    self.patcher.name_node(each.namespace, each.name, each.uid, each.node)
                    self.metrics.node_named()
                case VerifyPod():
                    self.checks.submit(each)

    @property
    def ports(self) -> list[int]:
        """Ports listened on: webhooks, the API's own if it has one, the drivers' if it is open."""
        return [server.port for server in self._servers]

    # -- life --------------------------------------------------------------------------------------

    def stop(self) -> None:
        """End `run`: answer what was asked, finish the Bindings under way, then go."""
        self._stop.set()

    def background(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """Tasks beside the servers, by name, for as long as the service runs."""
        background: dict[str, Callable[[], Awaitable[None]]] = {
            "annotations": self.patcher.run,
            "checks of pods": self.checks.run,
            "clock": self._tick,
            "dashboard": self.live.run,
            "events": self.events.run,
            "notices": self.notifier.run,
            "rights": self.rights.run,
        }
        if self.carbon is not None:
            background["carbon"] = self.carbon.run
        if self.quota is not None:
            background["quota"] = self._keep_quota
        if self.bookkeeper is not None:
            background["accounting"] = self.bookkeeper.run
        if self.sources.enabled:
            background["stage sources"] = self.sources.run
        return background | {each.name: each.run for each in self.reflectors}

    async def run(self) -> None:
        """Serve until `stop` is called.

        Raises:
            ServiceFailed: a port cannot be listened on, or a part fails again and again.
        """
        try:
            sockets = [server.bound_socket() for server in self._servers]
        except CannotListen as problem:
            raise ServiceFailed(str(problem)) from None
        background = self.background()
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self.supervisor.keep_running(name, work), name=name)
                    for name, work in background.items()
                ]
                serving = [
                    group.create_task(server.serve(sockets=[listener]))
                    for server, listener in zip(self._servers, sockets, strict=True)
                ]
                group.create_task(self._announce())
                tasks.append(group.create_task(self._await_first_signal()))
                await self._stop.wait()
                await self._wind_down(serving)
                for task in tasks:
                    task.cancel()
        except* ServiceFailed as failures:
            raise failures.exceptions[0] from None
        finally:
            for listener in sockets:
                listener.close()
            await self._restore_quota()
            if self.bookkeeper is not None:
                self.bookkeeper.close()

    async def _wind_down(self, serving: Iterable[asyncio.Task[None]]) -> None:
        _log.info("stopping")
        self.live.close()
        for server in self._servers:
            server.should_exit = True
        await asyncio.wait(serving)
        with suppress(TimeoutError):
            async with asyncio.timeout(_GRACE_S):
                await self.calls.binds.settled()
                await self.patcher.idle()
                await self.events.idle()

    async def _announce(self) -> None:
        for server in self._servers:
            await server.listening.wait()
        _log.info("listening on %s", ", ".join(f"{s.config.host}:{s.port}" for s in self._servers))
        self.listening.set()

    async def _await_first_signal(self) -> None:
        """A moment's patience: unknown carbon holds nothing, so a restart would release all that waits."""
        if self.carbon is None:
            return
        nodes = next(each for each in self.reflectors if each.name == "nodes")
        await nodes.synced.wait()
        if any(queries.carbon_zones(self.store)):
            self.carbon.wake()
            with suppress(TimeoutError):
                async with asyncio.timeout(_FIRST_SIGNAL_S):
                    await self.carbon.asked.wait()
        self.sinks.listed(_CARBON)

    def _synced(self) -> None:
        """All caches are filled."""
        known = queries.counts(self.store)
        _log.info("ready: %d nodes, %d bound pods, %d gangs", known.nodes, known.bound_pods, known.gangs)
        self.ready.set()

    async def _tick(self) -> None:
        while True:
            await self._sleep(TICK_S)
            self.perform(self.engine.tick(self._clock()))
            for fault, problem in self.engine.faults.unreported():
                _log.error("%s", fault.text, exc_info=problem)
            zones = len(queries.carbon_zones(self.store))
            if self.carbon is not None and zones != self._zones_asked:
                self._zones_asked = zones
                self.carbon.wake()


async def serve(settings: Settings) -> None:
    """Run the service until SIGTERM or SIGINT.

    Raises:
        ServiceFailed: it could not start or could not go on.
        CredentialsError: there are no usable credentials for the API server.
    """
    if settings.kubernetes.kubeconfig is not None:
        client = await ApiClient.from_kubeconfig(settings.kubernetes.kubeconfig, settings.kubernetes.context)
    else:
        client = await ApiClient.in_cluster()
    async with client:
        service = Service(settings, client)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, service.stop)
        freezing = asyncio.create_task(_freeze(service))
        try:
            await service.run()
        finally:
            freezing.cancel()


async def _freeze(service: Service) -> None:
    """Objects in the caches live long: the collector need not look at them again with every round."""
    await service.ready.wait()
    gc.collect()
    gc.freeze()
