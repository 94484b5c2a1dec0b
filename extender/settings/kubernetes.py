"""`kubernetes`: the API server and the schedulers that the extender works for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from extender.settings.values import Group, Names


class KubernetesSettings(Group):
    """How the extender reaches the API server, and which pods it serves."""

    kubeconfig: Path | None = Field(
        default=None, description="Credentials for the API server. Unset: those of the pod's service account."
    )
    context: str | None = Field(
        default=None, description="Context of `kubernetes.kubeconfig` to use. Unset: its current context."
    )
    scheduler_names: Names = Field(
        default=("carbon-scheduler",),
        min_length=1,
        description="Values of `schedulerName` of the pods that the extender serves.",
    )
    namespaces: Names = Field(
        default=(),
        description="Namespaces whose pods the extender serves, and in which it reads ConfigMaps "
        "(`manifests/components/namespaced-rights`). Empty: all.",
    )
    claim_ttl_s: Annotated[float, Field(ge=1, allow_inf_nan=False)] = Field(
        default=60.0,
        description="Time for which the room that a filter call claims stays reserved without a bind. It "
        "must be longer than kube-scheduler takes from filter to bind.",
    )
    name_nodes: bool = Field(
        default=True,
        description="Write the chosen node into a pod's `status.nominatedNodeName` where it is known before "
        "kube-scheduler asks. kube-scheduler then looks at that node first instead of at all nodes. It needs "
        "the right to patch `pods/status`.",
    )
    recheck_before_bind: bool = Field(
        default=True,
        description="List a node's pods once more before each Binding, so that the newest pods of other "
        "schedulers count. It costs two more requests to the API server for each Binding.",
    )
