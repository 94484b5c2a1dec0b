"""The image as users run it: read-only root, no capabilities, one tmpfs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.containers.podman import BASE, CONFINED, ROOT, podman, run
from tests.e2e.harness.waiting import wait_for

MOST_BYTES_OVER_BASE = 250_000_000
HOME = "/opt/carbon-scheduler"
TOOLS = ("gcc", "cc", "make", "ld", "strip", "pip", "pip3", "uv")


def inside(image: str, *command: str) -> str:
    """What a program in the image prints, confined as in production and without a network."""
    program, *arguments = command
    return podman("run", "--rm", "--network", "none", *CONFINED, "--entrypoint", program, image, *arguments)


def test_it_is_small(image: str):
    size, base = (int(podman("image", "inspect", "--format", "{{.Size}}", name)) for name in (image, BASE))
    assert size - base < MOST_BYTES_OVER_BASE


def test_nobody_is_root_and_nothing_can_build_or_install(image: str):
    assert inside(image, "id", "-u") == "65532"
    found = inside(image, "sh", "-c", f"for tool in {' '.join(TOOLS)}; do command -v $tool || true; done")
    assert found == ""
    assert podman("image", "inspect", "--format", "{{.User}}", image) == "65532:65532"


def test_nothing_but_tmp_can_be_written(image: str):
    refused = run(
        ["podman", "run", "--rm", *CONFINED, "--entrypoint", "touch", image, f"{HOME}/new"], check=False
    )
    assert refused.returncode != 0
    assert "Read-only file system" in refused.stderr
    inside(image, "touch", "/tmp/new")


def test_what_the_documentation_lists_is_in_it(image: str):
    assert "Apache License" in inside(image, "cat", f"{HOME}/share/doc/LICENSE")
    labels = json.loads(podman("image", "inspect", "--format", "{{json .Labels}}", image))
    assert labels["org.opencontainers.image.title"] == "carbon-scheduler"
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert labels["org.opencontainers.image.version"] == "test"


def test_the_bill_of_materials_names_what_is_installed_and_all_of_it_is_locked(image: str):
    document = json.loads(inside(image, "cat", f"{HOME}/share/doc/sbom.cdx.json"))
    assert document["bomFormat"] == "CycloneDX"
    named = {(plain(each["name"]), each["version"]) for each in document["components"]}
    listed = json.loads(
        inside(
            image,
            "python",
            "-c",
            "import importlib.metadata as m, json;"
            "print(json.dumps([(d.metadata['Name'], d.version) for d in m.distributions()]))",
        )
    )
    installed = {(plain(name), version) for name, version in listed if name != "carbon-scheduler"}
    assert installed <= named
    assert installed <= locked(ROOT / "requirements.lock")


def plain(name: str) -> str:
    """As PEP 503 has it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(path: Path) -> set[tuple[str, str]]:
    return {
        (plain(name), version) for name, version in re.findall(r"(?m)^([\w.-]+)==(\S+)", path.read_text())
    }


@pytest.mark.parametrize(
    ("arguments", "ready"),
    [(("carbon-api", "serve"), "listening on"), (("demo",), "submitted")],
    ids=["carbon service", "demo"],
)
def test_it_stops_by_itself_within_the_grace_period(
    image: str, container: str, arguments: tuple[str, ...], ready: str
):
    podman("run", "--detach", "--name", container, *CONFINED, image, *arguments)

    def said() -> str:
        done = run(["podman", "logs", container])
        return done.stdout + done.stderr

    wait_for(lambda: ready in said(), f"{ready!r} in the log", 120, said)
    podman("stop", "--time", "10", container)
    # 137 would be SIGKILL, after the ten seconds.
    assert podman("inspect", "--format", "{{.State.ExitCode}}", container) == "0"
    changes = podman("diff", container).splitlines()
    # Mount points are made by the engine.
    assert [each for each in changes if not re.fullmatch(r"[AC] /(etc|run|tmp)(/\S*)?", each)] == []
