"""podman as the tests use it, and the images they need, which are made on this machine.

Only the Debian base is pulled, where a registry can be reached; else debootstrap makes it with the mirror
that this machine's apt uses (a few minutes, once: the archive stays in the user's cache directory).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.e2e.setup_tools import BIN, NEWEST, kubernetes_bin

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "carbon-scheduler" / "containers"
BASE = "docker.io/library/debian:trixie-slim"
IMAGE = "localhost/carbon-scheduler-test/carbon-scheduler"
SUITE = "trixie"
COMPONENTS = {
    **{
        name: kubernetes_bin(NEWEST) / name
        for name in ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
    },
    "kwok": BIN / "kwok",
}
BUILD_S = 1500.0
CONFINED = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "all", "--security-opt", "no-new-privileges")

SETTINGS = """\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
runtime = "runc"
"""


def environment() -> dict[str, str]:
    """Debian's podman needs limits that the machine allows, and runc; a configured one stays as it is."""
    if "CONTAINERS_CONF" in os.environ or Path("/etc/containers/containers.conf").exists():
        return dict(os.environ)
    CACHE.mkdir(parents=True, exist_ok=True)
    settings = CACHE / "containers.conf"
    if not settings.exists():
        settings.write_text(SETTINGS)
    return os.environ | {"CONTAINERS_CONF": str(settings)}


def run(
    command: Sequence[str | Path],
    *,
    text: str | None = None,
    check: bool = True,
    timeout_s: float = 180.0,
    variables: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """A command's result; a failure shows the end of what it said."""
    done = subprocess.run(
        [str(each) for each in command],
        input=text,
        text=True,
        capture_output=True,
        check=False,
        timeout=timeout_s,
        env=environment() | dict(variables or {}),
        cwd=ROOT,
    )
    if check and done.returncode != 0:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-30:])
        raise AssertionError(f"{' '.join(map(str, command[:4]))} ... ended with {done.returncode}:\n{said}")
    return done


def podman(
    *arguments: str | Path, text: str | None = None, check: bool = True, timeout_s: float = 180.0
) -> str:
    """What podman printed on stdout."""
    return run(["podman", *arguments], text=text, check=check, timeout_s=timeout_s).stdout.strip()


def exists(image: str) -> bool:
    return run(["podman", "image", "exists", image], check=False).returncode == 0


def ensure_base() -> None:
    """The base image is there when this returns."""
    if exists(BASE):
        return
    archive = CACHE / f"debian-{SUITE}.tar"
    if not archive.exists():
        pulled = run(["podman", "pull", "--quiet", BASE], check=False, timeout_s=300)
        if pulled.returncode == 0:
            return
        bootstrap(archive)
    podman("import", archive, BASE, timeout_s=300)


def bootstrap(archive: Path) -> None:
    """A minimal Debian as a tar archive. Needs root and debootstrap."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as directory:
        root = Path(directory) / "root"
        run(["debootstrap", "--variant=minbase", SUITE, root, mirror()], timeout_s=BUILD_S)
        for package in (root / "var/cache/apt/archives").glob("*.deb"):
            package.unlink()
        unfinished = archive.with_suffix(".part")
        run(["tar", "-C", root, "-cf", unfinished, "."], timeout_s=BUILD_S)
        unfinished.rename(archive)  # only a whole archive has this name


def mirror() -> str:
    """The mirror of Debian that apt uses here."""
    listed = run(["apt-get", "indextargets", "--format", "$(ORIGIN) $(LABEL) $(REPO_URI)"]).stdout
    for line in listed.splitlines():
        origin, label, uri = line.split(" ", 2)
        if (origin, label) == ("Debian", "Debian"):
            return uri
    raise AssertionError("apt knows no mirror of Debian: run apt-get update, or podman pull " + BASE)


def ensure_image() -> str:
    """Our image, built from the working tree. Layers that have not changed are taken from earlier builds."""
    ensure_base()
    with tempfile.TemporaryDirectory() as directory:
        podman(
            *("build", "--quiet", "--network", "host", *secrets(Path(directory))),
            *("--build-arg", "VERSION=test", "--build-arg", "REVISION=working-tree", "--tag", IMAGE, ROOT),
            timeout_s=BUILD_S,
        )
    return IMAGE


def secrets(directory: Path) -> list[str]:
    """pip's settings of this machine, which no layer may keep."""
    settings = ["[global]", "timeout = 180"]
    flags: list[str] = []
    if certificates := os.environ.get("PIP_CERT"):
        settings.append("cert = /run/secrets/ca.crt")
        flags += ["--secret", f"id=ca.crt,src={certificates}"]
    if index := os.environ.get("PIP_INDEX_URL"):
        settings.append(f"index-url = {index}")
    path = directory / "pip.conf"
    path.write_text("\n".join(settings) + "\n")
    return [*flags, "--secret", f"id=pip.conf,src={path}"]


def ensure_components() -> dict[str, str]:
    """Images with the binaries of the end-to-end tests, by the variable that names each in the file."""
    made = {"PROMETHEUS_IMAGE": ensure_prometheus()}
    with tempfile.TemporaryDirectory() as directory:
        for name, program in COMPONENTS.items():
            tag = f"localhost/carbon-scheduler-test/{name}"
            shutil.copy2(program, directory)
            recipe = f"FROM scratch\nENV PATH=/usr/local/bin\nCOPY {name} /usr/local/bin/\n"
            podman("build", "--quiet", "--tag", tag, "--file", "-", directory, text=recipe)
            (Path(directory) / name).unlink()
            made[name.replace("-", "_").upper() + "_IMAGE"] = tag
    return made


def ensure_prometheus() -> str:
    """Prometheus of Debian, with promtool."""
    tag = "localhost/carbon-scheduler-test/prometheus"
    recipe = (
        f"FROM {BASE}\nRUN apt-get update && apt-get install -y --no-install-recommends prometheus"
        " && rm -rf /var/lib/apt/lists/*\n"
    )
    with tempfile.TemporaryDirectory() as empty:
        podman(
            *("build", "--quiet", "--network", "host", "--tag", tag, "--file", "-", empty),
            text=recipe,
            timeout_s=BUILD_S,
        )
    return tag
