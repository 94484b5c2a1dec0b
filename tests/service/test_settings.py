"""Settings: where they come from, what is refused, and the page about them."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from extender.cli import app
from extender.core.policy import FifoMode, Policy
from extender.settings.root import Settings, SettingsError, load, markdown

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "settings.yaml"


def test_the_defaults_are_the_cores_defaults():
    assert load().to_policy() == Policy()
    assert (load().listen_address, load().listen_port) == ("127.0.0.1", 8420)


def test_flag_before_environment_before_file_before_default(file: Path, monkeypatch: pytest.MonkeyPatch):
    file.write_text("hold_ttl_s: 10\npage_size: 10\npool_label: from-file\n")
    monkeypatch.setenv("CARBON_SCHEDULER_HOLD_TTL_S", "20")
    monkeypatch.setenv("CARBON_SCHEDULER_PAGE_SIZE", "20")
    settings = load(file, {"hold_ttl_s": "30"})
    assert (settings.hold_ttl_s, settings.page_size, settings.pool_label) == (30.0, 20, "from-file")
    assert settings.packer == Settings.model_fields["packer"].default


def test_lists_and_maps_in_every_place(file: Path, monkeypatch: pytest.MonkeyPatch):
    file.write_text("fifo_by_pool: {batch: off, ml: backfill}\nscheduler_names: [a, b]\nfifo: off\n")
    policy = load(file).to_policy()
    assert policy.fifo_by_pool == {"batch": FifoMode.OFF, "ml": FifoMode.BACKFILL}
    assert policy.fifo is FifoMode.OFF
    assert policy.scheduler_names == {"a", "b"}
    monkeypatch.setenv("CARBON_SCHEDULER_SCHEDULER_NAMES", "c, d")
    monkeypatch.setenv("CARBON_SCHEDULER_PACKER_BY_POOL", "{ml: tightly-pack}")
    policy = load(file, {"worker_label_priority": "{label: disk, values: [ssd, hdd]}"}).to_policy()
    assert policy.scheduler_names == {"c", "d"}
    assert policy.packer_by_pool == {"ml": "tightly-pack"}
    assert policy.worker_label_priority is not None
    assert policy.worker_label_priority.values == ("ssd", "hdd")


def test_variables_kubernetes_makes_for_a_service_of_our_name_do_no_harm(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CARBON_SCHEDULER_PORT", "tcp://10.0.0.1:8420")
    monkeypatch.setenv("CARBON_SCHEDULER_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("CARBON_SCHEDULER_SERVICE_PORT", "8420")
    assert load().listen_port == 8420


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"packer": "tight"}, ["packer", "unknown packer 'tight'", "tightly-pack"]),
        ({"packer_by_pool": "{a: tight}"}, ["packer_by_pool.a", "unknown packer 'tight'"]),
        ({"fifo": "lifo"}, ["fifo", "'strict-after-age'", "'lifo'"]),
        ({"fifo_by_pool": "{a: lifo}"}, ["fifo_by_pool.a", "'lifo'"]),
        ({"fifo_by_pool": "{"}, ["fifo_by_pool", "not YAML"]),
        ({"lissen_port": "1"}, ["unknown option lissen_port", "listen_port"]),
        ({"listen_port": "99999"}, ["listen_port", "65535"]),
        ({"hold_ttl_s": "long"}, ["hold_ttl_s", "'long'"]),
        ({"hold_ttl_s": "nan"}, ["hold_ttl_s", "finite"]),
        ({"enforce_after_age_s": "-1"}, ["enforce_after_age_s", "greater than or equal to 0"]),
        ({"scheduler_names": ""}, ["scheduler_names", "at least 1 item"]),
        ({"leader_label_priority": "{label: x}"}, ["leader_label_priority.values", "required"]),
        ({"tls_cert_file": "c.pem"}, ["tls_cert_file and tls_key_file belong together"]),
        ({"tls_client_ca_file": "ca.pem"}, ["tls_client_ca_file needs tls_cert_file"]),
        ({"tls_client_names": "a"}, ["tls_client_names needs tls_client_ca_file"]),
        ({"driver_tls_key_file": "k.pem"}, ["driver_tls_cert_file and driver_tls_key_file belong together"]),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(flags: dict[str, str], words: list[str]):
    with pytest.raises(SettingsError) as refusal:
        load(None, flags)
    for word in words:
        assert word in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("listen_prot: 1", "unknown option listen_prot"),
        ("- a", "must hold a map"),
        ("a: [", "cannot be read"),
        ("packer: nope", "unknown packer 'nope'"),
        ("1: 2", "unknown option 1"),
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
        load().listen_port = 1  # type: ignore[misc]


def test_every_option_is_described_and_has_its_unit_last():
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert not name.endswith(("_seconds", "_timeout", "_mb")), name


def test_the_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == markdown(), (
        "run: carbon-scheduler settings --markdown > docs/settings.md"
    )


# -- command line --------------------------------------------------------------------------------


def test_the_command_prints_page_and_settings(file: Path):
    file.write_text("packer: tightly-pack\n")
    run = CliRunner()
    assert run.invoke(app, ["settings", "--markdown"]).stdout == markdown()
    assert "packer: tightly-pack" in run.invoke(app, ["settings", "--config", str(file)]).stdout


def test_serve_refuses_bad_settings_before_it_starts():
    result = CliRunner().invoke(app, ["serve", "--packer", "nope"])
    assert result.exit_code == 2
    assert "unknown packer 'nope'" in result.stderr


def test_serve_has_a_flag_for_every_option():
    text = CliRunner(env={"COLUMNS": "300"}).invoke(app, ["serve", "--help"]).stdout
    for name in Settings.model_fields:
        assert f"--{name.replace('_', '-')}" in text


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["explain", "no-slash"], 2, "is not NAMESPACE/APP"),
        (["queue", "--url", "ftp://x"], 2, "must begin with http"),
        (["queue", "--url", "http://127.0.0.1:9"], 1, "no extender answers at http://127.0.0.1:9"),
    ],
)
def test_what_the_command_line_cannot_do_is_said(arguments: list[str], code: int, words: str):
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == code
    assert words in result.stderr
