"""Every path below `/api/`: nobody is let in without a credential, and nobody without the right for it."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from drf_spectacular.generators import SchemaGenerator

from routing_app.core.access import keys
from routing_app.core.models import Scope

pytestmark = pytest.mark.django_db(transaction=True)

METHODS = ("get", "post", "put", "patch", "delete")
UNKNOWN = "987654321"
"""The id of no row."""
ELSEWHERE = "/api/stream"
"""Served without Django: its own tests ask it."""


@cache
def calls() -> list[tuple[str, str]]:
    """Every method of every path of the OpenAPI document, with some value for each parameter."""
    paths = SchemaGenerator().get_schema(request=None, public=True)["paths"]
    return [
        (method, re.sub(r"\{[^}]*\}", UNKNOWN, path))
        for path, methods in paths.items()
        if path.startswith("/api/") and path != ELSEWHERE
        for method in methods
        if method in METHODS
    ] + [("get", f"/api/?method={method}") for method in ("broadcast", "get_clients", "registerToken")]


SEVERAL = {
    path: [Scope.PUBLISH.value, Scope.MANAGE.value]
    for path in ("/api/scheduled/", f"/api/scheduled/{UNKNOWN}/")
}
"""Paths of what a caller has made itself, and of what it may manage."""


def ask(client: Client, method: str, path: str) -> int:
    more: dict[str, Any] = {"data": "{}", "content_type": "application/json"}
    body = {} if method in ("get", "delete") else more
    return int(getattr(client, method)(path, **body).status_code)


def by_key(*scopes: str) -> Client:
    return Client(headers={"X-API-Key": keys.issue("key", scopes)[1]})


def logged_in(*permissions: str, is_staff: bool = True, is_superuser: bool = False) -> Client:
    """A browser of a user."""
    user = User.objects.create(
        username=f"user {User.objects.count()}", is_staff=is_staff, is_superuser=is_superuser
    )
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def test_the_table_has_the_paths_that_are_served() -> None:
    paths = {path for _, path in calls()}
    assert {
        "/api/publish",
        f"/api/keys/{UNKNOWN}/",
        "/api/disconnect",
        f"/api/rooms/{UNKNOWN}/publish/",
    } <= paths
    assert len(calls()) > 40


def test_nothing_is_let_in_without_a_right() -> None:
    callers: dict[str, tuple[Client, set[int]]] = {
        "nobody": (Client(), {401}),
        "a wrong key": (Client(headers={"X-API-Key": "wrong"}), {401}),
        "a key without scopes": (by_key(), {403}),
        "staff without permissions": (logged_in(), {403}),
        "a user who is no staff": (logged_in(is_staff=False), {401, 403}),
    }
    wrong = [
        (name, method, path, status)
        for method, path in calls()
        for name, (client, expected) in callers.items()
        if (status := ask(client, method, path)) not in expected
    ]
    assert wrong == []


def test_each_call_has_one_scope_and_a_superuser_may_all() -> None:
    by_scope = {scope: by_key(scope) for scope in Scope.values}
    boss = logged_in(is_superuser=True)
    for method, path in calls():
        allowed = [scope for scope, client in by_scope.items() if ask(client, method, path) not in (401, 403)]
        assert allowed == SEVERAL.get(path, allowed[:1]), (method, path, allowed)
        assert allowed, (method, path)
        if "method=" not in path:  # a session sends by POST alone
            assert ask(boss, method, path) not in (401, 403), (method, path)


PERMISSIONS = [
    ("get", "/api/clients/", "view_connectionrecord"),
    ("post", "/api/clients/1/disconnect/", "change_connectionrecord"),
    ("post", "/api/disconnect", "change_connectionrecord"),
    ("post", "/api/publish", "publish"),
    ("post", "/api/publish/batch", "publish"),
    ("post", "/api/connections/1/send", "publish"),
    ("post", "/api/rooms/1/publish/", "publish"),
    ("get", "/api/history", "view_messages"),
    ("delete", "/api/history", "change_addressrule"),
    ("get", "/api/rules/", "view_addressrule"),
    ("post", "/api/rules/", "add_addressrule"),
    ("patch", "/api/rooms/1/", "change_room"),
    ("delete", "/api/tokens/1/", "delete_registeredtoken"),
    ("get", "/api/rooms/1/members/", "view_room"),
    ("delete", "/api/sessions/1/", "change_session"),
    ("get", "/api/sessions/history", "view_sessionevent"),
    ("get", "/api/sessions/usage", "view_sessionevent"),
    ("post", "/api/publishers/", "add_publisher"),
    ("patch", "/api/publishers/demo/limits/1/", "change_limit"),
    ("get", "/api/publishers/demo/keys/", "view_publisherkey"),
    ("post", "/api/keys/", "add_apikey"),
    ("delete", "/api/keys/1/", "delete_apikey"),
    ("get", "/metrics", "view_workerrecord"),
    ("get", "/?method=registeredTokenList", "view_registeredtoken"),
]


def test_a_call_needs_one_permission_of_the_staff() -> None:
    every = set(Permission.objects.values_list("codename", flat=True))
    for method, path, permission in PERMISSIONS:
        assert ask(logged_in(permission), method, path) not in (401, 403), (method, path)
        assert ask(logged_in(*every - {permission}), method, path) in (401, 403), (method, path)


def test_metrics_tell_the_unknown_from_those_without_the_right() -> None:
    callers = {
        Client(): 401,
        Client(headers={"X-API-Key": "wrong"}): 401,
        by_key(Scope.MANAGE): 403,
        by_key(Scope.READ): 200,
        logged_in("publish"): 403,
        logged_in("view_workerrecord", is_staff=False): 403,
        logged_in("view_workerrecord"): 200,
    }
    assert [ask(caller, "get", "/metrics") for caller in callers] == list(callers.values())
