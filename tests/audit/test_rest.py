"""Every REST call that changes something, or is refused, has an entry: who, what, and how it ended."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client, RequestFactory
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from routing_app.core.access import keys
from routing_app.core.models import (
    AddressRule,
    AuditEntry,
    ConnectionRecord,
    Revocation,
    ScheduledMessage,
    WorkerRecord,
)
from routing_app.core.rest.router import AuditedRouter
from routing_app.events.models import Channel
from routing_app.rooms.models import Room
from routing_app.tokens.models import RegisteredToken
from tests.audit.conftest import CANARY

pytestmark = pytest.mark.django_db(transaction=True)

JSON: dict[str, Any] = {"content_type": "application/json"}
TOKEN = f"abc{CANARY}"
SHOP = "shop (sb_1f9Qx)"


@pytest.fixture
def rows() -> dict[str, Any]:
    """Rows to change, by a word for each."""
    worker = WorkerRecord.objects.create(id="0123456789abcdef", host="host", pid=1)
    connected = ConnectionRecord.objects.create(
        id=f"{worker.id}{0:012x}", worker=worker, protocol="tokens", connected_at="2026-11-29T00:00:00Z"
    )
    return {
        "token": RegisteredToken.objects.create(token=TOKEN).pk,
        "room": Room.objects.create(namespace="bus", name="one").pk,
        "rule": AddressRule.objects.create(pattern="room:bus/*", history_size=10).pk,
        "channel": Channel.objects.create(channel_id="lobby").channel_id,
        "client": connected.pk,
        "key": keys.issue("old", [])[0].pk,
        "revocation": Revocation.objects.create(network="10.9.0.0/16").pk,
        "scheduled": ScheduledMessage.objects.create(addresses=[], message=CANARY, at=timezone.now()).name,
    }


CHANGES = [
    ("post", "/api/tokens/", {"token": f"new{CANARY}"}, "create", r"tokens\.registeredtoken \d+"),
    ("patch", "/api/tokens/{token}/", {"enabled": False}, "change", "tokens.registeredtoken {token}"),
    ("put", "/api/tokens/{token}", {"token": TOKEN}, "change", "tokens.registeredtoken {token}"),
    ("delete", "/api/tokens/{token}/", None, "delete", "tokens.registeredtoken {token}"),
    ("post", "/api/rooms/", {"namespace": "bus", "name": "two"}, "create", r"rooms\.room \d+"),
    ("patch", "/api/rooms/{room}/", {"note": CANARY}, "change", "rooms.room {room}"),
    ("delete", "/api/rooms/{room}/", None, "delete", "rooms.room {room}"),
    ("post", "/api/rules/", {"pattern": "token:*", "history_size": 5}, "create", r"core\.addressrule \d+"),
    ("patch", "/api/rules/{rule}/", {"note": "x"}, "change", "core.addressrule {rule}"),
    ("delete", "/api/rules/{rule}/", None, "delete", "core.addressrule {rule}"),
    ("post", "/api/channels/", {"channel_id": "hall"}, "create", "events.channel hall"),
    ("patch", "/api/channels/{channel}/", {"note": "x"}, "change", "events.channel {channel}"),
    ("delete", "/api/channels/{channel}/", None, "delete", "events.channel {channel}"),
    ("post", "/api/revocations/", {"token": TOKEN, "reason": CANARY}, "create", r"core\.revocation \d+"),
    ("delete", "/api/revocations/{revocation}/", None, "delete", "core.revocation {revocation}"),
    ("delete", "/api/scheduled/{scheduled}/", None, "delete", "core.scheduledmessage {scheduled}"),
    (
        "post",
        "/api/limits/",
        {"protocol": "*", "command": "api", "per": "key", "rate": 99, "burst": 99, "then": "refuse"},
        "create",
        r"core\.ratelimit \d+",
    ),
    ("post", "/api/keys/", {"name": "new", "scopes": ["read"]}, "create", r"core\.apikey \d+"),
    ("delete", "/api/keys/{key}/", None, "delete", "core.apikey {key}"),
    (
        "post",
        "/api/disconnect",
        {"addresses": ["room:bus/one", f"token:{TOKEN}"], "reason": CANARY},
        "disconnect",
        r"room:bus/one, token:ab… \(16\)",
    ),
    (
        "post",
        "/api/issuers/",
        {"name": "login", "keys": [{"algorithm": "HS256", "secret": CANARY * 5}]},
        "create",
        r"core\.issuer \d+",
    ),
    ("post", "/api/clients/{client}/disconnect/", {}, "disconnect", "core.connectionrecord {client}"),
    ("delete", f"/api/history?address=token:{TOKEN}", None, "delete", r"token:ab… \(16\)"),
    (
        "post",
        "/",
        {"method": "registerToken", "token": TOKEN},
        "registerToken",
        r"tokens\.registeredtoken ab… \(16\)",
    ),
    (
        "post",
        "/api/",
        {"method": "unregisterToken", "token": TOKEN},
        "unregisterToken",
        r"tokens\.registeredtoken ab… \(16\)",
    ),
]


@pytest.mark.parametrize(
    ("method", "path", "body", "action", "target"), CHANGES, ids=[f"{one[0]} {one[1]}" for one in CHANGES]
)
def test_a_change_has_an_entry(
    api: Client, rows: dict[str, Any], method: str, path: str, body: Any, action: str, target: str
) -> None:
    if "history" in path:
        AddressRule.objects.create(pattern="token:*", history_size=3)
    path = path.format(**rows)

    answer = getattr(api, method)(path, body, **JSON)

    assert answer.status_code < 300, answer.content
    [entry] = AuditEntry.objects.all()
    assert (entry.actor, entry.actor_kind, entry.action) == (SHOP, "key", action)
    assert re.fullmatch(target.format(**rows) if "{" in target else target, entry.target)
    assert (entry.outcome, entry.network, entry.request_id) == ("ok", "127.0.0.1", "")
    assert_no_canary()


def assert_no_canary() -> None:
    """Look into every column of every entry."""
    for values in AuditEntry.objects.values_list():
        assert CANARY.lower() not in repr(values).lower()


def test_a_change_that_cannot_be_recorded_does_not_happen(
    api: Client, rows: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("the database is full")

    monkeypatch.setattr("routing_app.core.rest.router.record", fail)

    with pytest.raises(RuntimeError):
        api.delete(f"/api/tokens/{rows['token']}/")

    assert RegisteredToken.objects.filter(pk=rows["token"]).exists()


def test_a_change_and_its_entry_are_one_transaction(
    api: Client, rows: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    real = AuditEntry.objects.bulk_create

    def look(*args: Any, **kwargs: Any) -> Any:
        seen.append(connection.in_atomic_block)
        return real(*args, **kwargs)

    monkeypatch.setattr(AuditEntry.objects, "bulk_create", look)

    api.delete(f"/api/rooms/{rows['room']}/")

    assert seen == [True]


@pytest.mark.parametrize(
    ("path", "body", "status", "action"),
    [
        ("/api/tokens/", {"token": ""}, 400, "create"),
        ("/api/tokens/", "{", 400, "create"),
        ("/api/rooms/99999/publish/", {"message": CANARY}, None, ""),
        ("/api/clients/", {}, 405, "change"),
        ("/api/nonsense", {"secret": CANARY}, 404, "change"),
        ("/", {"method": "registerToken"}, 400, "registerToken"),
        ("/", {"method": "nonsense"}, 400, "call"),
        ("/", {}, 400, "call"),
        ("/", "{", 400, "call"),
    ],
)
def test_a_change_that_is_not_accepted_has_an_entry(
    api: Client, path: str, body: Any, status: int | None, action: str
) -> None:
    answer = api.post(path, body, **JSON)

    found = list(AuditEntry.objects.values_list("actor", "action", "outcome"))
    if status is None:  # a publish that is wrong is the publisher's matter
        assert found == []
    else:
        assert answer.status_code == status
        # Where nobody knows what is asked for, nobody asks who does.
        unknown = action == "call" or "nonsense" in path
        assert found == [("" if unknown else SHOP, action, f"refused: {status}")]
    assert_no_canary()


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("get", "/api/tokens/", None),
        ("get", "/api/clients/", None),
        ("get", "/api/tokens/99999/", None),
        ("post", "/api/publish", {"addresses": ["token:abc"], "message": CANARY}),
        ("post", "/api/publish", {"message": CANARY}),
        ("post", "/api/publish/batch", {"messages": []}),
        ("post", "/", {"method": "broadcast", "message": f"abc|{CANARY}"}),
        ("post", "/", {"method": "get_clients"}),
        ("get", "/?method=nonsense", None),
        ("post", "/bus-message/one", {"a": 1}),
        ("post", "/user/login", {"email": "a@example.com", "password": CANARY}),
        ("post", "/sessions", {}),
    ],
)
def test_reading_and_publishing_and_clients_have_none(api: Client, method: str, path: str, body: Any) -> None:
    getattr(api, method)(path, body, **({} if method == "get" else JSON))

    assert not AuditEntry.objects.exists()


def documented(client: Client) -> list[tuple[str, str]]:
    """Every method and path of operators' REST."""
    paths = client.get("/api/schema/?format=json").json()["paths"]
    return [
        (method, path)
        for path, methods in paths.items()
        if path.startswith("/api/") and not path.startswith("/api/stream")
        for method in methods
        if method in {"get", "post", "put", "patch", "delete"}
    ]


def test_every_call_that_is_refused_has_an_entry(reader: Client) -> None:
    """Over all paths that there are: those that come later, too."""
    calls = documented(reader)
    assert len(calls) > 30
    for number, (method, template) in enumerate(calls):
        path = re.sub("{[^}]*}", "1" * 8, template)
        AuditEntry.objects.all().delete()

        answer = getattr(reader, method)(
            path,
            {} if method != "get" else None,
            **({} if method == "get" else JSON),
            REMOTE_ADDR=f"10.0.0.{number}",
        )

        assert answer.status_code in {401, 403}, (method, path)
        [entry] = AuditEntry.objects.all()
        assert entry.outcome == f"refused: {answer.status_code}"
        assert (entry.actor, entry.actor_kind) == ("reader (sb_reade)", "key"), (method, path)
        assert entry.action
        assert entry.target
        assert entry.network == f"10.0.0.{number}"
        assert (entry.action == "read") == (method == "get")
        assert_no_canary()


@pytest.mark.parametrize("path", ["/api/tokens/", "/api/publish", "/metrics", "/api/audit"])
def test_a_wrong_key_is_nobody(path: str) -> None:
    client = Client(headers={"X-API-Key": f"wrong{CANARY}wrong"})
    answer = client.post(path, {}, **JSON) if path == "/api/publish" else client.get(path)

    assert answer.status_code == 401
    [entry] = AuditEntry.objects.all()
    assert (entry.actor, entry.actor_kind, entry.outcome) == ("", "nobody", "refused: 401")
    assert_no_canary()


def test_a_staff_session_is_its_user(anna: Client) -> None:
    anna.post("/api/rooms/", {"namespace": "bus", "name": "one"}, **JSON)

    [entry] = AuditEntry.objects.all()
    assert (entry.actor, entry.actor_kind, entry.action) == ("anna", "user", "create")


def test_a_user_without_rights_is_named(client: Client) -> None:
    client.force_login(User.objects.create(username="ben"))
    client.post("/api/rooms/", {"namespace": "bus", "name": "one"}, **JSON)

    [entry] = AuditEntry.objects.all()
    assert (entry.actor, entry.actor_kind, entry.outcome) == ("ben", "user", "refused: 403")


class Things(ViewSet):
    """A viewset without a model, as an app of somebody else may have one."""

    permission_classes = ()

    def create(self, request: Request) -> Response:
        return Response({"id": 5}, 201)

    def destroy(self, request: Request, pk: str) -> Response:
        return Response(status=204)


def test_a_viewset_without_a_model_goes_by_its_path() -> None:
    router = AuditedRouter()
    router.register("things", Things, basename="thing")
    urls: list[Any] = list(router.urls)
    views = {url.name: url.callback for url in urls}

    views["thing-list"](RequestFactory().post("/things/"))
    views["thing-detail"](RequestFactory().delete("/things/7/"), pk="7")

    rows = AuditEntry.objects.order_by("id").values_list("action", "target")
    assert list(rows) == [("create", "/things/"), ("delete", "/things/7/")]
