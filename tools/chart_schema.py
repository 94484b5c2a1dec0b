"""Writes manifests/chart/values.schema.json: the chart's own values, and the settings of both services.

    python -m tools.chart_schema

The settings come from the models that read them, so that a chart refuses what a service would refuse.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from carbon_api.settings import Settings as CarbonSettings
from extender.settings.root import Settings

TARGET = Path(__file__).parents[1] / "manifests" / "chart" / "values.schema.json"
Schema = dict[str, Any]


def schema() -> Schema:
    """The schema of the chart's values (JSON Schema, draft 2020-12)."""
    definitions: Schema = {}
    extender = _model(Settings.model_json_schema(), "extender", definitions)
    carbon = _model(CarbonSettings.model_json_schema(), "carbon", definitions)
    carbon.pop("required", None)  # empty means the synthetic grids
    properties = {
        "createNamespace": _flag(
            "Make the release's namespace, with the restricted profile of Pod Security."
        ),
        "image": _image("Image of the extender and of the carbon service."),
        "imagePullSecrets": {"type": "array", "description": "Secrets by which nodes pull images."},
        "kubeScheduler": _image("kube-scheduler, of the minor version of the cluster."),
        "separateExtender": _flag("The extender in a pod of its own, over mutual TLS."),
        "settings": extender | {"description": "Settings of the extender; docs/settings.md."},
        "carbon": _part(
            "The carbon service.",
            enabled=_flag("Install it, and let the extender ask it."),
            settings=carbon | {"description": "Its settings; empty: synthetic grids."},
        ),
        "ledger": _part(
            "Where energy and carbon are booked.",
            kind={"enum": ["none", "postgresql", "volume"], "description": "Nowhere, or by which component."},
        ),
        "capQuota": _part(
            "The carbon budget as a ResourceQuota.",
            enabled=_flag("Keep it."),
            namespace=_text("The namespace of the quota; it must exist."),
        ),
        "namespaces": {
            "type": "array",
            "items": {"type": "string", "minLength": 1},
            "description": "Namespaces of applications; not empty: rights in these only.",
        },
        "powerFromPrometheus": _part(
            "The power of nodes from Prometheus.",
            enabled=_flag("Read it."),
            url={"type": "string", "pattern": "^https?://", "description": "Prometheus."},
        ),
        **{
            name: _part(text, enabled=_flag("Add this component."))
            for name, text in (
                ("driverAgent", "The port for agents in drivers."),
                ("driverRest", "Stages from the drivers' web UI."),
                ("holdGate", "The gate of held drivers, set at their creation."),
                ("monitoring", "ServiceMonitors, alert rules and dashboards."),
                ("certManager", "Certificates by cert-manager."),
            )
        },
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Values of the chart carbon-scheduler",
        "type": "object",
        "additionalProperties": False,
        "properties": properties | {"global": {"type": "object"}},
        "$defs": definitions,
    }


def _model(made: Schema, prefix: str, definitions: Schema) -> Schema:
    """A model's schema with its definitions moved to those of the whole, under names of its own."""

    def moved(part: Any) -> Any:
        if isinstance(part, dict):
            return {
                key: value.replace("#/$defs/", f"#/$defs/{prefix}-") if key in ("$ref",) else moved(value)
                for key, value in part.items()
                if key not in ("mapping", "default")
            }
        return [moved(each) for each in part] if isinstance(part, list) else part

    for name, definition in made.pop("$defs", {}).items():
        definitions[f"{prefix}-{name}"] = moved(definition)
    return moved(made)


def _flag(text: str) -> Schema:
    return {"type": "boolean", "description": text}


def _text(text: str) -> Schema:
    return {"type": "string", "minLength": 1, "description": text}


def _part(text: str, **properties: Schema) -> Schema:
    return {"type": "object", "description": text, "additionalProperties": False, "properties": properties}


def _image(text: str) -> Schema:
    return _part(text, repository=_text("Without tag."), tag=_text("Tag."))


def rendered() -> str:
    """The file's text."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    TARGET.write_text(rendered(), encoding="utf-8")
