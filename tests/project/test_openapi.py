"""The OpenAPI document says all of each path: its tag, examples that are valid, the shapes of errors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from django.urls import URLPattern, URLResolver, get_resolver, resolve
from drf_spectacular.generators import SchemaGenerator
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from routing_app.core.protocol import registered

pytestmark = pytest.mark.once

METHODS = ("get", "post", "put", "patch", "delete")
PAGES = ("admin/", "console/", "api/schema", "api/docs")
"""Paths that people open, or that describe the others."""
REST_OF = {"user/", "walker/", "walker/<str:name>", "api/"}
"""404 of the events protocol, for what is not an account's path, or not a walker; the form API once more."""

Operation = dict[str, Any]


@cache
def document() -> dict[str, Any]:
    """Made with the first test: every process of a run reads this module."""
    made: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)
    return made


@cache
def operations() -> dict[str, Operation]:
    """By method and path."""
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document()["paths"].items()
        for method, operation in methods.items()
        if method in METHODS
    }


def contents(operation: Operation) -> Iterator[tuple[str, dict[str, Any]]]:
    """The bodies of an operation: `body`, or a status, and its media type."""
    for media in operation.get("requestBody", {}).get("content", {}).values():
        yield "body", media
    for status, response in operation["responses"].items():
        for media in response.get("content", {}).values():
            yield status, media


def examples(media: dict[str, Any]) -> list[Any]:
    shown = [one["value"] for one in media.get("examples", {}).values()]
    return [*shown, media["example"]] if "example" in media else shown


def test_each_path_has_one_tag_that_the_document_explains() -> None:
    explained = {tag["name"] for tag in document()["tags"] if tag["description"]}

    assert {
        label: operation["tags"] for label, operation in operations().items() if len(operation["tags"]) != 1
    } == {}
    assert {tag for operation in operations().values() for tag in operation["tags"]} == explained
    named = [protocol for protocol in registered() if not protocol.of_operators]
    assert {protocol.openapi_tag or protocol.name for protocol in named} <= explained
    assert "api" not in explained


@pytest.mark.parametrize(
    ("path", "tag"),
    [
        ("GET /api/sessions/", "sessions"),
        ("POST /takeover", "sessions"),
        ("GET /api/publishers/{publisher}/limits/", "sessions"),
        ("GET /api/rooms/", "rooms"),
        ("POST /bus-message/{room}", "rooms"),
        ("GET /api/channels/", "events"),
        ("POST /user/login", "events"),
        ("POST /api/connections/{id}/send", "requests"),
        ("GET /api/tokens/", "tokens"),
        ("GET /", "tokens"),
    ],
)
def test_a_path_stands_under_its_protocol(path: str, tag: str) -> None:
    assert operations()[path]["tags"] == [tag]


def test_each_body_has_an_example() -> None:
    without = [
        f"{label} {where}"
        for label, operation in operations().items()
        for where, media in contents(operation)
        if not examples(media)
    ]
    assert without == []


def test_each_example_is_valid() -> None:
    wrong = [
        f"{label} {where}: {error.message}"
        for label, operation in operations().items()
        for where, media in contents(operation)
        for example in examples(media)
        for error in validator(media["schema"]).iter_errors(example)
    ]
    assert wrong == []


def validator(schema: dict[str, Any]) -> Any:
    whole = Resource.from_contents(document(), DRAFT202012)
    registry: Any = Registry().with_resource("urn:document", whole)
    return Draft202012Validator(_absolute(schema), registry=registry)


def _absolute(schema: Any) -> Any:
    """References to the document, as a schema outside of it has them."""
    if isinstance(schema, dict):
        return {
            key: f"urn:document{value}" if key == "$ref" else _absolute(value)
            for key, value in schema.items()
        }
    return [_absolute(value) for value in schema] if isinstance(schema, list) else schema


def test_each_operation_has_a_summary_and_the_shapes_of_its_errors() -> None:
    for label, operation in operations().items():
        assert operation.get("summary"), label
        errors = {status: response for status, response in operation["responses"].items() if status >= "400"}
        for status, response in errors.items():
            assert response["description"], (label, status)
            shapes = [media.get("schema") for media in response["content"].values()]
            assert all(shapes), (label, status)
            assert shapes, (label, status)
        if operation.get("security") not in (None, [], [{}]):
            assert "401" in errors, label
        assert errors or label in HEALTH, label


HEALTH = {"GET /healthz", "GET /healthcheck", "GET /health/live"}
"""Operations that have no way to fail that a caller could be told of."""


def test_every_path_that_is_served_is_in_the_document() -> None:
    documented = [re.sub(r"\{[^}]*\}", "1", path) for path in document()["paths"]]
    missing = [
        route
        for route, pattern in served(get_resolver().url_patterns)
        if not route.startswith(PAGES)
        and route not in REST_OF
        and not any(pattern.fullmatch(path[1:]) for path in documented)
    ]
    assert missing == []


def served(patterns: Any, before: str = "", expression: str = "") -> Iterator[tuple[str, re.Pattern[str]]]:
    for one in patterns:
        route = before + str(one.pattern).lstrip("^")
        whole = expression + one.pattern.regex.pattern.removeprefix("^").removeprefix("\\A")
        if isinstance(one, URLResolver):
            yield from served(one.url_patterns, route, whole)
        elif isinstance(one, URLPattern):
            yield route, re.compile(whole)


def test_what_is_described_in_pages_is_answered_in_pages() -> None:
    paged = {
        label.removeprefix("GET ")
        for label, operation in operations().items()
        for status, media in contents(operation)
        if status == "200" and "/Paginated" in media.get("schema", {}).get("$ref", "")
    }

    assert len(paged) > 15
    # A list of one object is made by a view that has no pages.
    assert {path for path in paged if not hasattr(view_of(path), "paginate_queryset")} == set()


def view_of(path: str) -> Any:
    """The class of the view that serves a path of the document."""
    view: Any = resolve(re.sub(r"\{\w+\}", "1", path)).func
    return view.cls
