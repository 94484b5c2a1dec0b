"""Builds what the end-to-end tests need: a stock Kubernetes control plane from Go modules, and two PySparks.

Standard library only. Nothing is built twice: stamps hold a hash of everything a result depends on. Arguments
are the Kubernetes versions to build, such as 1.36; without one it is the newest.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
MODULE = HERE / "controlplane"
BIN = HERE / ".bin"
VENVS = HERE / ".venvs"

# Newest first: `make e2e` runs on it, `make e2e-full` on each. The go.mod files differ in versions only.
KUBERNETES = {"1.37": ("v1.37.2", "go.mod"), "1.36": ("v1.36.3", "go-1.36.mod")}
NEWEST = next(iter(KUBERNETES))
GO_TOOLS = {
    "kwok": "sigs.k8s.io/kwok/cmd/kwok@v0.8.0",
    "helm": "helm.sh/helm/v3/cmd/helm@v3.22.0",
}
# Modules that carry the custom resource definitions of what the manifests speak to, and where in them.
DEFINITIONS = {
    "github.com/cert-manager/cert-manager@v1.19.1": "deploy/crds",
    "github.com/prometheus-operator/prometheus-operator@v0.92.0": "example/prometheus-operator-crd",
}
PROMETHEUS = ("prometheus", "promtool")
PYSPARKS = {
    "spark-3.5": ("pyspark==3.5.9", "py4j==0.10.9.9"),
    "spark-4": ("pyspark==4.3.0", "py4j==0.10.9.9"),
}
BUILD_TOOLS = ("setuptools==80.9.0", "wheel==0.45.1")
MAINS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "pki")

GO_NEEDED = (1, 26)
GO_FETCHES_TOOLCHAINS = (1, 21)  # from here on go downloads the toolchain that go.mod asks for
JAVA_NEEDED = 17
STARTED_S = time.monotonic()
PRINTING = threading.Lock()


class SetupFailedError(Exception):
    """The message is for the person at the terminal and says what to do."""


def say(text: str) -> None:
    """One progress line; the elapsed time tells a slow step from a stuck one."""
    with PRINTING:
        print(f"[{time.monotonic() - STARTED_S:6.1f}s] {text}", flush=True)


def run(command: list[str], cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Output of a command; on failure its last lines become the message."""
    done = subprocess.run(command, cwd=cwd, env=env, text=True, capture_output=True, check=False)
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-25:])
        raise SetupFailedError(f"{' '.join(command[:4])} ... ended with {done.returncode}:\n{tail}")
    return done.stdout + done.stderr


def digest(parts: list[str], files: list[Path]) -> str:
    """Identity of a build: its settings and the contents of its sources."""
    total = hashlib.sha256("\n".join(parts).encode())
    for file in files:
        total.update(file.name.encode() + b"\0" + file.read_bytes())
    return total.hexdigest()


def once(name: str, stamp: Path, wanted: str, products: list[Path], build: Callable[[], None]) -> None:
    """Builds unless the stamp says that the same thing was built completely before."""
    if stamp.exists() and stamp.read_text() == wanted and all(product.exists() for product in products):
        say(f"{name}: up to date")
        return
    say(f"{name}: building")
    stamp.unlink(missing_ok=True)
    build()
    stamp.write_text(wanted)
    say(f"{name}: done")


def check_system() -> None:
    """Pods get addresses of their own in 127/8, which only Linux lets a process bind without set-up."""
    if sys.platform != "linux":
        raise SetupFailedError("The end-to-end tests need Linux (a container with Go and Java will do).")


def check_go() -> str:
    """Path of go, if it is new enough or can fetch a toolchain that is."""
    go = shutil.which("go")
    hint = f"Install Go {GO_NEEDED[0]}.{GO_NEEDED[1]} or newer from https://go.dev/dl/ and put it on PATH."
    if go is None:
        raise SetupFailedError(f"go was not found. {hint}")
    # outside the module, so that an old go answers with its own version instead of a fetched one
    found = json.loads(run([go, "env", "-json", "GOVERSION", "GOTOOLCHAIN"], cwd=HERE))
    match = re.match(r"go(\d+)\.(\d+)", found["GOVERSION"])
    version = (int(match[1] if match else 0), int(match[2] if match else 0))
    fetches = version >= GO_FETCHES_TOOLCHAINS and found.get("GOTOOLCHAIN", "local") != "local"
    if version < GO_NEEDED and not fetches:
        raise SetupFailedError(f"{go} is {found['GOVERSION']}. {hint}")
    return go


def check_java() -> None:
    """Spark 4 needs Java 17; Spark 3.5 is content with it."""
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    hint = f"Install a Java runtime, version {JAVA_NEEDED} or 21 (Debian: openjdk-17-jre-headless)."
    if java is None or not Path(java).exists():
        raise SetupFailedError(f"java was not found{' in JAVA_HOME' if home else ''}. {hint}")
    match = re.search(r'version "(\d+)', run([java, "-version"]))
    if not match or int(match[1]) < JAVA_NEEDED:
        raise SetupFailedError(f"{java} is too old. {hint}")


def kubernetes_bin(minor_version: str) -> Path:
    """Where the components of a version lie."""
    return BIN / f"kubernetes-{minor_version}"


def build_control_plane(go: str, minor_version: str) -> None:
    """All components in one go build, so that shared packages are compiled once."""
    version = "k8s.io/component-base/version"
    full, modules = KUBERNETES[minor_version]
    major, minor = minor_version.split(".")
    # without these the components call themselves v0.0.0-master, and version checks of clients fail
    flags = (
        f"-s -w -X {version}.gitVersion={full} -X {version}.gitMajor={major} -X {version}.gitMinor={minor}"
    )
    output = f"{kubernetes_bin(minor_version)}{os.sep}"
    options = [f"-modfile={modules}", "-trimpath", "-ldflags", flags, "-o", output]
    environment = os.environ | {"CGO_ENABLED": "0"}
    run([go, "build", *options, *(f"./{main}" for main in MAINS)], MODULE, environment)


def prepare_control_plane(go: str, minor_version: str) -> None:
    """One version of Kubernetes."""
    full, modules = KUBERNETES[minor_version]
    home = kubernetes_bin(minor_version)
    home.mkdir(parents=True, exist_ok=True)
    sources = [MODULE / modules, MODULE / modules.replace(".mod", ".sum")]
    once(
        f"Kubernetes {full} and etcd (first time: about seven minutes)",
        home / "controlplane.stamp",
        digest([full, *MAINS], [*sources, *(MODULE / main / "main.go" for main in MAINS)]),
        [home / main for main in MAINS],
        lambda: build_control_plane(go, minor_version),
    )


def prepare_binaries(go: str, versions: Sequence[str]) -> None:
    """Control plane first: it takes minutes, KWOK shares most of its downloads."""
    for version in versions:
        prepare_control_plane(go, version)
    environment = os.environ | {"GOBIN": str(BIN), "CGO_ENABLED": "0", "GOFLAGS": "-trimpath"}
    for name, module in GO_TOOLS.items():
        build = functools.partial(run, [go, "install", module], HERE, environment)
        once(name, BIN / f"{name}.stamp", module, [BIN / name], lambda build=build: void(build()))
    definitions = BIN / "definitions"
    once(
        "definitions of cert-manager and prometheus-operator",
        BIN / "definitions.stamp",
        json.dumps(DEFINITIONS),
        [definitions],
        lambda: fetch_definitions(go, definitions),
    )


def fetch_definitions(go: str, target: Path) -> None:
    """Custom resource definitions as their modules carry them; nothing of the modules is built."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for module, folder in DEFINITIONS.items():
        found = json.loads(run([go, "mod", "download", "-json", module], MODULE))
        for file in sorted((Path(found["Dir"]) / folder).glob("*.yaml")):
            shutil.copyfile(file, target / file.name)


def prepare_prometheus() -> None:
    """Debian's package, unpacked and not installed: no service is started, no root is needed."""
    if all(shutil.which(name) for name in PROMETHEUS):
        say("Prometheus: on PATH")
        return

    def unpack() -> None:
        work = BIN / "prometheus-package"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        if shutil.which("apt-get") is None:
            raise SetupFailedError(
                "prometheus and promtool were not found: put them on PATH (2.42 or newer)."
            )
        run(["apt-get", "download", "prometheus"], work)
        (package,) = work.glob("prometheus_*.deb")
        run(["dpkg-deb", "--extract", str(package), str(work)])
        for name in PROMETHEUS:
            shutil.move(work / "usr" / "bin" / name, BIN / name)
        shutil.rmtree(work)

    once("Prometheus", BIN / "prometheus.stamp", "debian", [BIN / name for name in PROMETHEUS], unpack)


def void(_: object) -> None:
    """Drops a result, for callbacks that return nothing."""


def prepare_pyspark(name: str, packages: tuple[str, ...]) -> None:
    """One virtual environment a Spark version; PyPI has Spark as source archives only."""
    home = VENVS / name
    python = home / "bin" / "python"

    def build() -> None:
        shutil.rmtree(home, ignore_errors=True)
        run([sys.executable, "-m", "venv", str(home)])
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        run([*pip, *BUILD_TOOLS])
        run([*pip, "--no-build-isolation", *packages])

    wanted = digest([sys.version, str(home), *packages, *BUILD_TOOLS], [])
    VENVS.mkdir(exist_ok=True)
    once(f"PySpark {packages[0]}", VENVS / f"{name}.stamp", wanted, [python], build)


def prepare_pysparks() -> None:
    for name, packages in PYSPARKS.items():
        prepare_pyspark(name, packages)


def main(versions: Sequence[str]) -> int:
    unknown = sorted(set(versions) - set(KUBERNETES))
    if unknown:
        print(f"no version {', '.join(unknown)}; there are {', '.join(KUBERNETES)}", file=sys.stderr)
        return 2
    failures: list[str] = []

    def guarded(step: Callable[[], None]) -> None:
        try:
            step()
        except SetupFailedError as failure:
            failures.append(str(failure))

    try:
        check_system()
        go = check_go()
        check_java()
    except SetupFailedError as failure:
        print(failure, file=sys.stderr)
        return 1
    # Spark is mostly download and unpacking, Go mostly compiling: together they take as long as Go alone
    sparks = threading.Thread(target=guarded, args=(prepare_pysparks,))
    sparks.start()
    guarded(lambda: prepare_binaries(go, versions))
    guarded(prepare_prometheus)
    sparks.join()
    for failure in failures:
        print(failure, file=sys.stderr)
    if not failures:
        say("ready")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or [NEWEST]))
