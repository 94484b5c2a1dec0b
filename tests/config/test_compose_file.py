"""docker-compose.yml, as it is written; tests/containers run it."""

from __future__ import annotations

import re

import yaml

from tests.config.files import ROOT
from tests.e2e.harness.kwok import stages
from tests.e2e.setup_tools import GO_TOOLS, KUBERNETES

FILE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES = FILE["services"]
OURS = "${CARBON_SCHEDULER_IMAGE:-carbon-scheduler:latest}"
FOREIGN = {name: each["image"] for name, each in SERVICES.items() if each["image"] != OURS}


def test_foreign_images_are_pinned_by_digest_and_can_be_replaced():
    for name, image in FOREIGN.items():
        assert re.fullmatch(r"\$\{[A-Z_]+_IMAGE:-[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}\}", image), name


def test_the_control_plane_is_one_version_that_the_end_to_end_tests_run():
    tags = {re.search(r":(v[\d.]+)@", FOREIGN[name])[1] for name in FOREIGN if name.startswith("kube")}  # type: ignore[index]
    assert len(tags) == 1
    assert tags <= {full for full, _ in KUBERNETES.values()}
    assert f":{GO_TOOLS['kwok'].rpartition('@')[2]}@" in FOREIGN["kwok"]


def test_every_container_is_confined_and_only_this_machine_reaches_the_ports():
    for name, service in SERVICES.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name


def test_the_small_profile_is_our_image_alone():
    assert [name for name, each in SERVICES.items() if each.get("profiles") == ["small"]] == ["small"]
    assert SERVICES["small"]["image"] == OURS
    assert not {"depends_on", "volumes", "network_mode"} & SERVICES["small"].keys()


def test_nodes_behave_as_in_the_end_to_end_tests():
    shipped = list(yaml.safe_load_all((ROOT / "compose" / "kwok.yaml").read_text(encoding="utf-8")))
    # There a pod can end by itself; here the stream of applications ends its drivers.
    assert shipped == [each for each in stages() if each["metadata"]["name"] != "pod-complete"]
