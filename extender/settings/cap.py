"""`cap`: the budget of executors for the whole cluster, and the ResourceQuota that mirrors it."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from extender.settings.values import Group, Name


class QuotaSettings(Group):
    """`cap.quota`: the ResourceQuota that keeps the budget where executors are created."""

    namespace: Name | None = Field(
        default=None,
        description="Namespace in which a ResourceQuota also enforces the budget (see "
        "`manifests/components/cap-quota`). Unset: none does.",
    )
    executor_memory_gib: Annotated[float, Field(gt=0, le=1e6)] = Field(
        default=8.0, description="Memory of one executor in the quota, in GiB."
    )
    spare_drivers: Annotated[int, Field(ge=0, le=100_000)] = Field(
        default=10,
        description="New drivers, each as large as an executor, for which the quota always has room.",
    )


class CapSettings(Group):
    """CAP: the cleaner the grid, the more executors may run."""

    enabled: bool = Field(
        default=False, description="Limit the executors of the cluster by the carbon intensity (CAP)."
    )
    min_executors: Annotated[int, Field(ge=0)] = Field(
        default=20, description="Executors that are always allowed (B in the paper)."
    )
    max_executors: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="Executors allowed in the cleanest hour (K in the paper). Unset: as many as all nodes "
        "hold.",
    )
    executor_cores: Annotated[float, Field(gt=0, le=1e6)] = Field(
        default=4.0, description="Cores of one executor, to count how many executors all nodes hold."
    )
    quota: QuotaSettings = QuotaSettings()

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.max_executors is not None and self.max_executors < self.min_executors:
            raise ValueError("max_executors is below min_executors; raise it or lower min_executors")
        return self
