"""The description of the interface of a site in OpenAPI 3.1."""

from __future__ import annotations

from typing import Any, get_args

from stream.site.folder import NAME
from stream.site.site import State

_ERROR = {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}
_NAMED = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
_PROPERTIES = {
    "type": "object",
    "description": "properties of the source, as of `posestream inspect`",
    "additionalProperties": {"type": ["string", "number", "boolean"]},
}
_CAMERA = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "state": {"enum": list(get_args(State))},
        "why": {"type": "string", "description": "why it failed; empty otherwise"},
        "address": {"type": "string", "description": "where a subscriber finds its keypoints"},
        "properties": _PROPERTIES,
    },
}
_NEW = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "pattern": f"^{NAME.pattern}$"},
        "properties": _PROPERTIES,
    },
    "required": ["name"],
    "additionalProperties": False,
}
_NAME = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}


def _answer(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


_UNKNOWN = {"404": _answer("there is no such camera", _ERROR)}

OPENAPI: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "posestream serve", "version": "1"},
    "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    "security": [{"token": []}],
    "paths": {
        "/api/cameras": {
            "get": {
                "summary": "List the cameras",
                "responses": {"200": _answer("all cameras", {"type": "array", "items": _CAMERA})},
            },
            "post": {
                "summary": "Add a camera, if its line can run",
                "requestBody": {"required": True, "content": {"application/json": {"schema": _NEW}}},
                "responses": {
                    "201": _answer("it is written, and starts", _NAMED),
                    "400": _answer("it cannot run, and nothing was changed", _ERROR),
                    "409": _answer("there is a camera of this name", _ERROR),
                },
            },
        },
        "/api/cameras/{name}": {
            "delete": {
                "summary": "Remove a camera; what is in flight is delivered",
                "parameters": [_NAME],
                "responses": {"200": _answer("it drains", _NAMED), **_UNKNOWN},
            }
        },
        **{
            f"/api/cameras/{{name}}/{word}": {
                "post": {
                    "summary": summary,
                    "parameters": [_NAME],
                    "responses": {"200": _answer("it is written", _NAMED), **_UNKNOWN},
                }
            }
            for word, summary in (("pause", "End its line, and keep the camera"), ("resume", "Start its line again"))
        },
        "/api/state": {
            "get": {
                "summary": "What the page shows: cameras, parts of lines, warnings and errors",
                "responses": {"200": _answer("the state", {"type": "object"})},
            }
        },
    },
}
