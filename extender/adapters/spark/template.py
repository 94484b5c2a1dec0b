"""The executor pod template that Spark mounts into the driver: sidecars, extra requests, placement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec.structs import replace

from extender.adapters.spark.refusal import Refused
from extender.adapters.spark.yamltext import YamlProblem, parse_yaml
from extender.core.facts import NOTHING_ADDED, Admitted
from extender.core.nodes.resources import CPU
from extender.core.nodes.terms import PlacementTerms
from extender.objects.projection import placement_terms
from extender.objects.quantity import QuantityError, RawQuantity
from extender.objects.requests import asked, effective_requests
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

    def requests(self, spark: Mapping[str, int], added: Admitted = NOTHING_ADDED) -> dict[str, int]:
        """Requests of an executor made from this template, in base units.

        `spark` is Spark's own request for its container; it replaces the same names there. All
        else that the template requests (ephemeral-storage, other containers, init containers) stays.
        `added` is what admission gave to the driver: every container of the executor gets the same
        defaults, and the executor the same overhead if it names the same RuntimeClass.

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
            containers = [_with_defaults(each, added.container_defaults) for each in containers]
            before = [
                _with_defaults(each, added.container_defaults) for each in self.spec.init_containers or ()
            ]
            overhead = self.spec.overhead
            if not overhead and self.spec.runtime_class_name == added.runtime_class:
                overhead = _quantities(added.overhead)
            made = replace(self.spec, containers=containers, init_containers=before, overhead=overhead)
            return effective_requests(Pod(spec=made))
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
    return replace(container, resources=replace(own, requests={**(own.requests or {}), **_quantities(spark)}))


def _with_defaults(container: Container, defaults: Mapping[str, int]) -> Container:
    """The container with requests for what it asks nothing of."""
    stated = asked(container.resources)
    missing = {name: amount for name, amount in defaults.items() if name not in stated}
    return _asking(container, missing) if missing else container


def _quantities(amounts: Mapping[str, int]) -> dict[str, RawQuantity]:
    return {name: f"{amount}m" if name == CPU else str(amount) for name, amount in amounts.items()}
