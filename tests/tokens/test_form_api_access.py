"""Access to the form API: keys by scope, staff sessions with CSRF tokens, everybody where it is open."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError
from django.test import Client

from routing_app.core.access import keys
from routing_app.core.access.key_changes import revoke
from routing_app.core.models import ApiKey
from routing_app.tokens.models import RegisteredToken

pytestmark = pytest.mark.django_db(transaction=True)

REGISTER = {"method": "registerToken", "token": "abc1"}
SCOPES = {
    "broadcast": "publish",
    "get_clients": "read",
    "registeredTokenList": "read",
    "registerToken": "manage",
    "unregisterToken": "manage",
}


def call_with_key(key: str, method: str) -> Any:
    fields = {"method": method, "message": "abc1|x", "token": "abc1"}
    return Client().get("/", fields, headers={"X-API-Key": key} if key else {})


# --- keys ------------------------------------------------------------------------------------------------


def test_decision_17_no_key_wrong_key_revoked_key() -> None:
    row, revoked = keys.issue("revoked")
    assert call_with_key(revoked, "registeredTokenList").status_code == 200
    revoke([row])

    replies = [call_with_key(key, "registeredTokenList") for key in ("", "wrong", revoked)]

    assert [reply.status_code for reply in replies] == [401] * 3
    assert [reply["WWW-Authenticate"] for reply in replies] == ["Bearer"] * 3
    assert [reply.json()["error"] for reply in replies] == [
        "an API key is needed: X-API-Key, Authorization: Bearer, or the field key",
        "the API key is wrong or revoked",
        "the API key is wrong or revoked",
    ]


@pytest.mark.parametrize("method", SCOPES)
def test_key_needs_the_scope_of_the_method(method: str) -> None:
    for scope in ("publish", "read", "manage"):
        _, key = keys.issue(scope, [scope])
        reply = call_with_key(key, method)
        if scope == SCOPES[method]:
            assert reply.status_code == 200
        else:
            assert reply.status_code == 403
            assert reply.json() == {"error": f"the API key lacks the scope {SCOPES[method]}"}


def test_open_api_needs_no_key_and_still_refuses_a_wrong_one(settings: Any) -> None:
    settings.TOKENS_API_OPEN = True
    _, reader = keys.issue("reader", ["read"])

    assert [call_with_key("", method).status_code for method in SCOPES] == [200] * 5
    assert [call_with_key(reader, method).status_code for method in SCOPES] == [200] * 5
    assert [call_with_key("wrong", method).status_code for method in SCOPES] == [401] * 5


def test_database_that_does_not_answer_is_a_503(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(plain: str) -> ApiKey:
        raise OperationalError("connection refused")

    monkeypatch.setattr(keys, "find", find)

    reply = call_with_key("any", "get_clients")

    assert (reply.status_code, reply.json()) == (503, {"error": "the database does not answer"})


def test_unknown_method_needs_no_key_to_be_told() -> None:
    assert call_with_key("", "no such method").status_code == 400
    assert not ApiKey.objects.exists()


# --- sessions --------------------------------------------------------------------------------------------


@pytest.fixture
def staff() -> Client:
    """A browser of an operator that checks CSRF tokens as a real one is checked."""
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_superuser("anna"))
    return client


def csrf_token(client: Client) -> str:
    client.get("/admin/password_change/")
    return client.cookies["csrftoken"].value


def test_session_may_read(staff: Client) -> None:
    assert staff.get("/?method=registeredTokenList").json() == {}
    assert staff.get("/?method=get_clients").json() == {}


def test_decision_17_session_changes_nothing_by_get(staff: Client) -> None:
    replies = [
        staff.get("/", REGISTER),
        staff.get("/?method=unregisterToken&token=abc1"),
        staff.get("/?method=broadcast&message=abc1|x"),
    ]

    assert [reply.status_code for reply in replies] == [403] * 3
    assert not RegisteredToken.objects.exists()


def test_decision_17_session_needs_a_csrf_token(staff: Client) -> None:
    token = csrf_token(staff)

    assert staff.post("/", REGISTER).status_code == 403
    assert staff.post("/", REGISTER, headers={"X-CSRFToken": "x" * 32}).status_code == 403
    assert not RegisteredToken.objects.exists()

    header = {"X-CSRFToken": token}
    assert staff.post("/", REGISTER, headers=header).status_code == 200
    assert staff.post("/", {**REGISTER, "csrfmiddlewaretoken": token}).status_code == 200
    assert staff.post("/", REGISTER, content_type="application/json", headers=header).status_code == 200
    assert RegisteredToken.objects.get().token == "abc1"


@pytest.mark.parametrize(("is_staff", "is_active"), [(False, True), (True, False)])
def test_other_users_have_no_access(is_staff: bool, is_active: bool) -> None:
    client = Client()
    client.force_login(User.objects.create_user("bob", is_staff=is_staff, is_active=is_active))

    assert client.get("/?method=get_clients").status_code == 401


def test_wrong_key_beats_a_good_session(staff: Client) -> None:
    assert staff.get("/?method=get_clients", headers={"X-API-Key": "wrong"}).status_code == 401
