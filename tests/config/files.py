"""The configuration files that users get, read as YAML."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = ROOT / "manifests"
SCHEDULER_CONFIG = ROOT / "scheduler-config"
DOCS = ROOT / "docs"
NAME = "carbon-scheduler"

Object = dict[str, Any]


def documents(path: Path) -> list[Object]:
    """All YAML documents of a file."""
    return [each for each in yaml.safe_load_all(path.read_text(encoding="utf-8")) if each is not None]


def yaml_files() -> list[Path]:
    """Every YAML file under manifests/ and scheduler-config/; a chart's templates are not YAML yet."""
    found = [*MANIFESTS.rglob("*.yaml"), *SCHEDULER_CONFIG.rglob("*.yaml")]
    return sorted(path for path in found if path.parent.name != "templates")


def kustomizations() -> list[Path]:
    """Every folder that kubectl can be pointed at."""
    return sorted(path.parent for path in yaml_files() if path.name == "kustomization.yaml")


def objects(kustomization: Path) -> Iterator[Object]:
    """Kubernetes objects of a kustomization and of those it is made of, before any patch."""
    content = documents(kustomization / "kustomization.yaml")[0]
    for entry in content.get("resources", []):
        path = (kustomization / entry).resolve()
        if path.is_dir():
            yield from objects(path)
        else:
            yield from documents(path)


def of_kind(kustomization: Path, *kinds: str) -> list[Object]:
    """Objects of some kinds."""
    return [each for each in objects(kustomization) if each["kind"] in kinds]


def containers(deployment: Object) -> dict[str, Object]:
    """All containers of a Deployment by name, side-cars included."""
    spec = deployment["spec"]["template"]["spec"]
    return {each["name"]: each for each in [*spec.get("initContainers", []), *spec["containers"]]}
