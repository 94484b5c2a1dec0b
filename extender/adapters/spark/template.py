"""The executor pod template that Spark mounts into the driver: sidecars, extra requests, placement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec.structs import replace

from extender.adapters.spark.refusal import Refused
from extender.adapters.spark.yamltext import YamlProblem, parse_yaml
from extender.core.nodes.resources import CPU
from extender.core.nodes.terms import PlacementTerms
from extender.objects.projection import placement_terms
from extender.objects.quantity import QuantityError, RawQuantity
from extender.objects.requests import effective_requests
from extender.objects.structs import Container, Pod, PodSpec, ResourceRequirements

TEMPLATE_KEY: Final = "podspec-configmap-key"
_FIX: Final = "correct the file named by spark.kubernetes.executor.podTemplateFile"


@dataclass(frozen=True, slots=True)
class ExecutorTemplate:
    """An executor pod template. `container` is the name of Spark's container, empty for the first."""

    spec: PodSpec
    container: str = ""

    @property
    def terms(self) -> PlacementTerms:
        """Node selector, required affinity and tolerations of the template."""
        return placement_terms(self.spec)

    def requests(self, spark: Mapping[str, int]) -> dict[str, int]:
        """What an executor made from this template requests, in base units.

        `spark` is what Spark itself asks for its container; it replaces the same names there. All
        else that the template asks for (ephemeral-storage, other containers, init containers) stays.

        Raises:
            Refused: a quantity in the template cannot be read.
        """
        containers = list(self.spec.containers or ())
        named = [
            index for index, each in enumerate(containers) if self.container and each.name == self.container
        ]
        main = named[0] if len(named) == 1 else 0
        if not containers:
            containers.append(Container())
        containers[main] = _asking(containers[main], spark)
        try:
            return effective_requests(Pod(spec=replace(self.spec, containers=containers)))
        except QuantityError as problem:
            raise Refused(TEMPLATE_KEY, str(problem), _FIX) from None


def read_template(data: Mapping[str, str], container: str) -> ExecutorTemplate:
    """The template in a `...-driver-podspec-conf-map`.

    Raises:
        Refused: the ConfigMap has no template, or it is not the YAML of a pod.
    """
    text = data.get(TEMPLATE_KEY)
    if text is None:
        raise Refused(TEMPLATE_KEY, None, "the executor pod template's ConfigMap must hold this key")
    try:
        document = parse_yaml(text)
        if not isinstance(document, dict):
            raise Refused(TEMPLATE_KEY, text, f"not the YAML of a pod; {_FIX}")
        spec = document.get("spec")
        return ExecutorTemplate(
            msgspec.convert({} if spec is None else spec, PodSpec, strict=False), container
        )
    except (YamlProblem, msgspec.ValidationError) as problem:
        raise Refused(TEMPLATE_KEY, str(problem), _FIX) from None


def _asking(container: Container, spark: Mapping[str, int]) -> Container:
    own = container.resources or ResourceRequirements()
    asked: dict[str, RawQuantity] = {
        name: f"{amount}m" if name == CPU else str(amount) for name, amount in spark.items()
    }
    return replace(container, resources=replace(own, requests={**(own.requests or {}), **asked}))
