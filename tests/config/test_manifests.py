"""Manifests: least privilege, hardened pods, and names that fit together."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
import yaml

import extender.adapters.spark.agent
from carbon_api import settings as carbon_settings
from carbon_api import synthetic
from extender.adapters.spark.annotations import read_own
from extender.core.nodes.terms import Taint
from extender.core.policy import Switches
from extender.objects.projection import placement_terms
from extender.objects.structs import PodSpec, TolerationObject
from extender.runtime.switches import read_switches
from extender.settings.loading import load
from tests.config.files import (
    MANIFESTS,
    NAME,
    SCHEDULER_CONFIG,
    Object,
    containers,
    documents,
    kustomizations,
    objects,
    of_kind,
    yaml_files,
)
from tools import chart_schema

BASE = MANIFESTS / "base"
SEPARATE = MANIFESTS / "separate-extender"
READS = {"get", "list", "watch"}
ENVIRONMENT = "carbon-scheduler-environment"
PREFIX = "CARBON_SCHEDULER_"
AGENT_PORT = MANIFESTS / "components" / "driver-agent"
AGENT = Path(extender.adapters.spark.agent.__file__).parent
COMPONENTS = sorted(path.parent for path in (MANIFESTS / "components").glob("*/kustomization.yaml"))
CARBON = MANIFESTS / "components" / "carbon"

each_kustomization = pytest.mark.parametrize(
    "folder", kustomizations(), ids=lambda path: str(path.relative_to(path.parents[1]))
)


def rules() -> list[Object]:
    roles = of_kind(MANIFESTS / "rbac", "Role", "ClusterRole")
    assert roles
    return [rule for role in roles for rule in role["rules"]]


def granted(role_name: str) -> set[tuple[str, str]]:
    """(verb, resource) of a role of ours."""
    (role,) = [
        each
        for each in of_kind(MANIFESTS / "rbac", "Role", "ClusterRole")
        if each["metadata"]["name"] == role_name
    ]
    return {
        (verb, resource) for rule in role["rules"] for verb in rule["verbs"] for resource in rule["resources"]
    }


def deployments(folder: Path) -> dict[str, Object]:
    return {each["metadata"]["name"]: each for each in of_kind(folder, "Deployment")}


def test_every_file_is_yaml():
    files = yaml_files()
    assert files
    for path in files:
        for document in documents(path):
            assert isinstance(document, dict), path


# -- kustomize ---------------------------------------------------------------------------------------


@each_kustomization
def test_kustomizations_refer_to_files_that_exist(folder: Path):
    content = documents(folder / "kustomization.yaml")[0]
    entries = [*content.get("resources", []), *content.get("components", [])]
    entries += [patch["path"] for patch in content.get("patches", [])]
    for generator in content.get("configMapGenerator", []):
        entries += generator.get("files", [])
    assert entries
    for entry in entries:
        assert (folder / entry).exists(), f"{folder.name}/kustomization.yaml names {entry}"
        if (folder / entry).is_dir():
            assert (folder / entry / "kustomization.yaml").is_file()


@each_kustomization
def test_every_file_beside_a_kustomization_is_used(folder: Path):
    text = (folder / "kustomization.yaml").read_text(encoding="utf-8")
    unused = [path.name for path in folder.glob("*.yaml") if path.name not in text]
    assert unused == ["kustomization.yaml"]


@pytest.mark.parametrize("folder", [BASE, SEPARATE], ids=lambda path: path.name)
def test_mounted_config_maps_are_generated(folder: Path):
    """Those of the pod's environment too."""
    generated = {
        generator["name"]
        for each in kustomizations()
        for generator in documents(each / "kustomization.yaml")[0].get("configMapGenerator", [])
    }
    mounted = {
        volume["configMap"]["name"]
        for deployment in deployments(folder).values()
        for volume in deployment["spec"]["template"]["spec"]["volumes"]
        if "configMap" in volume
    }
    sources = {
        source["configMapRef"]["name"]
        for deployment in deployments(folder).values()
        for container in containers(deployment).values()
        for source in container.get("envFrom", [])
    }
    assert mounted
    assert sources == {ENVIRONMENT}
    assert mounted | sources <= generated


def test_kube_scheduler_is_started_with_files_that_are_in_the_config_map():
    content = documents(SCHEDULER_CONFIG / "kustomization.yaml")[0]
    files = {file for generator in content["configMapGenerator"] for file in generator["files"]}
    started = [deployments(BASE)[NAME], *documents(SEPARATE / "without-side-car.yaml")]
    for deployment in started:
        (argument,) = [
            argument
            for argument in containers(deployment)["kube-scheduler"]["args"]
            if argument.startswith("--config=")
        ]
        assert Path(argument.removeprefix("--config=")).name in files


# -- least privilege ---------------------------------------------------------------------------------


def test_no_rule_has_a_wildcard():
    for rule in rules():
        for field in ("apiGroups", "resources", "verbs", "resourceNames"):
            assert "*" not in "".join(rule.get(field, [])), rule


def test_no_rule_reaches_for_more_rights():
    for rule in rules():
        assert not {"escalate", "bind", "impersonate"} & set(rule["verbs"])
        assert not {"secrets", "serviceaccounts/token", "pods/exec", "nodes/proxy"} & set(rule["resources"])
        assert "rbac.authorization.k8s.io" not in rule["apiGroups"]


def test_only_these_built_in_roles_are_bound():
    own = {each["metadata"]["name"] for each in of_kind(BASE, "Role", "ClusterRole")}
    bound = {each["roleRef"]["name"] for each in of_kind(BASE, "RoleBinding", "ClusterRoleBinding")}
    assert bound - own == {
        "system:kube-scheduler",
        "system:volume-scheduler",
        "extension-apiserver-authentication-reader",
    }
    assert own <= bound


def test_the_extender_writes_bindings_and_annotations_only():
    writes = {each for each in granted("carbon-scheduler:extender-in-namespace") if each[0] not in READS}
    patches = {("patch", "pods"), ("patch", "pods/status")}
    assert writes == patches | {("create", "pods/binding"), ("create", "events")}
    assert {verb for verb, _ in granted("carbon-scheduler:extender")} <= READS


def test_the_extender_may_watch_what_its_reflectors_watch():
    may = granted("carbon-scheduler:extender") | granted("carbon-scheduler:extender-in-namespace")
    assert {(verb, kind) for verb in ("list", "watch") for kind in ("pods", "nodes", "configmaps")} <= may


def test_tokens_are_reviewed_only_where_drivers_have_a_port():
    assert "tokenreviews" not in {resource for rule in rules() for resource in rule["resources"]}
    resources = {
        resource
        for each in of_kind(AGENT_PORT, "ClusterRole")
        for rule in each["rules"]
        for resource in rule["resources"]
    }
    assert resources == {"tokenreviews"}


@pytest.mark.parametrize("folder", [BASE, SEPARATE], ids=lambda path: path.name)
def test_subjects_and_pods_use_service_accounts_that_exist(folder: Path):
    accounts = {
        (each["metadata"]["namespace"], each["metadata"]["name"])
        for each in of_kind(folder, "ServiceAccount")
    }
    subjects = {
        (subject["namespace"], subject["name"])
        for binding in of_kind(folder, "RoleBinding", "ClusterRoleBinding")
        for subject in binding["subjects"]
    }
    used = {
        (each["metadata"]["namespace"], each["spec"]["template"]["spec"]["serviceAccountName"])
        for each in deployments(folder).values()
    }
    assert subjects == accounts
    assert used <= accounts


def test_strict_roles_give_each_account_its_own_process_only():
    by_account: dict[str, set[str]] = {}
    for binding in of_kind(MANIFESTS / "rbac", "RoleBinding", "ClusterRoleBinding"):
        for subject in binding["subjects"]:
            by_account.setdefault(subject["name"], set()).add(binding["roleRef"]["name"])
    extender = {"carbon-scheduler:extender", "carbon-scheduler:extender-in-namespace"}
    assert by_account["carbon-scheduler-extender"] == extender
    assert not extender & by_account["carbon-scheduler"]


def test_components_give_rights_to_the_identity_that_the_extender_has_on_both_bases():
    accounts = {
        deployments(BASE)[NAME]["spec"]["template"]["spec"]["serviceAccountName"],
        deployments(SEPARATE)["carbon-scheduler-extender"]["spec"]["template"]["spec"]["serviceAccountName"],
    }
    subjects = {
        subject["name"]
        for folder in COMPONENTS
        for binding in of_kind(folder, "RoleBinding", "ClusterRoleBinding")
        for subject in binding["subjects"]
    }
    assert subjects == accounts == {"carbon-scheduler-extender"}


# -- pods --------------------------------------------------------------------------------------------


def hardened() -> list[Any]:
    return [
        pytest.param(deployment, name, id=f"{folder.name}-{deployment['metadata']['name']}-{name}")
        for folder in (BASE, SEPARATE, CARBON)
        for deployment in deployments(folder).values()
        for name in containers(deployment)
    ]


@pytest.mark.parametrize(("deployment", "name"), hardened())
def test_pods_satisfy_the_restricted_profile_with_a_read_only_root(deployment: Object, name: str):
    pod = deployment["spec"]["template"]["spec"]["securityContext"]
    assert pod["runAsNonRoot"] is True
    assert pod["runAsUser"] > 0
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    container = containers(deployment)[name]["securityContext"]
    assert container["allowPrivilegeEscalation"] is False
    assert container["readOnlyRootFilesystem"] is True
    assert container["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize(("deployment", "name"), hardened())
def test_containers_have_probes_requests_and_a_memory_limit(deployment: Object, name: str):
    container = containers(deployment)[name]
    ports = {port["name"] for port in container["ports"]}
    for probe in ("readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["port"] in ports
    assert {"cpu", "memory"} <= set(container["resources"]["requests"])
    assert "memory" in container["resources"]["limits"]
    assert "cpu" not in container["resources"]["limits"]


def test_the_namespace_enforces_the_restricted_profile():
    (namespace,) = of_kind(BASE, "Namespace")
    assert namespace["metadata"]["name"] == NAME
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_everything_of_ours_is_in_our_namespace():
    elsewhere = [
        (each["kind"], each["metadata"]["namespace"])
        for folder in (BASE, SEPARATE)
        for each in objects(folder)
        if each["metadata"].get("namespace", NAME) != NAME
    ]
    assert set(elsewhere) == {("RoleBinding", "kube-system")}


def test_the_extender_is_a_side_car_that_outlives_kube_scheduler():
    spec = deployments(BASE)[NAME]["spec"]["template"]["spec"]
    (side_car,) = spec["initContainers"]
    assert (side_car["name"], side_car["restartPolicy"]) == ("extender", "Always")
    assert side_car["startupProbe"]["httpGet"]["path"] == "/readyz"


def test_replicas_stand_by_and_are_not_drained_together():
    deployment = deployments(BASE)[NAME]
    (budget,) = of_kind(BASE, "PodDisruptionBudget")
    assert deployment["spec"]["replicas"] == 2
    assert budget["spec"]["maxUnavailable"] == 1
    assert budget["spec"]["selector"] == deployment["spec"]["selector"]


def test_an_extender_behind_a_service_is_alone():
    spec = deployments(SEPARATE)["carbon-scheduler-extender"]["spec"]
    assert spec["replicas"] == 1
    assert spec["strategy"] == {"type": "Recreate"}


# -- settings of the extender ------------------------------------------------------------------------


@pytest.fixture
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("CARBON_SCHEDULER_"):
            monkeypatch.delenv(name)


def environment(*folders: Path) -> dict[str, str]:
    """Variables that kustomizations give the extender, by option name; later ones come first."""
    literals = [
        literal
        for folder in folders
        for generator in documents(folder / "kustomization.yaml")[0].get("configMapGenerator", [])
        if generator["name"] == ENVIRONMENT
        for literal in generator["literals"]
    ]
    return {
        name.removeprefix(PREFIX).lower().replace("__", "."): value
        for name, _, value in (each.partition("=") for each in literals)
    }


@pytest.mark.usefixtures("no_variables")
@pytest.mark.parametrize("folder", [BASE, SEPARATE], ids=lambda path: path.name)
def test_settings_are_accepted_and_fit_the_pod(folder: Path):
    settings = load(BASE / "settings.yaml", environment(BASE, folder))
    name = NAME if folder == BASE else "carbon-scheduler-extender"
    deployment = deployments(folder)[name]
    ports = {each["name"]: each["containerPort"] for each in containers(deployment)["extender"]["ports"]}
    assert ports["api"] == settings.http.api_port
    annotations = deployment["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(settings.http.api_port)
    # Whoever reaches the webhooks can bind pods: loopback, or a certificate.
    if folder == BASE:
        assert settings.http.address == "127.0.0.1"
        assert "webhooks" not in ports
    else:
        assert settings.http.tls.client_ca_file is not None
        assert settings.http.tls.client_names
        assert ports["webhooks"] == settings.http.port


@pytest.mark.usefixtures("no_variables")
@pytest.mark.parametrize("folder", COMPONENTS, ids=lambda path: path.name)
def test_variables_of_components_are_options_with_usable_values(folder: Path):
    load(flags=environment(BASE, folder))


def test_the_carbon_service_is_where_the_extender_asks_and_reads_its_settings():
    settings = carbon_settings.load(CARBON / "settings.yaml")
    (service,) = of_kind(CARBON, "Service")
    (port,) = service["spec"]["ports"]
    metadata = service["metadata"]
    url = f"http://{metadata['name']}.{metadata['namespace']}.svc:{port['port']}"
    assert environment(CARBON) == {"carbon.url": url}
    (deployment,) = deployments(CARBON).values()
    container = containers(deployment)["carbon"]
    (listened,) = container["ports"]
    assert (listened["name"], listened["containerPort"]) == (port["targetPort"], port["port"])
    assert {"--listen-address=0.0.0.0", f"--listen-port={port['port']}"} < set(container["args"])
    assert set(settings.zones) == set(synthetic.GRIDS)
    text = (CARBON / "settings.yaml").read_text(encoding="utf-8")
    real = yaml.safe_load("\n".join(re.findall(r"^  # ([A-Z]{2}: \{.*\})$", text, re.MULTILINE)))
    assert len(carbon_settings.parse({"zones": real}).zones) == 2


# -- examples ----------------------------------------------------------------------------------------


def test_pod_templates_ask_for_our_scheduler_and_for_no_special_nodes():
    """A selector that no node has would leave the driver pending before we are asked at all."""
    for role in ("driver", "executor"):
        (template,) = documents(MANIFESTS / "examples" / f"{role}-template.yaml")
        assert template["kind"] == "Pod"
        assert template["spec"]["schedulerName"] == NAME
        assert "nodeSelector" not in template["spec"]


def test_the_spark_application_names_our_scheduler_for_both_and_says_where_its_executors_run():
    (application,) = documents(MANIFESTS / "examples" / "spark-application.yaml")
    spec = application["spec"]
    assert {spec[role]["schedulerName"] for role in ("driver", "executor")} == {"carbon-scheduler"}
    assert "batchScheduler" not in spec
    own = read_own(spec["driver"]["annotations"], ())
    assert own.node_selector == spec["executor"]["nodeSelector"]
    written = PodSpec(tolerations=msgspec.convert(spec["executor"]["tolerations"], list[TolerationObject]))
    assert own.tolerations is not None
    assert all(
        each.tolerates(Taint("dedicated", "spark"))
        for each in (*own.tolerations, *placement_terms(written).tolerations)
    )


def test_spark_submit_examples_ask_for_our_scheduler_one_way_or_the_other():
    scripts = sorted((MANIFESTS / "examples").glob("*.sh"))
    assert len(scripts) == 2
    for script in scripts:
        text = script.read_text(encoding="utf-8")
        assert os.access(script, os.X_OK)
        assert "--deploy-mode cluster" in text
        by_conf = f"spark.kubernetes.scheduler.name={NAME}" in text
        by_template = all(f"{role}-template.yaml" in text for role in ("driver", "executor"))
        assert by_conf or by_template


# -- network policies --------------------------------------------------------------------------------


def policies(*folders: Path) -> list[Object]:
    return [each["spec"] for folder in folders for each in of_kind(folder, "NetworkPolicy")]


def opened(labels: Mapping[str, str], direction: str, *folders: Path) -> set[int]:
    """Ports that the policies of some kustomizations open for a pod, whoever is at the other end."""
    return {
        port["port"]
        for spec in policies(*folders)
        if spec["podSelector"]["matchLabels"].items() <= labels.items()
        for rule in spec.get(direction, [])
        for port in rule["ports"]
    }


def labels_of(deployment: Object) -> dict[str, str]:
    return deployment["spec"]["template"]["metadata"]["labels"]


API_SERVER, DNS = {443, 6443, 8443}, {53}
ALWAYS = API_SERVER | DNS


@pytest.mark.parametrize("folder", [BASE, SEPARATE, CARBON], ids=lambda path: path.name)
def test_a_network_policy_closes_every_pod_of_ours(folder: Path):
    for deployment in deployments(folder).values():
        mine = [
            spec
            for spec in policies(folder)
            if spec["podSelector"]["matchLabels"].items() <= labels_of(deployment).items()
        ]
        assert ["Ingress", "Egress"] in [spec["policyTypes"] for spec in mine]


def test_the_bases_open_what_they_use_and_nothing_else():
    side_car = labels_of(deployments(BASE)[NAME])
    assert opened(side_car, "ingress", BASE) == {10259, 8421}
    assert opened(side_car, "egress", BASE) == ALWAYS
    alone = labels_of(deployments(SEPARATE)["carbon-scheduler-extender"])
    assert opened(alone, "ingress", SEPARATE) == {8420, 8421}
    assert opened(alone, "egress", SEPARATE) == ALWAYS
    assert opened(side_car, "egress", SEPARATE) == ALWAYS | {8420}


@pytest.mark.parametrize("base", [BASE, SEPARATE], ids=lambda path: path.name)
@pytest.mark.parametrize(
    ("component", "direction", "port"),
    [
        ("carbon", "egress", 8430),
        ("ledger-postgresql", "egress", 5432),
        ("power-from-prometheus", "egress", 9090),
        ("driver-rest", "egress", 4040),
        ("driver-agent", "ingress", 8422),
    ],
)
def test_a_component_opens_the_port_it_needs(base: Path, component: str, direction: str, port: int):
    """On both bases: it selects whichever pod has the extender in it."""
    (deployment,) = [
        each
        for each in deployments(base).values()
        if labels_of(each).get("app.kubernetes.io/component") == "extender"
        and (base == BASE or each["metadata"]["name"] != NAME)
    ]
    folder = MANIFESTS / "components" / component
    assert opened(labels_of(deployment), direction, folder) == {port}


def test_ports_of_components_are_those_of_the_settings():
    parts = {name: environment(MANIFESTS / "components" / name) for name in ("driver-agent", "driver-rest")}
    assert load(flags=parts["driver-agent"]).drivers.port == 8422
    assert load(flags=parts["driver-rest"]).stages.driver_rest.port == 4040
    url = environment(MANIFESTS / "components" / "power-from-prometheus")["accounting.prometheus_url"]
    assert urlsplit(url).port == 9090


# -- the agent in drivers ----------------------------------------------------------------------------


def test_the_drivers_port_is_the_same_everywhere():
    (service,) = of_kind(AGENT_PORT, "Service")
    (exposed,) = service["spec"]["ports"]
    assert str(exposed["targetPort"]) == environment(AGENT_PORT)["drivers.port"]
    url = agent_environment()["CARBON_SCHEDULER_URL"]["value"]
    name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
    assert url == f"https://{name}.{namespace}.svc:{exposed['port']}"


def test_the_switches_are_those_that_are_read():
    (switches,) = documents(AGENT_PORT / "switches.yaml")
    read, problems = read_switches(switches["data"], Switches(False, False, False))
    assert (read, problems) == (Switches(), [])
    assert len(switches["data"]) == 3
    metadata = switches["metadata"]
    assert environment(AGENT_PORT)["stages.switches"] == f"{metadata['namespace']}/{metadata['name']}"


def agent_environment() -> dict[str, Object]:
    (template,) = documents(MANIFESTS / "examples" / "driver-template-agent.yaml")
    (container,) = template["spec"]["containers"]
    return {each["name"]: each for each in container["env"]}


def test_the_template_with_the_agent_mounts_what_it_names():
    (template,) = documents(MANIFESTS / "examples" / "driver-template-agent.yaml")
    (container,) = template["spec"]["containers"]
    assert template["spec"]["schedulerName"] == NAME
    mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    volumes = {each["name"]: each for each in template["spec"]["volumes"]}
    assert mounts.keys() == volumes.keys()
    environment = agent_environment()
    assert environment["PYTHONPATH"]["value"] == mounts["carbon-scheduler-agent"]
    (source,) = volumes["carbon-scheduler-token"]["projected"]["sources"]
    token = source["serviceAccountToken"]
    assert token["audience"] in load().drivers.audiences
    assert environment["CARBON_SCHEDULER_TOKEN_FILE"]["value"] == (
        f"{mounts['carbon-scheduler-token']}/{token['path']}"
    )
    assert environment["CARBON_SCHEDULER_CA_FILE"]["value"] == f"{mounts['carbon-scheduler-ca']}/ca.crt"
    agent = (AGENT / "sitecustomize.py").read_text(encoding="utf-8")
    assert all(name in agent for name in environment if name.startswith("CARBON_SCHEDULER_"))


def test_a_driver_starts_without_the_config_maps_of_its_agent():
    (template,) = documents(MANIFESTS / "examples" / "driver-template-agent.yaml")
    mounted = [each["configMap"] for each in template["spec"]["volumes"] if "configMap" in each]
    assert [each.get("optional") for each in mounted] == [True, True]


def test_the_agents_config_map_has_the_name_that_templates_mount():
    (content,) = documents(AGENT / "kustomization.yaml")
    (generator,) = content["configMapGenerator"]
    (template,) = documents(MANIFESTS / "examples" / "driver-template-agent.yaml")
    mounted = {each["configMap"]["name"] for each in template["spec"]["volumes"] if "configMap" in each}
    assert generator["name"] in mounted
    assert content["generatorOptions"]["disableNameSuffixHash"] is True
    assert [(AGENT / file).is_file() for file in generator["files"]] == [True]


# -- chart -------------------------------------------------------------------------------------------


def test_the_schema_of_the_charts_values_is_made_from_the_settings():
    fresh = chart_schema.TARGET.read_text(encoding="utf-8") == chart_schema.rendered()
    assert fresh, "the settings changed; run: python -m tools.chart_schema"


def test_the_chart_has_a_schema_for_each_of_its_values():
    values = yaml.safe_load((MANIFESTS / "chart" / "values.yaml").read_text(encoding="utf-8"))
    properties = chart_schema.schema()["properties"]
    assert set(properties) == set(values) | {"global"}
    for name, value in values.items():
        if isinstance(value, dict) and name != "settings":
            assert set(value) == set(properties[name]["properties"]), name
