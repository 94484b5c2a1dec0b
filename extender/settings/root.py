"""Every option of the service in one frozen object.

Values come from flags, then environment variables (`CARBON_SCHEDULER_` and the option's name in
capitals), then the settings file, then the defaults below. Options that are lists or maps are written
as YAML in flags and variables: `CARBON_SCHEDULER_FIFO_BY_POOL='{batch: backfill}'`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from extender.core.policy import FifoMode, LabelPriority, Policy
from extender.core.queue.packing import DEFAULT_PACKER, packer_named
from extender.settings.carbon import CarbonSettings, from_yaml, without_password
from extender.settings.drivers import DriverSettings, Name, Names, Port
from extender.settings.stages import StageSettings

ENVIRONMENT_PREFIX: Final = "CARBON_SCHEDULER_"


class SettingsError(Exception):
    """Settings that cannot be used; the text names each option, what is wrong with it, and the fix."""


class LogLevel(StrEnum):
    """How much is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """How a log line looks: for people, or one JSON object a line."""

    TEXT = "text"
    JSON = "json"


def _fifo(value: object) -> object:
    # YAML reads a bare `off` as false.
    return FifoMode.OFF if value is False else value


def _packer(name: str) -> str:
    packer_named(name)
    return name


_Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_PackerName = Annotated[str, BeforeValidator(_packer)]
_Fifo = Annotated[FifoMode, BeforeValidator(_fifo)]
_Yaml = BeforeValidator(from_yaml)


class NodePreference(BaseModel):
    """Prefer nodes by a label: values from best to worst."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: Name
    values: Annotated[tuple[Name, ...], Field(min_length=1)]

    def to_priority(self) -> LabelPriority:
        """As the core has it."""
        return LabelPriority(self.label, self.values)


_Preference = Annotated[NodePreference | None, _Yaml]


class Settings(StageSettings, BaseSettings):
    """Options of `carbon-scheduler serve`."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, enable_decoding=False, frozen=True, extra="forbid"
    )

    # No option is called `port` or `service_...`: Kubernetes puts CARBON_SCHEDULER_PORT into every pod
    # beside a Service of our name.
    listen_address: str = Field("127.0.0.1", description="Address the webhooks listen on.")
    listen_port: Port = Field(8420, description="Port the webhooks listen on; 0 takes a free one.")
    api_address: str = Field("127.0.0.1", description="Address of `api_port`.")
    api_port: Port | None = Field(
        None,
        description="Port for probes, metrics and API over plain HTTP, without the webhooks. Needed for the "
        "kubelet's probes when clients of `listen_port` must show a certificate. Unset: `listen_port` "
        "serves all.",
    )
    tls_cert_file: Path | None = Field(None, description="Server certificate (PEM); switches TLS on.")
    tls_key_file: Path | None = Field(None, description="Private key of `tls_cert_file` (PEM).")
    tls_client_ca_file: Path | None = Field(
        None,
        description="CA (PEM) that must have signed the client's certificate; switches mutual TLS on.",
    )
    tls_client_names: Names = Field(
        (),
        description="Common or DNS names of which the client's certificate must carry one. Empty: any "
        "certificate of `tls_client_ca_file` will do.",
    )
    kubeconfig: Path | None = Field(
        None, description="Credentials for the API server. Unset: those of the pod's service account."
    )
    kube_context: str | None = Field(
        None, description="Context of `kubeconfig` to use. Unset: its current one."
    )
    scheduler_names: Names = Field(
        ("carbon-scheduler",), min_length=1, description="`schedulerName`s of the pods this extender serves."
    )
    namespaces: Names = Field(
        (),
        description="Namespaces whose pods are served, and in which the extender reads ConfigMaps "
        "(`manifests/components/namespaced-rights`). Empty: all.",
    )
    pool_label: Name = Field(
        "carbon-scheduler/pool",
        description="Node label whose required value on a leader pod names its pool, which is its queue.",
    )
    packer: _PackerName = Field(DEFAULT_PACKER, description="How gangs are packed onto nodes.")
    packer_by_pool: Annotated[Mapping[str, _PackerName], _Yaml] = Field(
        {}, description="Packer of single pools."
    )
    fifo: _Fifo = Field(
        FifoMode.STRICT,
        description="What a gang that does not fit does to younger gangs of its pool: `strict`, "
        "`strict-after-age`, `backfill` or `off`.",
    )
    fifo_by_pool: Annotated[Mapping[str, _Fifo], _Yaml] = Field(
        {}, description="Queue discipline of single pools."
    )
    enforce_after_age_s: _Seconds = Field(
        0.0, description="Age from which a gang blocks its pool in `strict-after-age`."
    )
    enforce_after_age_by_pool_s: Annotated[Mapping[str, _Seconds], _Yaml] = Field(
        {}, description="The same for single pools."
    )
    same_zone_workers: bool = Field(
        False, description="Keep later workers of a gang packed into one zone in that zone."
    )
    leader_label_priority: _Preference = Field(
        None, description="Prefer nodes for leaders by a label: `{label: disk, values: [ssd, hdd]}`."
    )
    worker_label_priority: _Preference = Field(None, description="The same for workers and single pods.")
    hold_ttl_s: Annotated[float, Field(ge=1, allow_inf_nan=False)] = Field(
        60.0,
        description="How long room answered to filter is held without a bind. Longer than kube-scheduler "
        "takes from filter to bind.",
    )
    configuration_grace_s: _Seconds = Field(
        10.0,
        description="How long a leader whose Spark ConfigMap is missing keeps its place in the queue.",
    )
    silent_after_s: Annotated[float, Field(ge=1, allow_inf_nan=False)] = Field(
        5.0,
        description="A leader that could start and was not asked for during this time is woken by an "
        "annotation.",
    )
    dormant_after_s: Annotated[float, Field(ge=1, allow_inf_nan=False)] = Field(
        30.0,
        description="A woken leader that kube-scheduler does not ask for within this time (another plugin "
        "refuses it) no longer holds others up.",
    )
    extras_behind_queue: bool = Field(
        True,
        description="While a gang of a strict pool waits for room, younger workers above their gang's "
        "minimum and younger pods outside gangs of that pool wait behind it.",
    )
    last_look: bool = Field(
        True,
        description="List a node's pods once more before each Binding, so that another scheduler's newest "
        "pods count. Two more requests to the API server a bind.",
    )
    page_size: Annotated[int, Field(ge=1, le=100_000)] = Field(
        500, description="Objects a page when a cache is filled."
    )
    max_body_bytes: Annotated[int, Field(ge=1024)] = Field(
        64 * 1024 * 1024, description="A request with a longer body is answered with an error."
    )
    log_level: LogLevel = Field(
        LogLevel.INFO, description="Least severe level that is logged: `debug`, `info`, `warning`, `error`."
    )
    log_format: LogFormat = Field(
        LogFormat.TEXT, description="`text` for people or `json`, one object a line."
    )

    @model_validator(mode="after")
    def _tls_is_complete(self) -> Self:
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError("tls_cert_file and tls_key_file belong together; give both or none")
        if self.tls_client_ca_file is not None and self.tls_cert_file is None:
            raise ValueError("tls_client_ca_file needs tls_cert_file and tls_key_file")
        if self.tls_client_names and self.tls_client_ca_file is None:
            raise ValueError("tls_client_names needs tls_client_ca_file, or nothing proves the names")
        return self

    def config_map_namespaces(self) -> tuple[str, ...]:
        """Namespaces whose ConfigMaps are read: those of applications, and the switches'; "" means all."""
        if not self.namespaces:
            return ("",)
        switches = () if self.switches is None else (self.switches.partition("/")[0],)
        return tuple(dict.fromkeys((*self.namespaces, *switches)))

    def to_policy(self) -> Policy:
        """The part of the settings the core decides by."""
        leader, worker = self.leader_label_priority, self.worker_label_priority
        return Policy(
            scheduler_names=frozenset(self.scheduler_names),
            namespaces=frozenset(self.namespaces),
            pool_label=self.pool_label,
            packer=self.packer,
            packer_by_pool=dict(self.packer_by_pool),
            fifo=self.fifo,
            fifo_by_pool=dict(self.fifo_by_pool),
            enforce_after_age_s=self.enforce_after_age_s,
            enforce_after_age_by_pool_s=dict(self.enforce_after_age_by_pool_s),
            same_zone_workers=self.same_zone_workers,
            leader_label_priority=leader.to_priority() if leader is not None else None,
            worker_label_priority=worker.to_priority() if worker is not None else None,
            hold_ttl_s=self.hold_ttl_s,
            configuration_grace_s=self.configuration_grace_s,
            silent_after_s=self.silent_after_s,
            dormant_after_s=self.dormant_after_s,
            extras_behind_queue=self.extras_behind_queue,
            carbon=self.to_carbon_policy(),
        )

    def redacted(self) -> dict[str, Any]:
        """Values for people and logs; passwords in URLs are masked."""
        values = self.model_dump(mode="json")
        for name in ("carbon_url", "ledger", "prometheus_url", "event_log_directory"):
            if values[name] is not None:
                values[name] = without_password(values[name])
        return values


def load(config: Path | None = None, flags: Mapping[str, str] | None = None) -> Settings:
    """Settings from flags (by option name), environment, settings file and defaults.

    Raises:
        SettingsError: a value is not usable, an option is unknown, or the file cannot be read.
    """
    file = {} if config is None else _read(config)
    unknown = sorted(set(file) - set(Settings.model_fields))
    if unknown:
        raise SettingsError(f"{config}: unknown option {', '.join(map(str, unknown))}; {_known()}")

    class _Sourced(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, InitSettingsSource(settings_cls, file)

    try:
        given: dict[str, Any] = dict(flags or {})
        return _Sourced(**given)
    except ValidationError as problem:
        raise SettingsError("; ".join(_explain(error) for error in problem.errors())) from None


def _read(config: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as problem:
        raise SettingsError(f"the settings file {config} cannot be read: {problem}") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise SettingsError(f"the settings file {config} must hold a map of options; {_known()}")
    return document


def _explain(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"])
    text = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        return f"unknown option {where}; {_known()}"
    return f"{where}: {text} (got {error['input']!r})" if where else text


def _known() -> str:
    return f"known are {', '.join(Settings.model_fields)}"


def markdown() -> str:
    """docs/settings.md, made from the model."""
    lines = [
        "# Settings",
        "",
        "Made by `carbon-scheduler settings --markdown`; do not edit.",
        "",
        "A value is taken from the flag (`--listen-port 8420`), else from the environment",
        "(`CARBON_SCHEDULER_LISTEN_PORT=8420`), else from the YAML file named by `--config`",
        "(`listen_port: 8420`), else it is the default. Lists and maps are written as YAML in flags and",
        "variables, lists also with commas. An option that is unknown in the file or as a flag, or a value",
        "that is not usable, stops the start with a message that names it.",
        "",
        "`carbon-scheduler settings` prints what is in force.",
        "",
        "| option | default | meaning |",
        "|---|---|---|",
    ]
    defaults = Settings.model_construct().model_dump(mode="json")
    fields = Settings.model_fields
    parts = (CarbonSettings, DriverSettings, StageSettings)
    for name in sorted(fields, key=lambda name: [name in part.model_fields for part in parts]):
        default = defaults[name]
        shown = (
            "unset" if default is None else f"`{yaml.safe_dump(default, default_flow_style=True).strip()}`"
        )
        shown = shown.replace("\n...", "")
        lines.append(f"| `{name}` | {shown} | {fields[name].description} |")
    lines += [
        "",
        "## Not a setting",
        "",
        "`CARBON_SCHEDULER_CRASH_AT` names a point at which the process kills itself; durability tests use",
        "it (`extender/support/crash_points.py`).",
        "",
    ]
    return "\n".join(lines)
