"""An actor is named by its credential, and never by what is secret of it."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.test import RequestFactory

from routing_app.core.access.grants import NOBODY as NO_GRANT
from routing_app.core.access.grants import Grant, GrantKind
from routing_app.core.audit import actor
from routing_app.core.audit.actor import actor_of, actor_of_request
from routing_app.core.models import ApiKey
from tests.audit.conftest import CANARY

KEY = ApiKey(name="shop", prefix="sb_1f9Qx", digest=CANARY)
TOKEN = Grant(GrantKind.TOKEN, "Anna", issuer="login", subject="anna", jti="j-1")


@pytest.mark.parametrize(
    ("who", "kind", "name"),
    [
        (KEY, "key", "shop (sb_1f9Qx)"),
        (Grant(GrantKind.KEY, "shop", key_id=1, key_prefix="sb_1f9Qx"), "key", "shop (sb_1f9Qx)"),
        (TOKEN, "token", "login/anna"),
        (Grant(GrantKind.STAFF, "anna", session=CANARY), "user", "anna"),
        (User(username="anna", password=CANARY), "user", "anna"),
        (NO_GRANT, "nobody", ""),
        (AnonymousUser(), "nobody", ""),
        (None, "nobody", ""),
    ],
)
def test_a_credential_has_a_kind_and_a_name(who: Any, kind: str, name: str) -> None:
    assert actor_of(who) == (kind, name)


@pytest.mark.parametrize(
    ("noted", "of_rest", "of_django", "name"),
    [
        (KEY, None, AnonymousUser(), "shop (sb_1f9Qx)"),
        (None, TOKEN, AnonymousUser(), "login/anna"),
        (None, None, User(username="ben"), "ben"),
        (None, None, AnonymousUser(), ""),
        (None, None, None, ""),
    ],
)
def test_a_request_has_the_actor_that_its_view_has_found(
    noted: Any, of_rest: Any, of_django: Any, name: str
) -> None:
    request: Any = RequestFactory().get("/")
    if noted is not None:
        actor.presented(request, noted)
    request.auth = of_rest
    if of_django is not None:
        request.user = of_django

    assert actor_of_request(request).name == name
