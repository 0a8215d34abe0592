"""Tokens are whole for callers that may change them, and masked for all others, in every listing."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

from routing_app.core.access import keys
from routing_app.core.access.masking import SecretAccess, shown_address, shown_identity
from routing_app.core.models import ConnectionRecord, WorkerRecord
from routing_app.tokens import service
from routing_app.tokens.models import RegisteredToken, Source
from routing_app.tokens.wire import NO_TOKEN

pytestmark = pytest.mark.django_db(transaction=True)

SECRET = "secret-token-of-a-client"
ALIKE = "secret/token/of/a/client"
MASKED = "se… (24)"
VIEW = ("tokens.view_registeredtoken", "core.view_connectionrecord")
CHANGE = (*VIEW, "tokens.change_registeredtoken")

CALLERS: dict[str, tuple[bool, bool]] = {
    "a key that may all": (True, True),
    "a key that may only read": (True, False),
    "staff that may change tokens": (False, True),
    "staff that may not": (False, False),
}
"""Is it a key, and does it see tokens?"""


def caller(key: bool, sees: bool) -> Client:
    if key:
        _, plain = keys.issue("caller", ["manage", "read"] if sees else ["publish", "read"])
        return Client(headers={"X-API-Key": plain})
    user = User.objects.create(username="anna", is_staff=True)
    for permission in CHANGE if sees else VIEW:
        app, codename = permission.split(".")
        user.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def connected() -> list[ConnectionRecord]:
    """A client with a token, one without, and one of another protocol."""
    service.add(SECRET, Source.API)
    service.add(ALIKE, Source.API, note="the other")
    worker = WorkerRecord.objects.create(id="0123456789abcdef", host="host", pid=1)
    return [
        ConnectionRecord.objects.create(
            id=f"{worker.id}{number:012x}",
            worker=worker,
            protocol=protocol,
            identity=identity,
            peer=f"10.0.0.1:{number}",
            connected_at=timezone.now(),
        )
        for number, (protocol, identity) in enumerate(
            [("tokens", SECRET), ("tokens", NO_TOKEN), ("events", "user-of-events")]
        )
    ]


def clients(asked: Client) -> Any:
    rows = asked.get("/api/clients/").json()["results"]
    one = asked.get(f"/api/clients/{rows[-1]['id']}/").json()
    assert one in rows
    return {row["identity"] for row in rows if row["identity"][:2] == "se"} | {one["identity"]}


def tokens(asked: Client) -> Any:
    rows = asked.get("/api/tokens/").json()["results"]
    assert asked.get(f"/api/tokens/{rows[0]['id']}/").json() == rows[0]
    return {row["token"] for row in rows}


def form_clients(asked: Client) -> Any:
    rows = asked.get("/", {"method": "get_clients"}).json()
    assert rows["10.0.0.1:1"] == NO_TOKEN
    return {rows["10.0.0.1:0"]}


def form_tokens(asked: Client) -> Any:
    return set(asked.get("/", {"method": "registeredTokenList"}).json())


LISTINGS = {
    "/api/clients/": (clients, {SECRET}, {MASKED}),
    "/api/tokens/": (tokens, {SECRET, ALIKE}, {MASKED}),
    "get_clients": (form_clients, {SECRET}, {MASKED}),
    "registeredTokenList": (form_tokens, {SECRET, ALIKE}, {MASKED, f"{MASKED} #2"}),
}


@pytest.mark.parametrize("who", CALLERS.values(), ids=CALLERS)
@pytest.mark.parametrize("listing", LISTINGS.values(), ids=LISTINGS)
def test_a_listing_over_http(connected: Any, listing: Any, who: tuple[bool, bool]) -> None:
    ask, whole, masked = listing
    assert ask(caller(*who)) == (whole if who[1] else masked)


def test_an_identity_that_is_no_secret_is_not_masked(connected: Any) -> None:
    rows = caller(key=True, sees=False).get("/api/clients/?protocol=events").json()["results"]
    assert [row["identity"] for row in rows] == ["user-of-events"]


def test_every_user_of_an_open_form_api_sees_tokens(connected: Any, settings: Any) -> None:
    settings.TOKENS_API_OPEN = True
    assert form_tokens(Client()) == form_tokens(caller(key=True, sees=False)) == {SECRET, ALIKE}


@pytest.mark.parametrize("sees", [True, False])
@pytest.mark.parametrize("page", ["tokens/registeredtoken", "core/connectionrecord"])
def test_the_admin(connected: list[ConnectionRecord], page: str, sees: bool) -> None:
    staff = caller(key=False, sees=sees)
    row = connected[0] if "core" in page else RegisteredToken.objects.get(token=SECRET)
    for path in (f"/admin/{page}/", f"/admin/{page}/{row.pk}/change/"):
        answer = staff.get(path)
        assert answer.status_code == 200
        text = answer.content.decode()
        assert (SECRET in text) is sees
        assert sees or MASKED in text


@pytest.mark.parametrize("sees", [True, False])
def test_a_search_does_not_tell_the_characters_of_a_masked_token(connected: Any, sees: bool) -> None:
    staff = caller(key=False, sees=sees)
    for asked in (staff, caller(key=True, sees=sees)):
        assert asked.get("/api/tokens/?search=of-a-client").json()["count"] == int(sees)
        assert asked.get("/api/tokens/?search=the other").json()["count"] == 1
    for search, found in (("of-a-client", int(sees)), ("the other", 1)):
        page = staff.get("/admin/tokens/registeredtoken/", {"q": search})
        assert page.context["cl"].result_count == found


@pytest.mark.parametrize(
    "path",
    [
        "/admin/tokens/registeredtoken/?token__startswith=se",
        "/admin/core/connectionrecord/?identity__startswith=se",
    ],
)
def test_a_filter_does_not_tell_it_either(connected: Any, path: str) -> None:
    assert caller(key=False, sees=False).get(path).status_code == 400
    User.objects.all().delete()
    assert caller(key=False, sees=True).get(path).status_code == 200


def test_an_address_of_a_token_is_masked_as_the_token_is() -> None:
    manager, reader = SecretAccess(permissions=frozenset({CHANGE[-1]})), SecretAccess()
    assert shown_address(manager, f"token:{SECRET}") == f"token:{SECRET}"
    assert shown_address(reader, f"token:{SECRET}") == f"token:{MASKED}"
    assert shown_address(reader, "channel:open") == "channel:open"
    assert shown_address(manager, "unknown:kind") == "unknown:ki… (4)"
    assert shown_address(SecretAccess(everything=True), "unknown:kind") == "unknown:kind"
    assert shown_identity(reader, "tokens", "") == ""
