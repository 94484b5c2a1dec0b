"""Which gang a pod belongs to, read from its labels alone.

This runs for every pod of the cluster on every watch event, so it is a few dictionary look-ups.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from extender.core.facts import DEFAULT_PROFILE, Identity, Role

GANG_LABEL: Final = "carbon-scheduler/gang"
ROLE_LABEL: Final = "carbon-scheduler/role"
SPARK_ROLE_LABEL: Final = "spark-role"
SPARK_APP_ID_LABEL: Final = "spark-app-id"
SPARK_APP_SELECTOR_LABEL: Final = "spark-app-selector"
SPARK_PROFILE_LABEL: Final = "spark-exec-resourceprofile-id"
APP_NAME_LABELS: Final = ("sparkoperator.k8s.io/app-name", "spark-app-name", "app.kubernetes.io/name")
"""Labels with the name that people know an application by: spark-operator's, Spark's own, Kubernetes'."""

_GENERIC_ROLES: Final = {"leader": Role.LEADER, "worker": Role.WORKER}
_SPARK_ROLES: Final = {"driver": Role.LEADER, "executor": Role.WORKER}


def identify(labels: Mapping[str, str]) -> Identity | None:
    """The part a pod plays and the id of its gang, or None for a pod outside any gang.

    The generic labels `carbon-scheduler/gang` and `carbon-scheduler/role` (leader, worker) come
    first, then Spark's `spark-role` (driver, executor) with the id in `spark-app-id` (set by users of
    the archived Palantir extender, on driver and executors alike) or `spark-app-selector` (set by
    Spark itself on every pod).

    Half of a pair of labels is no gang: a driver without any id cannot be matched with its executors,
    and a common empty id would make strangers members of one gang. Such a pod is scheduled alone.

    A Spark executor may run without a leader (`leader_optional`): in client mode its driver is an ordinary
    pod, or none. Labels alone do not tell; its owner does (`extender.core.gangs.membership`). An executor of
    another resource profile than the default says nothing of the size of the others.
    """
    gang = labels.get(GANG_LABEL)
    stated = labels.get(ROLE_LABEL, "")
    if gang:
        role = _GENERIC_ROLES.get(stated)
        if role is not None:
            return Identity(role, gang, app_name=_app_name(labels))
        if stated:
            problem = f"{ROLE_LABEL}={stated}: use leader or worker, or leave {GANG_LABEL} out of this pod"
            return Identity(Role.SINGLE, gang, problem=problem)
    spark_role = labels.get(SPARK_ROLE_LABEL)
    if spark_role is None:
        return None
    role = _SPARK_ROLES.get(spark_role)
    app_id = labels.get(SPARK_APP_ID_LABEL) or labels.get(SPARK_APP_SELECTOR_LABEL)
    if role is None or not app_id:
        return None
    profile = labels.get(SPARK_PROFILE_LABEL, DEFAULT_PROFILE)
    return Identity(role, app_id, role is Role.WORKER, profile, app_name=_app_name(labels))


def _app_name(labels: Mapping[str, str]) -> str:
    return next((labels[label] for label in APP_NAME_LABELS if labels.get(label)), "")
