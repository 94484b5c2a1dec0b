"""From a pod to local processes: its volumes as directories, its environment, its commands.

There is no image. Spark containers are recognised by their first argument (`driver`, `executor`) and get
the commands that Spark's image would run, from the PySpark version that the pod's `spark-version` label
names. Any other container must bring a command that exists on this machine. Mount paths are rewritten to the
pod's own directories in arguments, environment and properties files. Containers of this repository's own
images are told where things are on this machine by `images`.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.harness import images
from tests.e2e.harness.client import ApiError, Client, Object
from tests.e2e.harness.sparks import SparkHome, spark_home

# small and quick to start; the programs are short, so the best compiler would never pay for itself
JAVA_OPTIONS = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
IMAGE_SPARK_HOME = "/opt/spark"
EXECUTOR_BACKEND = "org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend"
PRE_STOP_DECOMMISSION = "decom.sh"


class NotYetError(Exception):
    """Something the pod mounts does not exist yet; a kubelet waits for it."""


class CannotRunError(Exception):
    """The container can never start here."""


@dataclass(frozen=True)
class Command:
    """One container, ready to be started."""

    container: str
    argv: list[str]
    env: dict[str, str]


@dataclass
class Sandbox:
    """Directories and identity of one pod on this machine."""

    pod: Object
    directory: Path
    ip: str
    host_ip: str
    hosts_file: Path
    client: Client
    service_address: Callable[[str, str], str | None]
    """Namespace and name of a Service to the address of a pod that it selects."""

    @property
    def namespace(self) -> str:
        return self.pod["metadata"]["namespace"]

    def prepare(self) -> list[Command]:
        """Writes the volumes, then says what to run. May be called again after NotYetError."""
        try:
            return self.commands()
        except images.NoPodYet as missing:
            raise NotYetError(str(missing)) from missing

    def commands(self) -> list[Command]:
        volumes = {volume["name"]: volume for volume in self.pod["spec"].get("volumes", [])}
        commands: list[Command] = []
        for container in started_containers(self.pod):
            spark = spark_home(self.pod) if is_spark(container) else None
            image = None
            if images.is_ours(container):
                image = images.OurImage(container, self.directory, self.ip, self.client, self.service_address)
            paths = Paths(self.mount_paths(container, volumes), spark, image)
            for mount in container.get("volumeMounts", []):
                self.fill(volumes[mount["name"]], paths)
            commands.append(self.command(container, paths, spark))
        return commands

    def root(self, volume: Object) -> Path:
        if "hostPath" in volume:
            return Path(volume["hostPath"]["path"])
        return self.directory / "volumes" / volume["name"]

    def mount_paths(self, container: Object, volumes: dict[str, Object]) -> dict[str, str]:
        return {
            mount["mountPath"].rstrip("/"): str(self.root(volumes[mount["name"]]) / mount.get("subPath", ""))
            for mount in container.get("volumeMounts", [])
        }

    def fill(self, volume: Object, paths: Paths) -> None:
        root = self.root(volume)
        root.mkdir(parents=True, exist_ok=True)
        if "configMap" in volume:
            self.write_map("configmaps", volume["configMap"], volume["configMap"]["name"], root, paths)
        elif "secret" in volume:
            self.write_map("secrets", volume["secret"], volume["secret"]["secretName"], root, paths)
        elif "downwardAPI" in volume:
            self.write_downward(volume["downwardAPI"], root)
        for source in volume.get("projected", {}).get("sources", []):
            if "configMap" in source:
                self.write_map("configmaps", source["configMap"], source["configMap"]["name"], root, paths)
            elif "serviceAccountToken" in source:
                token = root / source["serviceAccountToken"]["path"]
                token.write_text(self.token(source["serviceAccountToken"]))
            elif "downwardAPI" in source:
                self.write_downward(source["downwardAPI"], root)

    def write_map(self, kind: str, source: Object, name: str, root: Path, paths: Paths) -> None:
        """Keys as files; `items` choose and rename."""
        found = self.client.find(kind, name, self.namespace)
        if found is None:
            if source.get("optional"):
                return
            raise NotYetError(f"{kind} {name}")
        data: dict[str, str] = found.get("data") or {}
        if kind == "secrets":
            data = {key: base64.b64decode(value).decode() for key, value in data.items()}
        items = source.get("items") or [{"key": key, "path": key} for key in data]
        for item in items:
            target = root / item["path"]
            target.parent.mkdir(parents=True, exist_ok=True)
            text = data[item["key"]]
            if kind == "configmaps" and paths.image:
                text = paths.image.file(item["path"], paths.rewrite(text), paths.mounts)
            target.write_text(paths.rewrite(text) if target.suffix == ".properties" else text)

    def write_downward(self, source: Object, root: Path) -> None:
        for item in source.get("items", []):
            (root / item["path"]).write_text(self.field(item["fieldRef"]["fieldPath"]))

    def token(self, source: Object) -> str:
        """Bound to the pod like a kubelet's, so it dies with the pod."""
        meta = self.pod["metadata"]
        spec: Object = {
            "expirationSeconds": source.get("expirationSeconds", 3600),
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]},
        }
        if "audience" in source:
            spec["audiences"] = [source["audience"]]
        account = self.pod["spec"].get("serviceAccountName", "default")
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        try:
            answer = self.client.create("serviceaccounts", body, self.namespace, account, "token")
        except ApiError as error:
            raise NotYetError(f"token of {account}: {error.message}") from error
        return answer["status"]["token"]

    def field(self, path: str) -> str:
        meta = self.pod["metadata"]
        keyed = re.fullmatch(r"metadata\.(labels|annotations)\['(.+)'\]", path)
        if keyed:
            return meta.get(keyed[1], {}).get(keyed[2], "")
        known = {
            "status.podIP": self.ip,
            "status.hostIP": self.host_ip,
            "metadata.name": meta["name"],
            "metadata.namespace": meta["namespace"],
            "metadata.uid": meta["uid"],
            "spec.nodeName": self.pod["spec"]["nodeName"],
            "spec.serviceAccountName": self.pod["spec"].get("serviceAccountName", "default"),
        }
        if path not in known:
            raise CannotRunError(f"unknown fieldRef {path}")
        return known[path]

    def environment(self, container: Object, paths: Paths, spark: SparkHome | None) -> dict[str, str]:
        """What a container would see, and as little as possible of the tests' own environment."""
        host, port = self.client.url.removeprefix("https://").split(":")
        env = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "HOME": str(self.directory),
            "HOSTNAME": self.pod["metadata"]["name"],
            "KUBERNETES_SERVICE_HOST": host,
            "KUBERNETES_SERVICE_PORT": port,
        }
        if "JAVA_HOME" in os.environ:
            env["JAVA_HOME"] = os.environ["JAVA_HOME"]
        if spark:
            options = " ".join([*JAVA_OPTIONS, f"-Djdk.net.hosts.file={self.hosts_file}"])
            env |= {
                "SPARK_HOME": str(spark.home),
                "SPARK_LOCAL_IP": self.ip,
                "PYSPARK_PYTHON": str(spark.python),
                "PYSPARK_DRIVER_PYTHON": str(spark.python),
                "JAVA_TOOL_OPTIONS": options,
            }
        for source in container.get("envFrom", []):
            env |= {name: paths.rewrite(text) for name, text in self.data_of(source["configMapRef"]).items()}
        for entry in container.get("env", []):
            env[entry["name"]] = expand(paths.rewrite(self.env_value(entry)), env)
        return paths.image.environment(env, paths.mounts) if paths.image else env

    def data_of(self, reference: Object) -> dict[str, str]:
        found = self.client.find("configmaps", reference["name"], self.namespace)
        if found is None:
            raise NotYetError(f"configmaps {reference['name']}")
        return found.get("data", {})

    def env_value(self, entry: Object) -> str:
        source: dict[str, Any] = entry.get("valueFrom") or {}
        if "fieldRef" in source:
            return self.field(source["fieldRef"]["fieldPath"])
        if "configMapKeyRef" in source:
            return self.data_of(source["configMapKeyRef"])[source["configMapKeyRef"]["key"]]
        if "secretKeyRef" in source:
            reference = source["secretKeyRef"]
            found = self.client.find("secrets", reference["name"], self.namespace)
            if found is None:
                raise NotYetError(f"secrets {reference['name']}")
            return base64.b64decode(found["data"][reference["key"]]).decode()
        if source:
            raise CannotRunError(f"environment from {', '.join(source)}")
        return entry.get("value", "")

    def command(self, container: Object, paths: Paths, spark: SparkHome | None) -> Command:
        env = self.environment(container, paths, spark)
        args = [expand(paths.rewrite(arg), env) for arg in container.get("args", [])]
        if spark and args[0] == "driver":
            argv = driver_command(spark, args[1:], env)
        elif spark:
            argv = executor_command(spark, env)
        elif paths.image:
            argv = paths.image.command(args)
        elif container.get("command"):
            argv = [expand(paths.rewrite(word), env) for word in container["command"]] + args
            if shutil.which(argv[0], path=env["PATH"]) is None:
                raise CannotRunError(f"no program {argv[0]} on this machine")
        else:
            raise CannotRunError("there are no images here: a container needs a command")
        return Command(container["name"], argv, env)


@dataclass(frozen=True)
class Paths:
    """Where a container's paths lie on this machine."""

    mounts: dict[str, str]
    spark: SparkHome | None
    image: images.OurImage | None = None

    def rewrite(self, text: str) -> str:
        """All in one pass, longest first, whole path components only."""
        known = dict(self.mounts)
        if self.spark:
            known.setdefault(IMAGE_SPARK_HOME, str(self.spark.home))
        if not known:
            return text
        alternatives = "|".join(re.escape(path) for path in sorted(known, key=len, reverse=True))
        return re.sub(rf"(?<![\w.-])({alternatives})(?![\w.-])", lambda match: known[match[1]], text)


def started_containers(pod: Object) -> list[Object]:
    """Side-cars (init containers that are restarted for ever) and containers."""
    inits = pod["spec"].get("initContainers", [])
    return [*(each for each in inits if each.get("restartPolicy") == "Always"), *pod["spec"]["containers"]]


def is_spark(container: Object) -> bool:
    return not container.get("command") and (container.get("args") or [""])[0] in ("driver", "executor")


def expand(text: str, env: dict[str, str]) -> str:
    """$(NAME) of Kubernetes; unknown names stay as they are."""
    return re.sub(r"\$\(([\w.-]+)\)", lambda match: env.get(match[1], match[0]), text)


def driver_command(spark: SparkHome, args: list[str], env: dict[str, str]) -> list[str]:
    bind = f"spark.driver.bindAddress={env['SPARK_DRIVER_BIND_ADDRESS']}"
    return [str(spark.submit), "--conf", bind, "--deploy-mode", "client", *args]


def executor_command(spark: SparkHome, env: dict[str, str]) -> list[str]:
    options = sorted(
        (name for name in env if re.fullmatch(r"SPARK_JAVA_OPT_\d+", name)),
        key=lambda name: int(name.rsplit("_", 1)[1]),
    )
    classpath = [
        env["SPARK_CONF_DIR"],
        f"{spark.home}/jars/*",
        *env.get("SPARK_EXTRA_CLASSPATH", "").split(":"),
    ]
    memory = env["SPARK_EXECUTOR_MEMORY"]
    flags = {
        "driver-url": env["SPARK_DRIVER_URL"],
        "executor-id": env["SPARK_EXECUTOR_ID"],
        "cores": env["SPARK_EXECUTOR_CORES"],
        "app-id": env["SPARK_APPLICATION_ID"],
        "hostname": env["SPARK_EXECUTOR_POD_IP"],
        "resourceProfileId": env["SPARK_RESOURCE_PROFILE_ID"],
        "podName": env["SPARK_EXECUTOR_POD_NAME"],
    }
    command = [java(env), *(env[name] for name in options), f"-Xms{memory}", f"-Xmx{memory}"]
    command += ["-cp", ":".join(path for path in classpath if path), EXECUTOR_BACKEND]
    return command + [word for name, value in flags.items() for word in (f"--{name}", value)]


def java(env: dict[str, str]) -> str:
    return f"{env['JAVA_HOME']}/bin/java" if "JAVA_HOME" in env else "java"


def decommissions(container: Object) -> bool:
    """Whether Spark asks for graceful decommissioning before the container is stopped."""
    hook = container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", [])
    return any(PRE_STOP_DECOMMISSION in word for word in hook)
