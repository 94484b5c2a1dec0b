"""Leaders and ConfigMaps for the tests of Spark's dialect."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from extender.adapters.spark import SpecReader, identify
from extender.core.facts import GangKey, PodFacts, Role
from extender.core.gangs.spec import GangSpec, SpecProblem
from extender.core.nodes.terms import ANYWHERE, PlacementTerms
from extender.core.outcomes import Outcome
from extender.objects.projection import PodProjector
from extender.objects.structs import Pod
from tests.cases import case_path

MIB = 1 << 20
OWN = {
    "carbon-scheduler/executor-cpu": "2",
    "carbon-scheduler/executor-memory": "4Gi",
    "carbon-scheduler/executor-count": "3",
}
PALANTIR = {
    "spark-driver-cpu": "1",
    "spark-driver-mem": "2432Mi",
    "spark-driver-nvidia.com/gpu": "1",
    "spark-executor-cpu": "2",
    "spark-executor-mem": "6758Mi",
    "spark-executor-nvidia.com/gpu": "1",
    "spark-executor-count": "2",
}


def leader(
    annotations: Mapping[str, str] | None = None,
    *,
    mounts: str = "",
    template: str = "",
    terms: PlacementTerms = ANYWHERE,
) -> PodFacts:
    """A driver pod; `mounts` and `template` name its ConfigMaps."""
    return PodFacts(
        uid="u1",
        namespace="ns",
        name="app-driver",
        role=Role.LEADER,
        gang=GangKey("ns", "app"),
        terms=terms,
        annotations=annotations or {},
        config_map=mounts,
        template_config_map=template,
    )


def config_map(conf: Mapping[str, str] | None = None) -> dict[str, str]:
    """Data of a driver ConfigMap with this configuration, escaped as Java escapes it."""
    lines = [f"{escaped(key)}={escaped(value)}" for key, value in (conf or {}).items()]
    return {"spark.properties": "\n".join(["#Java properties", *lines, ""])}


def escaped(text: str) -> str:
    """`text` with everything escaped that properties text may mistake for something else."""
    out = ""
    for character in text:
        if character in "\\=:#! ":
            out += "\\" + character
        elif " " <= character <= "~":
            out += character
        else:
            halves = character.encode("utf-16-be", "surrogatepass").hex()
            out += "".join(f"\\u{halves[i : i + 4]}" for i in range(0, len(halves), 4))
    return out


def read_conf(
    conf: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    template: str | None = None,
) -> GangSpec | SpecProblem:
    """What is read for a driver with this configuration, these annotations, this executor template."""
    driver = leader(annotations, mounts="conf-map", template="" if template is None else "template-map")
    data = None if template is None else {"podspec-configmap-key": template}
    return SpecReader().read(driver, config_map(conf), data)


def read_annotations(annotations: Mapping[str, str], **options: Any) -> GangSpec | SpecProblem:
    """What is read for a leader with nothing but annotations."""
    return SpecReader().read(leader(annotations, **options), None, None)


def spec(answer: GangSpec | SpecProblem) -> GangSpec:
    """The request, which must be usable."""
    assert isinstance(answer, GangSpec), answer
    return answer


def refusal(answer: GangSpec | SpecProblem) -> str:
    """The text of a refusal, which must be one."""
    assert isinstance(answer, SpecProblem), answer
    assert answer.outcome is Outcome.INVALID_REQUEST
    assert 0 < len(answer.detail) < 300
    assert answer.detail.isprintable()
    return answer.detail


@dataclass
class Capture:
    """What one run of real Spark sent to the API server."""

    leader: PodFacts | None = None
    executors: list[PodFacts] = field(default_factory=list[PodFacts])
    config_maps: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])

    def read(self) -> GangSpec | SpecProblem:
        """What we read from the driver pod and its ConfigMaps."""
        assert self.leader is not None
        return SpecReader().read(
            self.leader,
            self.config_maps.get(self.leader.config_map),
            self.config_maps.get(self.leader.template_config_map),
        )


def capture(name: str) -> Capture:
    """A recorded run, such as `3.5.9-static`; skips where the recordings are not available."""
    requests = json.loads(case_path(f"spark-captures/spark-{name}.json").read_text())
    projector = PodProjector(identify)
    recorded = Capture()
    for request in requests:
        body = request.get("body")
        if not isinstance(body, dict):
            continue
        name = body.get("metadata", {}).get("name", "")
        if body.get("kind") == "ConfigMap":
            recorded.config_maps[name] = body["data"]
        elif body.get("kind") == "Pod" and request["method"] == "POST":
            body["metadata"].setdefault("uid", name)  # the API server would give one
            facts = projector.facts(msgspec.convert(body, Pod))
            if facts.role is Role.LEADER:
                recorded.leader = facts
            else:
                recorded.executors.append(facts)
    return recorded
