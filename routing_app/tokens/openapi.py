"""The form API in the OpenAPI document; its view is plain Django."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Final

TAG: Final = "tokens"
METHODS: Final = ("broadcast", "get_clients", "registerToken", "unregisterToken", "registeredTokenList")
FIELDS: Final = {
    "method": {"type": "string", "enum": list(METHODS)},
    "message": {
        "type": "string",
        "description": "Of `broadcast` `receivers|text`; of the changes the token, without `token`.",
    },
    "token": {"type": "string", "description": "Of `registerToken` and `unregisterToken`."},
}
BROADCAST: Final = {"method": "broadcast", "message": "abc1,group/|themessage"}
PROBLEM: Final = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
PROBLEMS: Final = {
    "400": ("What is asked for cannot be understood.", "the field message is missing"),
    "401": ("No valid API key or access token, and no session.", "an API key is needed"),
    "403": ("The credential lacks the right to the call, or to a receiver.", "this key lacks the scope"),
    "405": ("Only GET and POST.", "only GET and POST are answered"),
    "413": ("The body has more than 2.5 MiB.", "the body is too large"),
    "503": ("A backing service is out; Retry-After says when to come back.", "a backing service is down"),
}
ANSWERS: Final = {
    "broadcast": {"ok": True, "delivered_to": 2},
    "get_clients": {"127.0.0.1:50064": "abc1"},
    "registerToken": {"ok": True, "changed": "added"},
    "unregisterToken": {"ok": True, "changed": "disabled"},
    "registeredTokenList": {"abc1": True, "group/item1": False},
}


def _operation(verb: str) -> dict[str, Any]:
    shown = {name: {"value": value} for name, value in ANSWERS.items()}
    operation: dict[str, Any] = {
        "operationId": f"formApi{verb}",
        "summary": f"The original's control API, by {verb}",
        "description": "`method` selects; fields come from a form, a JSON object or the query string. `/api/`"
        " is the same.",
        "tags": [TAG],
        "security": [{"apiKey": []}, {"bearer": []}],
        "responses": {
            "200": {
                "description": "The answer of the method.",
                "content": {"application/json": {"schema": {"type": "object"}, "examples": shown}},
            },
            **{
                status: {
                    "description": description,
                    "content": {"application/json": {"schema": PROBLEM, "example": {"error": sentence}}},
                }
                for status, (description, sentence) in PROBLEMS.items()
            },
        },
    }
    if verb == "Get":
        operation["parameters"] = [
            {"name": name, "in": "query", "required": name == "method", "schema": schema}
            for name, schema in FIELDS.items()
        ]
    else:
        body = {
            "schema": {"type": "object", "required": ["method"], "properties": FIELDS},
            "example": BROADCAST,
        }
        types = ("application/x-www-form-urlencoded", "application/json")
        operation["requestBody"] = {"required": True, "content": dict.fromkeys(types, body)}
    return operation


def document(result: dict[str, Any]) -> None:
    """Add the path to an OpenAPI document."""
    result["paths"]["/"] = deepcopy({"get": _operation("Get"), "post": _operation("Post")})
