"""API keys and errors in the OpenAPI document."""

from __future__ import annotations

import re
from collections.abc import Callable
from copy import deepcopy
from http import HTTPStatus
from typing import Any, Final, Literal, TypeVar

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import build_object_type
from drf_spectacular.utils import OpenApiExample, OpenApiResponse
from rest_framework.views import APIView

from routing_app.core.audit.calls import WORDS
from routing_app.core.protocol import Protocol, registered
from routing_app.core.rest.server_paths import PATHS, TAG

DETAIL: Final = build_object_type(properties={"detail": {"type": "string"}}, required=["detail"])
INVALID: Final = {
    "type": "object",
    "properties": {"detail": {"type": "string"}},
    "additionalProperties": {"type": ["array", "object"]},
}
"""What is wrong by field, each a list of sentences; or one sentence in `detail`."""


def problem(description: str, sentence: str, schema: Any = DETAIL) -> OpenApiResponse:
    """An error of an operation, with what it says for example."""
    return OpenApiResponse(schema, description, [OpenApiExample("Error", {"detail": sentence})])


ERRORS: Final = {
    "400": OpenApiResponse(
        INVALID,
        "What is wrong, by field; or one sentence.",
        [
            OpenApiExample("Fields", {"name": ["This field is required."]}),
            OpenApiExample(
                "Body", {"detail": "JSON parse error - Expecting value: line 1 column 1 (char 0)"}
            ),
        ],
    ),
    "401": problem(
        "No API key or access token, or one that is wrong or has expired.",
        "API key is wrong or revoked, or has expired.",
    ),
    "403": problem(
        "The credential or the user lacks the right to the call, or to an address.",
        "An API key with the scope manage is needed.",
    ),
    "404": problem("No such row or page.", "Not found."),
    "406": problem("Only JSON is answered.", "Could not satisfy the request Accept header."),
    "415": problem(
        "The body's media type is not read here.", 'Unsupported media type "text/plain" in request.'
    ),
    "429": problem(
        "More calls than a rate limit allows; Retry-After says when to come back.",
        "Request was throttled. Expected available in 2 seconds.",
    ),
    "503": problem(
        "Redis or the database is out; Retry-After says when to come back.",
        "A backing service is down, try again later.",
    ),
}
"""Errors that any view may answer."""
TAGS: Final = {
    "messages": "Publish now or later, and what is kept of it.",
    "clients": "Who is connected, and disconnecting.",
    "access": "Keys, issuers, revocations, rate limits, hooks, and the log of what operators did.",
    "webhooks": "What others are told, and the deliveries.",
    TAG: "Health, numbers and workers of the server.",
}
"""Groups of paths that belong to no protocol."""
TAG_OF: Final = {
    "publish": "messages",
    "history": "messages",
    "rules": "messages",
    "scheduled": "messages",
    "clients": "clients",
    "disconnect": "clients",
    "webhooks": "webhooks",
    "deliveries": "webhooks",
    "keys": "access",
    "issuers": "access",
    "revocations": "access",
    "limits": "access",
    "hooks": "access",
    "audit": "access",
}
"""First word below `/api/` -> its group."""


BODY_ERRORS: Final = {"413": problem("The body is too large.", "The body is too large.")}
"""Errors of calls that have a body."""
WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})
STOCK: Final = frozenset({"list", "retrieve", *WORDS})
"""The actions of viewsets whose answer is a row, or a page of rows."""
View = TypeVar("View", bound=Callable[..., Any])


def documented_by(documentation: type[APIView]) -> Callable[[View], View]:
    """Decorate a view that is a function: the document says of it what it says of `documentation`."""

    def mark(view: View) -> View:
        view.cls, view.initkwargs = documentation, {}  # type: ignore[attr-defined]  # as `as_view` marks one
        return view

    return mark


def document_protocols(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """drf-spectacular's post-processing hook: add what protocols say of paths that it cannot see, and the
    groups."""
    described = dict(TAGS)
    for protocol in registered():
        described[tag_of(protocol)] = f"The {protocol.name} protocol: {protocol.label or protocol.name}."
        if protocol.openapi is not None:
            protocol.openapi(result)
    result["paths"] |= deepcopy(PATHS)
    operations = [
        operation
        for methods in result["paths"].values()
        for operation in methods.values()
        if isinstance(operation, dict)
    ]
    for operation in operations:
        for status, response in operation["responses"].items():
            response["description"] = response.get("description") or HTTPStatus(int(status)).phrase
    used = {tag for operation in operations for tag in operation["tags"]}
    result["tags"] = [{"name": tag, "description": text} for tag, text in described.items() if tag in used]
    return result


def tag_of(protocol: type[Protocol]) -> str:
    """The group of the paths of a protocol."""
    return protocol.openapi_tag or protocol.name


class Described(AutoSchema):
    """Describes groups, examples and errors too.

    A view names in `row_example` what it answers, in `new_example` what it answers once, and in
    `body_example` what it takes. One whose errors are others sets `describes_own_errors`.
    """

    def get_tags(self) -> list[str]:
        """The protocol whose package the view is of, else the group of its path."""
        modules = [f"{base.__module__}." for base in type(self.view).__mro__]
        for protocol in registered():
            package = f"{protocol.__module__.rpartition('.')[0]}."
            if any(module.startswith(package) for module in modules):
                return [tag_of(protocol)]
        words = self.path.strip("/").removeprefix("api/").split("/")
        return [TAG_OF.get(words[0], TAG)]

    def get_examples(self) -> list[OpenApiExample]:
        """Those of a row and of a body, for the stock actions of a viewset."""
        if getattr(self.view, "action", "") not in STOCK:
            return []
        row, new, body = (getattr(self.view, f"{kind}_example", None) for kind in ("row", "new", "body"))
        examples = []
        if row is not None:
            examples.append(OpenApiExample("A row", row, response_only=True, status_codes=["200"]))
            examples.append(OpenApiExample("A new row", new or row, response_only=True, status_codes=["201"]))
        if body is not None:
            examples.append(OpenApiExample("A body", body, request_only=True))
        return examples

    def get_summary(self) -> str | None:
        """The first sentence of what is said of the call."""
        said: str | None = super().get_summary()
        return said or re.split(r"[.;:](?:\s|$)", self.get_description(), maxsplit=1)[0].replace("\n", " ")

    def _get_parameters(self) -> list[dict[str, Any]]:
        """Those of the base; a free string in the query holds no NUL (`nul.py`)."""
        parameters: list[dict[str, Any]] = super()._get_parameters()
        for parameter in parameters:
            schema = parameter["schema"]
            if parameter["in"] == "query" and schema.get("type") == "string" and "enum" not in schema:
                parameter["schema"] = {"pattern": "^[^\\u0000]*$", **schema}
        return parameters

    def _get_response_bodies(self, direction: Literal["request", "response"] = "response") -> dict[str, Any]:
        bodies: dict[str, Any] = super()._get_response_bodies(direction)
        if getattr(self.view, "describes_own_errors", False):
            return bodies
        described = {**ERRORS, **(BODY_ERRORS if self.method in WITH_BODY else {})}
        errors = {code: self._get_response_for_code(error, code) for code, error in described.items()}  # type: ignore[no-untyped-call]
        return errors | bodies


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Tells the OpenAPI document how a key is presented."""

    target_class = "routing_app.core.rest.auth.ApiKeyAuthentication"
    name = ["apiKey", "bearer"]  # noqa: RUF012 - the base class declares it so

    def get_security_definition(self, auto_schema: Any) -> list[dict[str, str]]:
        """A header, or a bearer token."""
        return [{"type": "apiKey", "in": "header", "name": "X-API-Key"}, {"type": "http", "scheme": "bearer"}]
