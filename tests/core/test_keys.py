"""API keys: shown once, kept hashed, revoked for good; and who may call what with them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any, ClassVar

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.core import serializers
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory, force_authenticate
from rest_framework.views import APIView

from routing_app.core.access import keys
from routing_app.core.access.key_changes import revoke
from routing_app.core.models import ApiKey, Scope

pytestmark = pytest.mark.django_db


def test_a_key_is_shown_once_and_kept_as_a_hash():
    row, plain = keys.issue("phone")
    kept = serializers.serialize("json", ApiKey.objects.all())

    assert plain not in kept
    assert hashlib.sha256(plain.encode()).hexdigest() in kept
    assert plain.startswith(row.prefix)
    assert len(plain) - len(row.prefix) >= 32
    assert plain not in str(row) + repr(row)


def test_keys_are_long_and_never_the_same():
    plains = {keys.issue(f"key {number}")[1] for number in range(50)}

    assert len(plains) == 50
    assert min(map(len, plains)) >= 40


def test_a_key_is_found_by_its_whole_text_alone():
    row, plain = keys.issue("phone")
    found = keys.find(plain)

    assert found is not None
    assert found.pk == row.pk
    for wrong in (
        "",
        plain[:-1],
        plain + "x",
        plain.upper(),
        row.prefix,
        row.digest,
        " " + plain,
        "\ud800",
        "\x00",
    ):
        assert keys.find(wrong) is None


def test_a_revoked_key_is_found_no_more():
    row, plain = keys.issue("phone")
    other, kept = keys.issue("other")

    assert revoke([row]) == 1
    assert revoke([row]) == 0
    assert keys.find(plain) is None
    assert keys.find(kept) == other


def test_a_preset_key_is_taken_as_it_is_and_a_short_one_refused():
    preset = "0123456789abcdef"

    assert keys.issue("preset", plain=preset)[1] == preset
    assert keys.find(preset) is not None
    with pytest.raises(keys.KeyTooShort):
        keys.issue("short", plain=preset[:-1])
    assert ApiKey.objects.count() == 1


def test_its_last_use_is_noted_once_a_minute():
    row, plain = keys.issue("phone")
    keys.find(plain)
    row.refresh_from_db()
    first = row.last_used_at
    assert first is not None
    keys.find(plain)
    row.refresh_from_db()
    assert row.last_used_at == first

    ApiKey.objects.update(last_used_at=timezone.now() - timedelta(minutes=2))
    keys.find(plain)
    row.refresh_from_db()
    assert row.last_used_at is not None
    assert row.last_used_at >= first


# --- at the API -------------------------------------------------------------------------------------------


class Whoami(APIView):
    """Says who calls; publishing and the default scopes."""

    scopes: ClassVar = {"POST": Scope.PUBLISH}

    def get(self, request: Request) -> Response:
        return Response(str(request.user))

    post = put = get


view = Whoami.as_view()
requests = APIRequestFactory()


def call(method: str = "get", path: str = "/", user: Any = None, **headers: str) -> Response:
    request = getattr(requests, method)(path, headers=headers)
    if user is not None:
        force_authenticate(request, user)
    response = view(request)
    assert isinstance(response, Response)
    return response


CARRIERS: dict[str, Callable[[str], dict[str, str]]] = {
    "header": lambda plain: {"X-API-Key": plain},
    "bearer": lambda plain: {"Authorization": f"Bearer {plain}"},
    "bearer in any case": lambda plain: {"Authorization": f"bEARER  {plain} "},
    "query": lambda plain: {"path": f"/?key={plain}"},
}


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_key_may_travel_in_three_ways(carrier: str):
    _, plain = keys.issue("phone")

    answer = call(**CARRIERS[carrier](plain))
    assert (answer.status_code, answer.data) == (200, "phone")
    wrong = call(**CARRIERS[carrier]("wrong"))
    assert (wrong.status_code, wrong["WWW-Authenticate"]) == (401, "Bearer")
    assert "wrong" not in str(wrong.data).replace("wrong or revoked", "")


def test_without_a_key_or_with_a_revoked_one():
    row, plain = keys.issue("phone")
    revoke([row])

    assert call().status_code == 401
    assert call(Authorization="Basic dXNlcjpwYXNz").status_code == 401
    assert call(**{"X-API-Key": plain}).status_code == 401


@pytest.mark.parametrize(("headers", "status"), [({}, 200), ({"X-API-Key": "wrong"}, 401)])
def test_a_wrong_key_is_not_made_good_by_a_session(headers: dict[str, str], status: int):
    request = requests.get("/", headers=headers)
    request.user = User(username="staff", is_staff=True, is_superuser=True)

    assert view(request).status_code == status


@pytest.mark.parametrize(
    ("scopes", "allowed"),
    [
        ([], set()),
        ([Scope.READ], {"get", "head", "options"}),
        ([Scope.PUBLISH], {"post"}),
        ([Scope.MANAGE], {"put"}),
        (Scope.values, {"get", "head", "options", "post", "put"}),
        (["admin", "", "*"], set()),
    ],
)
def test_a_key_has_the_rights_of_its_scopes(scopes: list[str], allowed: set[str]):
    _, plain = keys.issue("phone", scopes)
    statuses = {
        method: call(method, **{"X-API-Key": plain}).status_code
        for method in ("get", "head", "options", "post", "put")
    }

    assert {method for method, status in statuses.items() if status == 200} == allowed
    assert {status for status in statuses.values() if status != 200} <= {403}


def test_a_superuser_may_do_everything_and_nobody_else_what_is_of_no_model():
    boss = User(username="boss", is_staff=True, is_superuser=True)
    gone = User(username="gone", is_staff=True, is_superuser=True, is_active=False)
    staff = User.objects.create_user("staff", is_staff=True)
    others = [staff, User(username="user", is_superuser=True), gone]
    for method in ("get", "post", "put"):
        assert call(method, user=boss).status_code == 200
        assert [call(method, user=other).status_code for other in others] == [403] * 3
        assert call(method, user=AnonymousUser()).status_code in (401, 403)
