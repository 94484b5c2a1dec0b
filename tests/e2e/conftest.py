"""One control plane for all end-to-end tests; nodes, namespaces and schedulers belong to each test."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.harness.controlplane import BIN, E2E, ControlPlane
from tests.e2e.harness.extender import Extender, Pair, install, make_pair
from tests.e2e.harness.grid import ZONE_LABELS, Grid
from tests.e2e.harness.kubelet import Kubelet
from tests.e2e.harness.kwok import Kwok, create_nodes, delete_nodes, node_body
from tests.e2e.harness.observer import Observer
from tests.e2e.harness.schedulers import Scheduler, plain_config
from tests.e2e.harness.spark import prepare_namespace

KEPT_RUNS = 5
StartNodes = Callable[..., list[str]]
StartKubelet = Callable[..., Kubelet]
StartPair = Callable[..., Pair]
StartScheduler = Callable[[Scheduler], Scheduler]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "full: left out by `make e2e`, run by `make e2e-full`")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this directory is an end-to-end test, and says so."""
    for item in items:
        if E2E in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def work() -> Path:
    """Directory of this run; its logs are kept for a few runs."""
    root = E2E / ".work"
    root.mkdir(exist_ok=True)
    for old in sorted(root.iterdir())[: -(KEPT_RUNS - 1)]:
        remove(old)
    path = root / time.strftime("%Y%m%d-%H%M%S")
    path.mkdir()
    return path


def plain(name: str) -> str:
    """A test's name as a directory: Spark takes paths for URIs, in which brackets are an error."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-")


def remove(path: Path) -> None:
    for child in path.iterdir() if path.is_dir() and not path.is_symlink() else ():
        remove(child)
    path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


@pytest.fixture(scope="session")
def cluster(work: Path) -> Iterator[ControlPlane]:
    """The running control plane, without nodes and without schedulers."""
    if not (BIN / "kube-apiserver").exists():
        pytest.fail("the control plane is not built: run tests/e2e/setup_tools.py (make e2e does)")
    plane = ControlPlane(work)
    try:
        plane.start()
        yield plane
    finally:
        plane.stop()


@pytest.fixture(scope="session")
def kwok(cluster: ControlPlane) -> Iterator[Kwok]:
    player = Kwok(cluster)
    try:
        player.start()
        yield player
    finally:
        player.stop()


@pytest.fixture
def fake_nodes(cluster: ControlPlane, kwok: Kwok) -> Iterator[StartNodes]:
    """`fake_nodes(count, prefix=..., **shape)` or `fake_nodes(bodies=[...])`, as node_body makes them."""
    made: list[str] = []

    def start(count: int = 0, prefix: str = "fake", bodies: list | None = None, **shape) -> list[str]:
        wanted = bodies or [node_body(f"{prefix}-{number}", **shape) for number in range(count)]
        made.extend(body["metadata"]["name"] for body in wanted)
        return create_nodes(cluster.admin, wanted)

    yield start
    delete_nodes(cluster.admin, made)


@pytest.fixture
def real_nodes(cluster: ControlPlane, request: pytest.FixtureRequest) -> Iterator[StartKubelet]:
    """`real_nodes(count, prefix=..., **shape)`: nodes whose pods are processes of this machine."""
    with ExitStack() as stack:

        def start(count: int = 1, prefix: str = "real", bodies: list | None = None, **shape) -> Kubelet:
            wanted = bodies or [node_body(f"{prefix}-{number}", **shape) for number in range(count)]
            kubelet = Kubelet(cluster, wanted, f"kubelet-{plain(request.node.name)}-{prefix}")
            stack.callback(delete_nodes, cluster.admin, list(kubelet.bodies))
            stack.callback(kubelet.stop)
            kubelet.start()
            return kubelet

        yield start


@pytest.fixture
def start_scheduler() -> Iterator[StartScheduler]:
    """Starts schedulers and stops them after the test; until then they hold no lease of another test."""
    started: list[Scheduler] = []

    def start(scheduler: Scheduler) -> Scheduler:
        started.append(scheduler)
        return scheduler.start()

    yield start
    for scheduler in started:
        scheduler.kill()


@pytest.fixture
def plain_scheduler(cluster: ControlPlane, start_scheduler: StartScheduler) -> Scheduler:
    """A second scheduler of our name, but without extender."""
    return start_scheduler(Scheduler(cluster, "plain", plain_config("carbon-scheduler")))


@pytest.fixture(scope="session")
def installed(cluster: ControlPlane) -> ControlPlane:
    """The control plane with the repository's roles and ServiceAccounts."""
    install(cluster)
    return cluster


@pytest.fixture
def start_pair(installed: ControlPlane, request: pytest.FixtureRequest) -> Iterator[StartPair]:
    """Starts pairs of kube-scheduler and extender; they die with the test."""
    started: list[Pair] = []

    def start(name: str = "", *, crash_at: str = "", leader_elect: bool = False, **options: str) -> Pair:
        label = f"{request.node.name.split('[')[0].removeprefix('test_')[:30]}-{name or len(started)}"
        pair = make_pair(installed, label, leader_elect=leader_elect, **options)
        started.append(pair)
        return pair.start(crash_at)

    yield start
    for pair in started:
        pair.kill()


@pytest.fixture
def start_grid(work: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Grid]]:
    """`start_grid(hour, hour_s)`: the grid at that hour of the day."""
    started: list[Grid] = []

    def start(hour: int, hour_s: float = 2.0) -> Grid:
        name = f"grid-{plain(request.node.name)}-{len(started)}"
        started.append(Grid(work, name, hour, hour_s))
        return started[-1]

    yield start
    for each in started:
        each.kill()


@pytest.fixture
def extender_of(start_pair: StartPair, fake_nodes: StartNodes) -> Callable[..., Extender]:
    """`extender_of(grid, nodes, **options)`: a pair that follows the grid, with fake nodes in it."""

    def start(grid: Grid, nodes: int, **options: str) -> Extender:
        bodies = [node_body(f"fake-{n}", cpu="16", memory="64Gi", labels=ZONE_LABELS) for n in range(nodes)]
        fake_nodes(bodies=bodies)
        extender = start_pair(carbon__url=grid.url, carbon__poll_s="0.5", **options).extender
        grid.await_known(extender)
        return extender

    return start


@pytest.fixture
def observer(cluster: ControlPlane) -> Iterator[Callable[[], Observer]]:
    """Starts observers; call it when all nodes are there."""
    started: list[Observer] = []

    def start() -> Observer:
        started.append(Observer(cluster.admin).start())
        return started[-1]

    yield start
    for each in started:
        each.stop()


@pytest.fixture
def namespace(cluster: ControlPlane) -> Iterator[str]:
    """Fresh for each test, with what Spark needs; its deletion is left to the cluster."""
    name = f"e2e-{uuid.uuid4().hex[:8]}"
    prepare_namespace(cluster, name)
    yield name
    cluster.admin.delete_all("pods", name, grace_s=0)
    cluster.admin.delete("namespaces", name)
