"""All that is done in the admin has its entries, and nobody changes one."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission, User
from django.test import Client

from routing_app.core.access import keys
from routing_app.core.audit import site
from routing_app.core.models import AddressRule, ApiKey, AuditEntry
from routing_app.events.models import Channel
from routing_app.rooms.models import Room
from routing_app.tokens.models import RegisteredToken
from tests.audit.conftest import CANARY
from tests.audit.test_rest import assert_no_canary

pytestmark = pytest.mark.django_db(transaction=True)


def acts() -> list[tuple[str, str]]:
    """(action, target) of all entries, the oldest first; each is anna's, and went well."""
    rows = AuditEntry.objects.order_by("id").values_list(
        "actor", "actor_kind", "outcome", "network", "action", "target"
    )
    assert {row[:4] for row in rows} <= {("anna", "user", "ok", "127.0.0.1")}
    assert_no_canary()
    return [row[4:] for row in rows]


def test_forms_that_make_change_and_delete_a_row(anna: Client) -> None:
    form = {"token": f"abc{CANARY}", "enabled": "on", "note": CANARY}
    anna.post("/admin/tokens/registeredtoken/add/", form)
    pk = RegisteredToken.objects.get().pk
    anna.post(f"/admin/tokens/registeredtoken/{pk}/change/", {"note": "other"})
    anna.post(f"/admin/tokens/registeredtoken/{pk}/delete/", {"post": "yes"})

    target = f"tokens.registeredtoken {pk}"
    assert acts() == [("create", target), ("change", target), ("delete", target)]


def test_a_form_with_errors_has_none(anna: Client) -> None:
    anna.post("/admin/tokens/registeredtoken/add/", {"token": ""})
    anna.post("/admin/tokens/registeredtoken/add-many/", {"tokens": ""})
    anna.get("/admin/tokens/registeredtoken/")

    assert acts() == []


def select(anna: Client, model: str, action: str, rows: list[Any], **fields: str) -> int:
    """Do an action of the list of a model on rows."""
    data = {"action": action, "_selected_action": [row.pk for row in rows], **fields}
    status: int = anna.post(f"/admin/{model}/", data).status_code
    return status


def test_an_action_has_an_entry_for_each_row(anna: Client) -> None:
    rows = [RegisteredToken.objects.create(token=f"{CANARY}{number}") for number in range(3)]

    select(anna, "tokens/registeredtoken", "disable", rows[:2])
    select(anna, "tokens/registeredtoken", "disconnect", rows[2:])

    targets = [f"tokens.registeredtoken {row.pk}" for row in rows]
    found = acts()
    assert sorted(found[:2]) == [("disable", targets[0]), ("disable", targets[1])]
    assert found[2:] == [("disconnect", targets[2])]


def test_many_rows_are_counted(anna: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site, "MAX_TARGETS", 2)
    rows = [Room.objects.create(namespace="bus", name=str(number)) for number in range(5)]

    select(anna, "rooms/room", "disconnect_members", rows)
    assert [action for action, _ in acts()] == ["disconnect_members"] * 3
    assert acts()[-1][1] == "rooms.room: 3 more"

    AuditEntry.objects.all().delete()
    select(anna, "rooms/room", "delete_selected", rows, post="yes")
    assert [action for action, _ in acts()] == ["delete"] * 3
    assert acts()[-1][1] == "rooms.room: 3 more"


def test_a_page_that_asks_first_has_none_until_it_is_done(anna: Client) -> None:
    room = Room.objects.create(namespace="bus", name="one")

    assert select(anna, "rooms/room", "delete_selected", [room]) == 200
    assert select(anna, "rooms/room", "send_message", [room]) == 200
    assert acts() == []

    select(anna, "rooms/room", "send_message", [room], message=CANARY)
    select(anna, "rooms/room", "delete_selected", [room], post="yes")
    assert acts() == [("send_message", f"rooms.room {room.pk}"), ("delete", f"rooms.room {room.pk}")]


def test_pages_of_their_own(anna: Client) -> None:
    Channel.objects.create(channel_id="lobby")
    anna.post("/admin/tokens/registeredtoken/add-many/", {"tokens": f"a{CANARY}, b{CANARY}"})
    anna.post("/admin/events/channel/send/", {"channel_id": "lobby", "message": f'"{CANARY}"'})
    anna.post("/admin/events/channel/send/", {"channel_id": "lobby", "message": "no JSON"})

    assert acts() == [
        ("tokens_add_many", "/admin/tokens/registeredtoken/add-many/"),
        ("events_channel_send", "/admin/events/channel/send/"),
    ]


def test_keys_are_made_and_revoked_without_a_trace_of_them(anna: Client) -> None:
    anna.post("/admin/core/apikey/add/", {"name": "shop", "scopes": ["read"], "addresses": "[]"})
    key = ApiKey.objects.get()
    select(anna, "core/apikey", "revoke", [key])

    assert acts() == [("create", f"core.apikey {key.pk}"), ("revoke", f"core.apikey {key.pk}")]


def test_users_their_passwords_and_their_permissions(anna: Client) -> None:
    right = Permission.objects.get(codename="view_auditentry")
    password = {"password1": f"{CANARY}-new-1", "password2": f"{CANARY}-new-1"}
    anna.post("/admin/auth/user/add/", {"username": "ben", "usable_password": "true", **password})
    ben = User.objects.get(username="ben")
    joined = {"date_joined_0": "2026-11-29", "date_joined_1": "06:00:00"}
    form = {"username": "ben", "is_active": "on", "user_permissions": [right.pk], **joined}
    anna.post(f"/admin/auth/user/{ben.pk}/change/", form)
    anna.post(f"/admin/auth/user/{ben.pk}/password/", {"usable_password": "true", **password})
    anna.post("/admin/auth/group/add/", {"name": "guests", "permissions": [right.pk]})

    user, group = f"auth.user {ben.pk}", f"auth.group {Group.objects.get(name='guests').pk}"
    assert ben.user_permissions.get() == right
    assert acts() == [("create", user), ("change", user), ("change", user), ("create", group)]


def test_ones_own_password(anna: Client) -> None:
    new = {"new_password1": f"{CANARY}-new-2", "new_password2": f"{CANARY}-new-2"}
    anna.post("/admin/password_change/", {"old_password": "wrong", **new})
    anna.post("/admin/password_change/", {"old_password": f"{CANARY}-of-anna", **new})

    assert acts() == [("password_change", "/admin/password_change/")]


def test_log_ins(client: Client) -> None:
    anna = User.objects.create_superuser("anna", password=f"{CANARY}-of-anna")
    for name, password in [("anna", "wrong"), (CANARY, "wrong"), ("anna", f"{CANARY}-of-anna")]:
        client.post("/admin/login/", {"username": name, "password": password})
    client.post("/admin/logout/")

    rows = AuditEntry.objects.order_by("id").values_list("actor", "actor_kind", "action", "target", "outcome")
    target, wrong = f"auth.user {anna.pk}", "refused: wrong name or password"
    assert list(rows) == [
        ("", "nobody", "login", target, wrong),
        ("", "nobody", "login", "auth.user: Ca… (13)", wrong),
        ("anna", "user", "login", target, "ok"),
        ("anna", "user", "logout", target, "ok"),
    ]
    assert_no_canary()


def test_pages_without_the_permission(client: Client) -> None:
    client.force_login(User.objects.create(username="ben", is_staff=True))
    client.get("/admin/core/apikey/")
    client.post("/admin/core/apikey/add/", {"name": CANARY})

    rows = AuditEntry.objects.order_by("id").values_list("actor", "action", "target", "outcome")
    assert list(rows) == [
        ("ben", "read", "/admin/core/apikey/", "refused: 403"),
        ("ben", "change", "/admin/core/apikey/add/", "refused: 403"),
    ]


def test_the_log_can_be_searched_and_not_written(anna: Client) -> None:
    entry = AuditEntry.objects.create(action="create", target="rooms.room 1", actor_kind="nobody")
    base = "/admin/core/auditentry/"

    page = anna.get(f"{base}?q=rooms.room+1&actor_kind__exact=nobody").content.decode()
    assert "rooms.room 1" in page
    assert "delete_selected" not in page
    assert anna.get(f"{base}{entry.pk}/change/").status_code == 200
    assert anna.post(f"{base}{entry.pk}/change/", {"action": "x"}).status_code == 403
    assert anna.post(f"{base}{entry.pk}/delete/", {"post": "yes"}).status_code == 403
    assert anna.post(f"{base}add/", {}).status_code == 403
    select(anna, "core/auditentry", "delete_selected", [entry], post="yes")
    assert AuditEntry.objects.get(pk=entry.pk).action == "create"


def test_every_model_of_the_admin_is_recorded() -> None:
    assert len(admin.site._registry) > 10
    assert all(isinstance(one, site._AuditedAdmin) for one in admin.site._registry.values())


def test_an_entry_and_its_change_are_one_transaction(anna: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = AddressRule.objects.create(pattern="room:bus/*", history_size=10)

    def fail(*_: Any) -> None:
        raise RuntimeError("the database is full")

    monkeypatch.setattr(site, "keep", fail)
    with pytest.raises(RuntimeError):
        anna.post(f"/admin/core/addressrule/{rule.pk}/delete/", {"post": "yes"})
    with pytest.raises(RuntimeError):
        select(anna, "core/addressrule", "delete_selected", [rule], post="yes")

    assert AddressRule.objects.filter(pk=rule.pk).exists()
    assert keys.find("none") is None
