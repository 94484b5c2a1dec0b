"""The in-driver agent by the repository's own template and ConfigMap; only the address is replaced."""

from __future__ import annotations

import yaml

from tests.e2e.harness.client import Object
from tests.e2e.harness.controlplane import ControlPlane
from tests.e2e.harness.extender import ROOT

TEMPLATE = ROOT / "manifests" / "examples" / "driver-template-agent.yaml"
AGENT = ROOT / "extender" / "adapters" / "spark" / "agent"


def install_agent(cluster: ControlPlane, namespace: str) -> None:
    """What the template mounts: the agent, and the authority of a certificate that nobody shows here."""
    cluster.kubectl("apply", "--namespace", namespace, "--kustomize", AGENT)
    authority = {"metadata": {"name": "carbon-scheduler-ca"}, "data": {"ca.crt": cluster.ca_file.read_text()}}
    cluster.admin.ensure("configmaps", authority, namespace)


def driver_template(url: str, **environment: str) -> Object:
    """Pod template of a driver whose agent reports to `url`."""
    template: Object = yaml.safe_load(TEMPLATE.read_text(encoding="utf-8"))
    (container,) = template["spec"]["containers"]
    values = {"CARBON_SCHEDULER_URL": url, "CARBON_SCHEDULER_AGENT_DEBUG": "1", **environment}
    others = [entry for entry in container["env"] if entry["name"] not in values]
    container["env"] = others + [{"name": name, "value": value} for name, value in values.items()]
    return template
