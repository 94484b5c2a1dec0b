"""Settings: where they come from, how they are spelled, what is refused, and the page about them."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from extender.cli import app
from extender.core.policy import FifoMode, Policy
from extender.settings.document import markdown
from extender.settings.loading import SettingsError, load, warn_of_unknown_variables
from extender.settings.options import OTHER_VARIABLES, options
from extender.settings.renamed import FIXED, RENAMED

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "settings.md"

FLAT = """
    listen_address listen_port api_address api_port tls_cert_file tls_key_file tls_client_ca_file
    tls_client_names kubeconfig kube_context scheduler_names namespaces pool_label packer packer_by_pool
    fifo fifo_by_pool enforce_after_age_s enforce_after_age_by_pool_s same_zone_workers
    leader_label_priority worker_label_priority hold_ttl_s configuration_grace_s silent_after_s
    dormant_after_s extras_behind_queue last_look page_size max_body_bytes log_level log_format
    event_log_directory event_log_interval_s driver_rest driver_rest_port driver_rest_interval_s
    driver_address driver_port driver_tls_cert_file driver_tls_key_file driver_audiences driver_agent
    driver_interval_s driver_max_body_bytes driver_max_connections driver_max_connections_per_address
    switches carbon_url carbon_poll_s carbon_timeout_s carbon_zone_label carbon_zone_by_place
    carbon_kind carbon_stale_after_s carbon_weight energy_weight fragmentation_weight carbon_policy
    max_delay_s runtime_estimate_s holds_by_namespace threshold_percentile cap cap_min_executors
    cap_max_executors cap_executor_cores cap_exact cap_hysteresis cap_quota_namespace cap_quota_name
    cap_executor_memory_gib cap_quota_spare_drivers pcaps pcaps_gamma importance decima_weights
    stage_order executor_target ledger flush_s ledger_keep_days pue prometheus_url rapl_node
"""
OF_THE_FLAT_FILE = FLAT.split()
"""Every setting there was while settings were not grouped."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "settings.yaml"


# -- where values come from ------------------------------------------------------------------------


def test_the_defaults_are_the_cores_defaults():
    assert load().to_policy() == Policy()
    assert (load().http.address, load().http.port) == ("127.0.0.1", 8420)


def test_flag_before_environment_before_file_before_default(file: Path, monkeypatch: pytest.MonkeyPatch):
    file.write_text("kubernetes: {claim_ttl_s: 10}\npools:\n  label: from-file\ncarbon: {poll_s: 10}\n")
    monkeypatch.setenv("CARBON_SCHEDULER_KUBERNETES__CLAIM_TTL_S", "20")
    monkeypatch.setenv("CARBON_SCHEDULER_CARBON__POLL_S", "20")
    settings = load(file, {"kubernetes.claim_ttl_s": "30"})
    assert settings.kubernetes.claim_ttl_s == 30.0
    assert settings.carbon.poll_s == 20.0
    assert settings.pools.label == "from-file"
    assert settings.pools.packer == "distribute-evenly"


def test_a_variable_reaches_into_a_group_that_the_file_leaves_empty(
    file: Path, monkeypatch: pytest.MonkeyPatch
):
    file.write_text("http:\ncap:\n  quota:\n")
    monkeypatch.setenv("CARBON_SCHEDULER_CAP__QUOTA__NAMESPACE", "spark")
    assert load(file).cap.quota.namespace == "spark"


def test_lists_and_maps_in_every_place(file: Path, monkeypatch: pytest.MonkeyPatch):
    file.write_text(
        "kubernetes: {scheduler_names: [a, b]}\n"
        "pools: {fifo: off, by_name: {batch: {fifo: off}, ml: {fifo: backfill, enforce_after_age_s: 5}}}\n"
    )
    policy = load(file).to_policy()
    assert policy.fifo_by_pool == {"batch": FifoMode.OFF, "ml": FifoMode.BACKFILL}
    assert policy.enforce_after_age_by_pool_s == {"ml": 5.0}
    assert policy.fifo is FifoMode.OFF
    assert policy.scheduler_names == {"a", "b"}
    monkeypatch.setenv("CARBON_SCHEDULER_KUBERNETES__SCHEDULER_NAMES", "c, d")
    monkeypatch.setenv("CARBON_SCHEDULER_POOLS__BY_NAME", "{ml: {packer: tightly-pack}}")
    flags = {"pools.worker_label_priority": "{label: disk, values: [ssd, hdd]}"}
    policy = load(file, flags).to_policy()
    assert policy.scheduler_names == {"c", "d"}
    assert policy.packer_by_pool == {"ml": "tightly-pack"}
    assert policy.worker_label_priority is not None
    assert policy.worker_label_priority.values == ("ssd", "hdd")


# -- names -----------------------------------------------------------------------------------------


def test_every_old_name_has_a_new_one_or_a_constant():
    assert sorted({**RENAMED, **FIXED}) == sorted(OF_THE_FLAT_FILE)
    assert not set(RENAMED) & set(FIXED)
    assert set(RENAMED.values()) <= set(options())


@pytest.mark.parametrize("old", OF_THE_FLAT_FILE)
def test_an_old_name_is_refused_with_the_new_one(old: str, file: Path, monkeypatch: pytest.MonkeyPatch):
    new = options().get(RENAMED.get(old, ""))
    words = FIXED[old] if new is None else new.name
    file.write_text(yaml.safe_dump({old: True}))
    with pytest.raises(SettingsError, match=re.escape(words)):
        load(file)
    variable = f"CARBON_SCHEDULER_{old.upper()}"
    monkeypatch.setenv(variable, "1")
    with pytest.raises(SettingsError, match=re.escape(words if new is None else new.variable)):
        load()
    monkeypatch.delenv(variable)
    result = CliRunner().invoke(app, ["serve", f"--{old.replace('_', '-')}", "1"])
    assert result.exit_code == 2
    assert (words if new is None else new.flag) in result.stderr


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("http.prot", "did you mean http.port?"),
        ("listen_prot", "did you mean http.port?"),
        ("max_delay", "did you mean holds.max_delay_s?"),
        ("cert_file", "did you mean .*tls.cert_file"),
        ("http.api-port", "write http.api_port, with underscores"),
        ("listen-port", "write http.port, with underscores"),
        ("http.nonsense_of_a_name", "docs/settings.md lists all settings"),
    ],
)
def test_an_unknown_name_gets_the_nearest_one(name: str, words: str, file: Path):
    with pytest.raises(SettingsError, match=rf"unknown setting {name}: .*{words}"):
        load(None, {name: "1"})
    document: Any = "1"
    for part in reversed(name.split(".")):
        document = {part: document}
    file.write_text(yaml.safe_dump(document))
    with pytest.raises(SettingsError, match=rf"{file.name}: unknown setting {name}: .*{words}"):
        load(file)


def test_an_unknown_variable_is_warned_of(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    monkeypatch.setenv("CARBON_SCHEDULER_HTTP__PROT", "1")
    for name in OTHER_VARIABLES:
        monkeypatch.setenv(name, "x")
    load()
    with caplog.at_level(logging.WARNING):
        warn_of_unknown_variables()
    (message,) = caplog.messages
    assert "CARBON_SCHEDULER_HTTP__PROT" in message
    assert "did you mean CARBON_SCHEDULER_HTTP__PORT?" in message


def test_variables_that_kubernetes_makes_for_services_do_no_harm(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    for service in ("", "API_", "DRIVER_"):  # `api_port` and `driver_port` were settings
        monkeypatch.setenv(f"CARBON_SCHEDULER_{service}PORT", "tcp://10.0.0.1:8420")
        monkeypatch.setenv(f"CARBON_SCHEDULER_{service}SERVICE_HOST", "10.0.0.1")
        monkeypatch.setenv(f"CARBON_SCHEDULER_{service}SERVICE_PORT", "8420")
        monkeypatch.setenv(f"CARBON_SCHEDULER_{service}SERVICE_PORT_WEBHOOKS", "8420")
        monkeypatch.setenv(f"CARBON_SCHEDULER_{service}PORT_8420_TCP", "tcp://10.0.0.1:8420")
        monkeypatch.setenv(f"CARBON_SCHEDULER_{service}PORT_8420_TCP_ADDR", "10.0.0.1")
    assert load().http.port == 8420
    with caplog.at_level(logging.WARNING):
        warn_of_unknown_variables()
    assert not caplog.messages


def test_every_setting_is_described_and_has_its_unit_last():
    for option in options().values():
        assert option.field.description, option.name
        assert not option.name.endswith(("_seconds", "_timeout", "_mb")), option.name


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("accounting.md", ["accounting.ledger", "accounting.prometheus_url", "accounting.rapl_node"]),
        ("carbon.md", ["carbon.url", "cap.enabled", "cap.quota.namespace", "scoring.carbon_weight"]),
        ("annotations.md", ["holds.policy", "holds.max_delay_s", "holds.by_namespace"]),
        ("stages.md", ["stages.pcaps.enabled", "stages.importance", "stages.decima_weights"]),
        ("agent.md", ["drivers.port", "stages.order", "stages.executor_target", "stages.switches"]),
        ("event-logs.md", ["stages.event_logs.directory", "stages.driver_rest.enabled"]),
    ],
)
def test_settings_that_turn_a_feature_on_are_on_its_page(page: str, names: list[str]):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert [name for name in names if name not in text] == []


# -- values ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"pools.packer": "tight"}, ["pools.packer", "unknown packer 'tight'", "tightly-pack"]),
        ({"pools.by_name": "{a: {packer: tight}}"}, ["pools.by_name.a.packer", "unknown packer 'tight'"]),
        ({"pools.by_name": "{a: {pakker: x}}"}, ["unknown key pools.by_name.a.pakker"]),
        ({"pools.fifo": "lifo"}, ["pools.fifo", "'strict-after-age'", "'lifo' from --pools.fifo"]),
        ({"pools.by_name": "{a: {fifo: lifo}}"}, ["pools.by_name.a.fifo", "'lifo'"]),
        ({"pools.by_name": "{"}, ["pools.by_name", "not YAML"]),
        ({"http.port": "99999"}, ["http.port", "65535"]),
        ({"kubernetes.claim_ttl_s": "long"}, ["kubernetes.claim_ttl_s", "'long'"]),
        ({"kubernetes.claim_ttl_s": "nan"}, ["kubernetes.claim_ttl_s", "finite"]),
        ({"pools.enforce_after_age_s": "-1"}, ["pools.enforce_after_age_s", "greater than or equal to 0"]),
        ({"kubernetes.scheduler_names": ""}, ["kubernetes.scheduler_names", "at least 1 item"]),
        ({"pools.leader_label_priority": "{label: x}"}, ["pools.leader_label_priority.values", "required"]),
        ({"http.tls.cert_file": "c.pem"}, ["http.tls", "cert_file and key_file belong together"]),
        ({"drivers.tls.key_file": "k.pem"}, ["drivers.tls", "cert_file and key_file belong together"]),
        ({"http.tls.client_ca_file": "ca.pem"}, ["http.tls", "client_ca_file needs cert_file"]),
        ({"http.tls.client_names": "a"}, ["http.tls", "client_names needs client_ca_file"]),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_by_name(flags: dict[str, str], words: list[str]):
    with pytest.raises(SettingsError) as refusal:
        load(None, flags)
    for word in words:
        assert word in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a", "must hold a map"),
        ("a: [", "cannot be read"),
        ("pools: {packer: nope}", "unknown packer 'nope'"),
        ("1: 2", "unknown setting 1"),
        ("http: 8420", "http must be a map of settings"),
        ("cap: true", "cap must be a map of settings; the setting cap is now called cap.enabled"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(file: Path, text: str, words: str):
    file.write_text(text)
    with pytest.raises(SettingsError, match=words):
        load(file)


def test_a_missing_file_is_refused(file: Path):
    with pytest.raises(SettingsError, match="cannot be read"):
        load(file)


def test_settings_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        load().http.port = 1  # type: ignore[misc]


TLS = {"http.tls.cert_file": "c", "http.tls.key_file": "k"}
MUTUAL = {**TLS, "http.tls.client_ca_file": "ca"}


@pytest.mark.parametrize("flags", [{}, TLS, MUTUAL])
@pytest.mark.parametrize("address", ["0.0.0.0", "::", "10.0.0.7", "extender.example"])
def test_webhooks_beyond_loopback_know_their_clients_or_do_not_start(flags: dict[str, str], address: str):
    flags = {**flags, "http.address": address}
    with pytest.raises(SettingsError, match=r"client_names.*insecure_allow_any_client: true"):
        load(None, flags)
    load(None, {**flags, "http.insecure_allow_any_client": "true"})
    load(None, {**flags, **MUTUAL, "http.tls.client_names": "kube-scheduler"})


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.0.1", "::1", "localhost"])
def test_webhooks_on_loopback_need_no_certificate(address: str):
    assert load(None, {"http.address": address}).http.address == address


# -- page and command line -------------------------------------------------------------------------


def test_the_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == markdown(), (
        "run: carbon-scheduler settings --markdown > docs/settings.md"
    )


def test_the_command_prints_page_and_settings(file: Path):
    file.write_text("pools: {packer: tightly-pack}\n")
    run = CliRunner()
    assert run.invoke(app, ["settings", "--markdown"]).stdout == markdown()
    printed = run.invoke(app, ["settings", "--config", str(file)]).stdout
    assert yaml.safe_load(printed)["pools"]["packer"] == "tightly-pack"
    file.write_text(printed)
    assert load(file).pools.packer == "tightly-pack"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--pools.packer", "nope"], "unknown packer 'nope'"),
        (["--pools.fifo", "nope"], "strict-after-age"),
        (["--http.port", "many"], "integer"),
        (["--http.prot", "1"], "--http.port"),
        (["--cap.enabled", "true"], "true"),
    ],
)
def test_serve_refuses_bad_settings_before_it_starts(arguments: list[str], words: str):
    result = CliRunner(env={"COLUMNS": "300"}).invoke(app, ["serve", *arguments])
    assert result.exit_code == 2
    assert words in result.stderr


def test_serve_has_a_flag_for_every_setting_in_its_group():
    text = CliRunner(env={"COLUMNS": "400"}).invoke(app, ["serve", "-h"]).stdout
    for option in options().values():
        assert f"{option.flag} " in text
        assert f"─ {option.path[0]} ─" in text
    assert "--no-cap.enabled" in text


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["explain"], 2, "Missing argument 'POD-OR-APP'"),
        (["queue", "--url", "ftp://x"], 2, "must begin with http"),
        (["queue", "--url", "http://127.0.0.1:9"], 1, "no extender answers at http://127.0.0.1:9"),
        (
            ["queue", "--url", "http://me:secret@127.0.0.1:9"],
            1,
            "no extender answers at http://***@127.0.0.1:9",
        ),
    ],
)
def test_the_command_line_says_why_it_cannot(arguments: list[str], code: int, words: str):
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == code
    assert words in result.stderr
