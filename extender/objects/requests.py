"""How much of each resource a pod asks its node for: kube-scheduler's effective request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from extender.core.nodes.resources import CPU, MEMORY, largest, total
from extender.objects.quantity import LARGEST, RawQuantity, base_units
from extender.objects.structs import Container, ContainerStatus, Pod, PodSpec, PodStatus, ResourceRequirements


def amounts(quantities: Mapping[str, RawQuantity] | None) -> dict[str, int]:
    """Quantities by resource name in base units.

    Raises:
        QuantityError: one of them cannot be read.
    """
    if not quantities:
        return {}
    return {name: base_units(name, text) for name, text in quantities.items()}


def asked(resources: ResourceRequirements | None) -> dict[str, int]:
    """Requests of one container; a limit without a request is the request, as the API server has it."""
    if resources is None:
        return {}
    if not resources.limits:
        return amounts(resources.requests)
    return amounts({**resources.limits, **(resources.requests or {})})


def effective_requests(pod: Pod) -> dict[str, int]:
    """The pod's request on its node in base units, without the pod slot and without zero amounts.

    Containers run together and add up. An init container runs beside the sidecars started before
    it, and before the containers, so the larger of both counts. Requests of the whole pod replace
    the sum where given. Overhead comes on top. While a container or the pod is resized in place, the largest
    of what its spec asks, what the kubelet allocated and what it runs with counts; without the spec's if the
    kubelet refused the resize. (kube-scheduler 1.36 and 1.37, component-helpers `PodRequests`; where the two
    differ, the larger amount.)

    Raises:
        QuantityError: a quantity cannot be read.
    """
    spec = pod.spec or PodSpec()
    held = _held(pod.status)
    # The kubelet refused a resize: the pod keeps what it holds, its wish takes no room.
    refused = _resize_refused(pod.status)
    running = [_of_container(each, held, refused) for each in spec.containers or ()]
    if spec.init_containers:
        sum_ = _with_init_containers(spec.init_containers, running, held, refused)
    else:
        sum_ = running[0] if len(running) == 1 else total(running)
    granted = _granted_to_pod(pod.status)
    if granted:
        sum_ = largest((sum_, granted))
    if spec.resources is not None and spec.resources.requests:
        whole = amounts(spec.resources.requests)
        if granted:
            whole = {**whole, **granted} if refused else largest((whole, granted))
        sum_ = {**sum_, **{name: amount for name, amount in whole.items() if _may_be_shared(name)}}
    if spec.overhead:
        sum_ = total((sum_, amounts(spec.overhead)))
    return {name: min(amount, LARGEST) for name, amount in sum_.items() if amount}


def _with_init_containers(
    init_containers: Iterable[Container],
    running: list[dict[str, int]],
    held: Mapping[str, ContainerStatus],
    refused: bool,
) -> dict[str, int]:
    sidecars: dict[str, int] = {}
    peak: dict[str, int] = {}
    for container in init_containers:
        own = total((sidecars, _of_container(container, held, refused)))
        if container.restart_policy == "Always":
            sidecars = own
        peak = largest((peak, own))
    return largest((peak, total((sidecars, *running))))


def _of_container(container: Container, held: Mapping[str, ContainerStatus], refused: bool) -> dict[str, int]:
    spec = asked(container.resources)
    status = held.get(container.name or "") if held else None
    if status is None:
        return spec
    granted = largest(
        (
            amounts(status.allocated_resources),
            amounts(status.resources.requests if status.resources else None),
        )
    )
    return {**spec, **granted} if refused else largest((spec, granted))


def _granted_to_pod(status: PodStatus | None) -> dict[str, int]:
    """Resources that the kubelet reports as allocated to the whole pod, or in use by it."""
    if status is None or status.resources is None:
        return {}
    return largest((amounts(status.allocated_resources), amounts(status.resources.requests)))


def _held(status: PodStatus | None) -> dict[str, ContainerStatus]:
    if status is None:
        return {}
    return {
        each.name or "": each
        for each in (*(status.container_statuses or ()), *(status.init_container_statuses or ()))
        if each.allocated_resources or each.resources
    }


def _resize_refused(status: PodStatus | None) -> bool:
    if status is None or not status.conditions:
        return False
    return any(each.type == "PodResizePending" and each.reason == "Infeasible" for each in status.conditions)


def _may_be_shared(name: str) -> bool:
    """Resources Kubernetes lets a pod ask for as a whole."""
    return name in (CPU, MEMORY) or name.startswith("hugepages-")
