"""No NUL makes the admin or the REST side fail: not in a path, a query, a form or a cookie."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.views.main import SEARCH_VAR
from django.contrib.auth import get_user_model
from django.db import models
from django.test import Client
from django.urls import reverse

from routing_app.core.access import keys

pytestmark = pytest.mark.django_db

REGISTERED = {model._meta.label: model for model in admin.site._registry}


NAMES = ("search", "protocol", "address", "namespace", "source", "enabled", "page", "page_size", "a%00")


def columns(model: type[models.Model]) -> list[str]:
    return [field.name for field in model._meta.get_fields() if isinstance(field, models.Field)]


def queries(model: type[models.Model]) -> Iterator[dict[str, str]]:
    """Everything that a list may be asked by."""
    for name in ("pk", *columns(model)):
        for lookup in ("", "__exact", "__in", "__contains", "__id__exact"):
            yield {f"{name}{lookup}": "a,\0" if lookup == "__in" else "\0"}
    for name in (SEARCH_VAR, "o", "p", "all", "e", "_popup", "_to_field", "_changelist_filters", "a\0b"):
        yield {name: "\0"}


@pytest.fixture
def staff(client: Client) -> Client:
    client.force_login(get_user_model().objects.create_superuser("op"))
    return client


@pytest.mark.parametrize("model", REGISTERED.values(), ids=REGISTERED)
def test_no_list_fails(staff: Client, model: type[models.Model]) -> None:
    path = reverse(admin_name(model, "changelist"))
    assert staff.get(path).status_code == 200
    answers = {tuple(query): staff.get(path, query).status_code for query in queries(model)}

    assert answers
    assert set(answers.values()) == {400}


@pytest.mark.parametrize("model", REGISTERED.values(), ids=REGISTERED)
@pytest.mark.parametrize("page", ["change", "delete", "history"])
@pytest.mark.parametrize("id", ["\0", "a\0b"], ids=["NUL", "within"])
def test_no_page_of_an_object_fails(staff: Client, model: type[models.Model], page: str, id: str) -> None:
    path = reverse(admin_name(model, page), args=["ID"]).replace("ID", id.replace("\0", "%00"))

    for answer in (staff.get(path), staff.post(path, {"post": "yes"})):
        assert answer.status_code == 400


@pytest.mark.parametrize("model", REGISTERED.values(), ids=REGISTERED)
def test_no_action_fails(staff: Client, model: type[models.Model]) -> None:
    path = reverse(admin_name(model, "changelist"))
    for action in ("delete_selected", *map(str, admin.site._registry[model].actions or ()), "\0"):
        for form in ({ACTION_CHECKBOX_NAME: "\0"}, {ACTION_CHECKBOX_NAME: ["1", "a\0"], "index": "0"}):
            assert staff.post(path, {"action": action, **form}).status_code == 400


@pytest.mark.parametrize(
    "path",
    [
        "/admin/?next=%00",
        "/admin/login/?next=%00",
        "/admin/jsi18n/?a=%00",
        "/admin/autocomplete/?term=%00&app_label=events&model_name=channel&field_name=members",
        "/admin/events/root/send/?ids=%00",
        "/admin/events/channel/send/?row=%00",
        "/admin/r/%00/1/",
        "/admin/no%00where/",
    ],
)
def test_no_other_page_of_the_admin_fails(staff: Client, path: str) -> None:
    assert staff.get(path).status_code in {400, 404}


@pytest.mark.parametrize(
    "path",
    [
        *(f"{rows}/?{name}=%00" for rows in ("clients", "rooms", "channels", "tokens") for name in NAMES),
        "channels/%00/",
        "channels/a%00b",
    ],
)
def test_no_filter_of_rest_fails(client: Client, path: str) -> None:
    _, plain = keys.issue("tester", ["read", "manage", "publish"])
    answer = client.get(f"/api/{path}", headers={"X-API-Key": plain})

    assert (answer.status_code, list(answer.json())) == (400, ["detail"])


@pytest.mark.parametrize("path", ["/admin/", "/api/clients/", "/", "/console/"])
def test_no_cookie_fails(client: Client, path: str) -> None:
    answer: Any = client.get(path, headers={"Cookie": 'sessionid="aaaaaaaa\\000aaaaaaaa"'})

    assert answer.status_code == 400


def admin_name(model: type[models.Model], page: str) -> str:
    return f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}"
