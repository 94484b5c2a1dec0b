"""`stages`: where the stages of running applications are read, what makes them important, what acts on it."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, model_validator

from extender.core.policy import Switches
from extender.core.stages.decima import Decima
from extender.core.stages.decima_weights import DecimaWeights
from extender.core.stages.importance import CriticalPath, ImportanceProvider, WeightedFair
from extender.settings.values import Group

_OBJECT: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?/[a-z0-9]([-.a-z0-9]*[a-z0-9])?")


def _object(value: str) -> str:
    if not _OBJECT.fullmatch(value):
        raise ValueError("must be namespace/name of a ConfigMap, as in carbon-scheduler/switches")
    return value


# The extender does not act on stages that no source has confirmed for five minutes.
_Interval = Annotated[float, Field(ge=1, le=120, allow_inf_nan=False)]


class Importance(StrEnum):
    """The provider of importance."""

    CRITICAL_PATH = "critical-path"
    WEIGHTED_FAIR = "weighted-fair"
    DECIMA = "decima"


class Pcaps(Group):
    """`stages.pcaps`: precedence-aware carbon-aware provisioning."""

    enabled: bool = Field(
        default=False,
        description="Keep elastic executors back while the intensity is high and only stages of little "
        "importance could use them (PCAPS). Acts on applications whose stages are known.",
    )
    gamma: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.5, description="How much PCAPS keeps back: 0 nothing, 1 all but the most important work."
    )


class EventLogs(Group):
    """`stages.event_logs`: stages from Spark's event logs."""

    directory: Annotated[str, Field(min_length=1)] | None = Field(
        default=None,
        description="Spark's `spark.eventLog.dir`, as a path or any fsspec URL. The extender follows the "
        "logs of running applications whose driver has no agent. Unset: it follows none.",
    )
    interval_s: _Interval = Field(default=10.0, description="Time between two reads of the logs.")


class DriverRest(Group):
    """`stages.driver_rest`: the task backlog from the REST API of the drivers' web UI."""

    enabled: bool = Field(
        default=False,
        description="Poll the REST API of the drivers' web UI for the task backlog of running applications "
        "that have neither an agent nor an event log.",
    )
    port: Annotated[int, Field(ge=1, le=65535)] = Field(
        default=4040, description="`spark.ui.port` of the drivers."
    )
    interval_s: _Interval = Field(default=15.0, description="Time between two requests to a driver.")


class StageSettings(Group):
    """Policies that use stages, and the sources besides the agent (`drivers`)."""

    importance: Importance = Field(
        default=Importance.CRITICAL_PATH,
        description="Provider of the importance of stages: `critical-path`, `weighted-fair`, or `decima`.",
    )
    decima_weights: Path | None = Field(
        default=None, description="Weights (`.npz`) of the learned policy, for `stages.importance: decima`."
    )
    order: bool = Field(
        default=False,
        description="Let the in-driver agent run an application's most important stages first "
        "(`TaskSetManager.priority`).",
    )
    executor_target: bool = Field(
        default=False,
        description="Let the in-driver agent request no more executors from Kubernetes than PCAPS wants now "
        "(`requestTotalExecutors`, static allocation only).",
    )
    switches: Annotated[str, AfterValidator(_object)] | None = Field(
        default=None,
        description="`namespace/name` of a ConfigMap that turns features off without a restart: keys "
        "`pcaps`, `stage-order`, `executor-target`, values `on` or `off`. Unset: none.",
    )
    pcaps: Pcaps = Pcaps()
    event_logs: EventLogs = EventLogs()
    driver_rest: DriverRest = DriverRest()

    @model_validator(mode="after")
    def _decima_has_weights(self) -> Self:
        if (self.importance is Importance.DECIMA) != (self.decima_weights is not None):
            raise ValueError("importance: decima and decima_weights belong together; give both or none")
        return self

    def allowed(self) -> Switches:
        """Features that these settings turn on; the switches can only turn them off."""
        return Switches(self.pcaps.enabled, self.order, self.executor_target)

    def to_provider(self) -> ImportanceProvider:
        """The function that rates stages.

        Raises:
            ValueError: the weights cannot be used; the text says why.
        """
        match self.importance:
            case Importance.CRITICAL_PATH:
                return CriticalPath()
            case Importance.WEIGHTED_FAIR:
                return WeightedFair()
            case Importance.DECIMA:
                assert self.decima_weights is not None
                try:
                    data = self.decima_weights.read_bytes()
                except OSError as problem:
                    raise ValueError(
                        f"stages.decima_weights {self.decima_weights}: {problem.strerror}"
                    ) from None
                return Decima(DecimaWeights.from_npz(data))
