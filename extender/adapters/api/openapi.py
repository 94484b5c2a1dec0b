"""The OpenAPI document's part of what are no FastAPI routes, for speed: written by hand."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI

_STRINGS: Final = {"type": "array", "items": {"type": "string"}, "nullable": True}
_REASONS: Final = {"type": "object", "additionalProperties": {"type": "string"}}
_POD: Final = {"type": "object", "description": "core/v1 Pod"}
_META_VICTIMS: Final = {
    "type": "object",
    "additionalProperties": {
        "type": "object",
        "properties": {
            "Pods": {
                "type": "array",
                "items": {"type": "object", "properties": {"UID": {"type": "string"}}},
            },
            "NumPDBViolations": {"type": "integer"},
        },
    },
}

STAGE_PRIORITY: Final = "/v1/applications/{namespace}/{app_id}/stages/priority"

SCHEMAS: Final[dict[str, Any]] = {
    "StagePriorities": {
        "type": "object",
        "required": ["importance", "remaining_s", "critical_path_s", "stages", "ready"],
        "properties": {
            "importance": {
                "type": "number",
                "description": "The application's own, 0..1; 1 while its stages are not known.",
            },
            "remaining_s": {"type": "number", "description": "Work left, in task-seconds."},
            "critical_path_s": {"type": "number", "description": "Shortest time to its end."},
            "stages": {
                "type": "object",
                "additionalProperties": {"type": "number"},
                "description": "Importance 0..1 by number of the stage; stages with open tasks only.",
            },
            "ready": {
                "type": "array",
                "description": "Stages that wait for no other, most important first.",
                "items": {
                    "type": "object",
                    "properties": {
                        "stage_id": {"type": "integer"},
                        "importance": {"type": "number"},
                        "open_tasks": {"type": "integer"},
                    },
                },
            },
        },
    },
    "ExtenderArgs": {
        "type": "object",
        "required": ["Pod"],
        "properties": {
            "Pod": _POD,
            "Nodes": {"type": "object", "nullable": True, "description": "core/v1 NodeList"},
            "NodeNames": _STRINGS,
        },
    },
    "ExtenderFilterResult": {
        "type": "object",
        "properties": {
            "Nodes": {"type": "object", "nullable": True},
            "NodeNames": _STRINGS,
            "FailedNodes": _REASONS,
            "FailedAndUnresolvableNodes": _REASONS,
            "Error": {"type": "string"},
        },
    },
    "HostPriorityList": {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "Host": {"type": "string"},
                "Score": {"type": "integer", "minimum": 0, "maximum": 10},
            },
        },
    },
    "ExtenderBindingArgs": {
        "type": "object",
        "required": ["PodName", "PodNamespace", "PodUID", "Node"],
        "properties": {key: {"type": "string"} for key in ("PodName", "PodNamespace", "PodUID", "Node")},
    },
    "ExtenderBindingResult": {"type": "object", "properties": {"Error": {"type": "string"}}},
    "ExtenderPreemptionArgs": {
        "type": "object",
        "required": ["Pod"],
        "properties": {
            "Pod": _POD,
            "NodeNameToVictims": {"type": "object", "nullable": True},
            "NodeNameToMetaVictims": {**_META_VICTIMS, "nullable": True},
        },
    },
    "ExtenderPreemptionResult": {
        "type": "object",
        "properties": {"NodeNameToMetaVictims": _META_VICTIMS},
    },
}

_CALLS: Final = {
    "filter": (
        "ExtenderArgs",
        "ExtenderFilterResult",
        "The one node on which the pod may be placed, or a reason for every offered node.",
    ),
    "prioritize": ("ExtenderArgs", "HostPriorityList", "A score 0..10 for every offered node."),
    "bind": (
        "ExtenderBindingArgs",
        "ExtenderBindingResult",
        "Binds the pod; the Binding carries the gang's reservation.",
    ),
    "preempt": (
        "ExtenderPreemptionArgs",
        "ExtenderPreemptionResult",
        "The nodes on which evicting the victims would really let the pod start.",
    ),
}


def describe_plain_routes(app: FastAPI) -> None:
    """Add the four webhooks and the stages' importance to the application's OpenAPI document."""
    build = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = build()
            document.setdefault("components", {}).setdefault("schemas", {}).update(SCHEMAS)
            document["paths"].update({f"/{verb}": {"post": _operation(verb)} for verb in _CALLS})
            document["paths"][STAGE_PRIORITY] = {"get": _PRIORITY}
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi


def _operation(verb: str) -> dict[str, Any]:
    request, reply, summary = _CALLS[verb]
    return {
        "tags": ["kube-scheduler"],
        "summary": summary,
        "operationId": verb,
        "requestBody": {"required": True, "content": _json(request)},
        "responses": {
            "200": {"description": "Always, also for a request that cannot be read", "content": _json(reply)}
        },
    }


def _json(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _text(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


_PRIORITY: Final[dict[str, Any]] = {
    "tags": ["gangs"],
    "summary": "Importance of an application's stages",
    "operationId": "stages_priority",
    "parameters": [_text("namespace"), _text("app_id")],
    "responses": {
        "200": {"description": "Successful Response", "content": _json("StagePriorities")},
        "404": {"description": "Not Found", "content": _json("Problem")},
    },
}
