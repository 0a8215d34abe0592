"""The players' REST in the OpenAPI document; its views are plain Django."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Final

from sessions_app.wire import DISABLED, FIELDS, MAX_VICTIMS

TAG: Final = "sessions"


def _string(longest: int) -> dict[str, Any]:
    return {"type": "string", "maxLength": longest}


WANTED: Final = {name: _string(longest) for name, (_, longest) in FIELDS.items()}
UUID: Final = {"type": "string", "format": "uuid"}
TIME: Final = {"type": "string", "format": "date-time"}
SESSION: Final = {
    "type": "object",
    "required": ["sessionId", "name", "startedAt"],
    "properties": {"sessionId": UUID, "name": {"type": "string"}, "startedAt": TIME}
    | {name: schema for name, schema in WANTED.items() if name != "sessionName"},
}
GRANTED: Final = {
    "type": "object",
    "required": ["endpoint", "enabled", "sessionId", "sessionName"],
    "properties": {
        "endpoint": {"type": "string", "format": "uri"},
        "enabled": {"type": "boolean", "enum": [True]},
        "sessionId": UUID,
        "sessionName": {"type": "string"},
    },
}
OFF: Final = {
    "type": "object",
    "required": list(DISABLED),
    "properties": {name: {"enum": [value]} for name, value in DISABLED.items()},
}
PROBLEM: Final = {
    "type": "object",
    "required": ["code", "message"],
    "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
}
LIMIT_EXCEEDED: Final = {
    "type": "object",
    "required": ["code", "message", "details"],
    "properties": {
        "code": {"enum": ["LimitExceeded"]},
        "message": {"type": "string"},
        "details": {
            "type": "object",
            "required": ["takeOverEnabled", "limit", "activeSessions"],
            "properties": {
                "takeOverEnabled": {"type": "boolean"},
                "limit": {"type": "integer"},
                "activeSessions": {"type": "array", "items": SESSION},
            },
        },
    },
}
HEARTBEAT: Final = {
    "type": "object",
    "required": ["sessionId", "expiresAt", "heartbeatInterval"],
    "properties": {"sessionId": UUID, "expiresAt": TIME, "heartbeatInterval": {"type": "number"}},
}
PROBLEMS: Final = {
    400: "The body makes no sense.",
    401: "The customer token is missing or not valid.",
    403: "The customer is revoked, a hook refuses the session, or takeover is not offered here.",
    404: "No such session, or another customer's.",
    413: "The body is too large.",
    429: "Too many requests; Retry-After says when to come back.",
    503: "The database is out, or the publisher's JWKS; Retry-After says when to come back.",
}


ID: Final = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
STREAM_EXAMPLE: Final = {
    "offerId": "S123_US",
    "deviceId": "tv-1",
    "deviceName": "Samsung",
    "deviceType": "tv",
}
WANTED_EXAMPLE: Final = {"sessionName": "Living room", **STREAM_EXAMPLE}
SESSION_EXAMPLE: Final = {
    "sessionId": ID,
    "name": "Living room",
    "startedAt": "2026-11-29T06:00:00Z",
    **STREAM_EXAMPLE,
}
GRANTED_EXAMPLE: Final = {
    "endpoint": "wss://play.example.com/?token=eyJhbGciOi…",
    "enabled": True,
    "sessionId": ID,
    "sessionName": "Living room",
}
ALIVE_EXAMPLE: Final = {"sessionId": ID, "expiresAt": "2026-11-29T06:01:10Z", "heartbeatInterval": 30}
LIMIT_EXAMPLE: Final = {
    "code": "LimitExceeded",
    "message": "2 sessions per offer",
    "details": {"takeOverEnabled": True, "limit": 2, "activeSessions": [SESSION_EXAMPLE]},
}

CODES: Final = {
    400: "InvalidRequest",
    401: "Unauthorized",
    403: "Refused",
    404: "SessionNotFound",
    413: "TooLarge",
    429: "RateLimited",
    503: "Unavailable",
}


def _json(schema: Any, description: str, **examples: Any) -> dict[str, Any]:
    shown = {name: {"value": value} for name, value in examples.items()}
    return {
        "description": description,
        "content": {"application/json": {"schema": schema, "examples": shown}},
    }


def _problem(status: int) -> dict[str, Any]:
    text = PROBLEMS[status]
    return _json(PROBLEM, text, problem={"code": CODES[status], "message": text})


def _responses(success: dict[str, Any], *problems: int) -> dict[str, Any]:
    return success | {str(status): _problem(status) for status in (*problems, 401, 403, 503)}


def _operation(
    id: str,
    summary: str,
    responses: dict[str, Any],
    properties: dict[str, Any] | None = None,
    example: dict[str, Any] | None = None,
) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": id,
        "summary": summary,
        "tags": [TAG],
        "security": [{"customerToken": []}],
        "responses": responses,
    }
    if properties is not None:
        schema = {"type": "object", "properties": properties}
        operation["requestBody"] = {
            "required": True,
            "content": {"*/*": {"schema": schema, "example": example}},
        }
    return operation


_CREATED: Final = {
    "200": _json(
        {"oneOf": [GRANTED, OFF]}, "A slot, or tracking is disabled.", slot=GRANTED_EXAMPLE, disabled=DISABLED
    ),
    "409": _json(LIMIT_EXCEEDED, "A limit is reached; the message names it.", reached=LIMIT_EXAMPLE),
}
_LIST: Final = {"type": "object", "properties": {"sessions": {"type": "array", "items": SESSION}}}
_VICTIMS: Final = {
    "sessionId": {"type": "string"},
    "sessionIds": {"type": "array", "items": {"type": "string"}, "maxItems": MAX_VICTIMS},
}
_ID: Final = [{"name": "id", "in": "path", "required": True, "schema": UUID}]
_CREATE: Final = _operation(
    "createSession", "Create a session", _responses(_CREATED, 400, 413, 429), WANTED, WANTED_EXAMPLE
)
_TAKE_OVER: Final = _operation(
    "takeOver",
    "Create a session in place of others",
    _responses(_CREATED, 400, 404, 413, 429),
    WANTED | _VICTIMS,
    {**WANTED_EXAMPLE, "sessionId": ID},
)
_OWN: Final = _operation(
    "listSessions",
    "List one's own sessions",
    _responses({"200": _json(_LIST, "Live sessions.", sessions={"sessions": [SESSION_EXAMPLE]})}),
)
_END: Final = _operation(
    "endSession", "End a session of one's own", _responses({"204": {"description": "It is over."}}, 404)
)
_HEARTBEAT: Final = _operation(
    "heartbeat",
    "Keep a session alive without a WebSocket",
    _responses({"200": _json(HEARTBEAT, "It lives on.", alive=ALIVE_EXAMPLE)}, 404),
)
PATHS: Final = {
    "/sessions": {"get": _OWN, "post": _CREATE},
    "/sessions/{id}": {"delete": _END | {"parameters": _ID}},
    "/sessions/{id}/heartbeat": {"post": _HEARTBEAT | {"parameters": _ID}},
    "/takeover": {"post": _TAKE_OVER},
}


def document(result: dict[str, Any]) -> None:
    """Add the paths of players, and how they identify themselves, to an OpenAPI document."""
    result["paths"] |= deepcopy(PATHS)
    schemes = result.setdefault("components", {}).setdefault("securitySchemes", {})
    schemes["customerToken"] = {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "Signed by a publisher: customerId, publisherId, exp.",
    }
