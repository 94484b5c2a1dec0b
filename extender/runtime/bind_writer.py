"""The Binder as the webhooks want it: errors are values."""

from __future__ import annotations

from collections.abc import Mapping

from extender.adapters.kubernetes.binding import Binder, BindError
from extender.adapters.kubernetes.client import ApiError
from extender.adapters.webhooks.ports import BindFailure


class BindWriter:
    """Writes Bindings."""

    def __init__(self, binder: Binder) -> None:
        self._binder = binder

    async def bind(
        self, namespace: str, name: str, uid: str, node: str, annotations: Mapping[str, str]
    ) -> BindFailure | None:
        """Bind a pod; why that failed, if it did, and whether it may have happened all the same."""
        try:
            await self._binder.bind(namespace, name, uid, node, annotations)
        except BindError as problem:
            cause = problem.__cause__
            unknown = isinstance(cause, ApiError) and cause.outcome_unknown
            return BindFailure(str(problem), outcome_unknown=unknown)
        return None
