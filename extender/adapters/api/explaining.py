"""`GET /v1/explain`: one application explained, whatever name of it is given."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Annotated, Any, Final

from fastapi import FastAPI, HTTPException, Query

from extender.adapters.api import models
from extender.core import queries
from extender.core.explain.explanation import Explanation, explain
from extender.core.explain.names import NotFound
from extender.core.queries import GangState
from extender.core.store import Store

DEFAULT_WATTS_PER_CORE: Final = 3.5
"""A busy vCPU of a common cloud server (Cloud Carbon Footprint, Methodology, appendix I: AWS)."""


WhyUnscheduled = Callable[[str, str], Awaitable[str]]
"""kube-scheduler's message about a pod (namespace, name); empty where there is none. Never raises."""


async def not_read(_namespace: str, _name: str) -> str:
    """No message: for a service without an API server."""
    return ""


def add_explain(
    app: FastAPI,
    store: Store,
    clock: Callable[[], float],
    watts_per_core: float = DEFAULT_WATTS_PER_CORE,
    why_unscheduled: WhyUnscheduled = not_read,
) -> None:
    """Add the route. `watts_per_core` turns the energy that waiting moves into grams."""

    @app.get(
        "/v1/explain",
        tags=["gangs"],
        response_model=Explanation,
        responses={404: {"model": models.Problem}},
    )
    async def explained(
        name: Annotated[
            str,
            Query(
                min_length=1,
                max_length=400,
                description="Id, pod, driver or Spark application name, alone or as NAMESPACE/NAME.",
            ),
        ],
        namespace: Annotated[
            str, Query(max_length=253, description="Namespace to look in; empty: all.")
        ] = "",
    ) -> Any:
        """Why an application waits, what is missing, when it starts, and which changes would help."""
        found = queries.find(store, name, namespace)
        if isinstance(found, NotFound):
            raise HTTPException(404, found.text)
        told = explain(store, found, clock(), watts_per_core)
        if told.summary.state is not GangState.WAITING:
            return told
        message = await why_unscheduled(told.summary.namespace, told.summary.leader)
        return replace(told, kube_scheduler=message)
