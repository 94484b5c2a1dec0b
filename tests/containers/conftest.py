"""Images are made once for all tests. Without podman everything here is skipped, and says so."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator

import pytest

from tests.containers import podman
from tests.containers.compose import Project
from tests.e2e.harness.processes import free_port


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """podman is what runs containers here; docker's images and networks are somebody else's."""
    if shutil.which("podman") is None:
        reason = "no podman: apt-get install podman (docs/image.md lists what else the tests need)"
        for item in items:
            if "image" in item.fixturenames:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def image() -> str:
    """Our image, built from the working tree."""
    return podman.ensure_image()


@pytest.fixture(scope="session")
def components() -> dict[str, str]:
    """Images of control plane and Prometheus, by the variable that names each in docker-compose.yml."""
    missing = [name for name, program in podman.COMPONENTS.items() if not program.exists()]
    if missing:
        pytest.fail(
            f"{', '.join(missing)} are not built: run tests/e2e/setup_tools.py (make containers does)"
        )
    podman.ensure_base()
    return podman.ensure_components()


@pytest.fixture
def project(image: str) -> Iterator[Project]:
    """docker-compose.yml under a name and on ports of its own; gone after the test."""
    ports = {name: str(free_port()) for name in ("API_PORT", "PROMETHEUS_PORT", "GRAFANA_PORT")}
    made = Project(f"carbon-test-{uuid.uuid4().hex[:8]}", {"CARBON_SCHEDULER_IMAGE": image, **ports})
    yield made
    made.down()


@pytest.fixture
def container(image: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """A name for a container of the test, which is removed after it."""
    name = f"carbon-test-{uuid.uuid4().hex[:8]}"
    yield name
    podman.podman("rm", "--force", "--time", "0", name, check=False)
