"""Views without Django's request cycle answer as Django's own view does."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest
from asgiref.sync import sync_to_async
from channels.testing import HttpCommunicator
from django.contrib.auth.models import User
from django.core.asgi import get_asgi_application
from django.db import OperationalError
from django.test import Client
from django.utils import timezone

from routing_app.core.access import keys, known_keys
from routing_app.core.access.key_changes import revoke
from routing_app.core.access.known_keys import KnownKeys
from routing_app.core.delivery.publication import Publication
from routing_app.core.models import ApiKey
from routing_app.core.publishing import Outcome
from routing_app.core.rest.fast import FastHeaders, FastViews
from routing_app.core.worker import current_worker, drop_worker

pytestmark = pytest.mark.django_db(transaction=True)

JSON = [(b"content-type", b"application/json")]
FORM = [(b"content-type", b"application/x-www-form-urlencoded")]
GOOD = {"addresses": ["token:abc1", "token:group/"], "message": {"a": [1, None, "é"]}}

PUBLISH: list[Any] = [
    GOOD,
    {**GOOD, "message": None},
    {**GOOD, "extra": 1},
    {"addresses": ["token:abc1"]},
    {"message": 1},
    {**GOOD, "addresses": []},
    {**GOOD, "addresses": "token:abc1"},
    {**GOOD, "addresses": [1]},
    {**GOOD, "addresses": ["nonsense"]},
    {**GOOD, "addresses": ["customer:a/b"]},
    {**GOOD, "addresses": [f"token:{n}" for n in range(1001)]},
    [],
    "text",
    None,
    float("nan"),
    {**GOOD, "message": float("inf")},
]


class Counting:
    """Django, and how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self._django = get_asgi_application()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked += 1
        await self._django(scope, receive, send)


@pytest.fixture
def django() -> Counting:
    return Counting()


@pytest.fixture
def fast(django: Counting) -> FastViews:
    return FastViews(django, "routing_app.broker.fast_urls")


@pytest.fixture
async def key():
    _, plain = await sync_to_async(keys.issue)("tester")
    yield plain
    await current_worker().stop()
    drop_worker()


async def ask(application: Any, method: str, path: str, body: bytes, headers: list[Any]) -> tuple[int, Any]:
    answer = await response(application, method, path, body, headers)
    return answer["status"], json.loads(answer["body"]) if answer["body"] else None


async def response(application: Any, method: str, path: str, body: bytes, headers: list[Any]) -> Any:
    """Status, headers and body as ASGI has them."""
    headers = [(b"host", b"testserver"), (b"content-length", str(len(body)).encode()), *headers]
    communicator = HttpCommunicator(application, method, path, body, headers)
    answer = await communicator.get_response(timeout=60)
    await communicator.wait()
    return answer


@pytest.mark.parametrize("data", PUBLISH, ids=lambda data: json.dumps(data)[:40])
async def test_publishing_answers_the_same(fast: FastViews, django: Counting, key: str, data: Any):
    request = ("POST", "/api/publish", json.dumps(data).encode(), [*JSON, (b"x-api-key", key.encode())])
    plain = await ask(django, *request)
    assert await ask(fast, *request) == plain


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b"[" * 5000, b'{"addresses":["token:\\ud800"],"message":1}']
)
async def test_a_body_that_is_no_json_answers_the_same(
    fast: FastViews, django: Counting, key: str, body: bytes
):
    request = ("POST", "/api/publish", body, [*JSON, (b"x-api-key", key.encode())])
    assert await ask(fast, *request) == await ask(django, *request)


@pytest.mark.parametrize(
    "fields",
    [
        {"method": "broadcast", "message": "abc1,group/|Hello"},
        {"method": "broadcast", "message": "|nobody"},
        {"method": "broadcast", "message": "no bar"},
        {"method": "broadcast"},
        {"method": "get_clients"},
        {"method": "nonsense"},
        {},
    ],
)
@pytest.mark.parametrize("path", ["/", "/api/"])
async def test_the_form_api_answers_the_same(
    fast: FastViews, django: Counting, key: str, fields: dict[str, str], path: str
):
    body = urlencode(fields).encode()
    request = ("POST", path, body, [*FORM, (b"x-api-key", key.encode())])
    assert await ask(fast, *request) == await ask(django, *request)


async def test_no_proxy_may_keep_the_answer_to_a_broadcast_by_get(
    fast: FastViews, django: Counting, key: str
):
    """A caller that asked again would be told that it was sent."""
    path = "/?" + urlencode({"method": "broadcast", "message": "abc1|Hello"})
    answer = await response(fast, "GET", path, b"", [(b"x-api-key", key.encode())])

    assert answer["status"] == 200
    assert b"no-store" in dict(answer["headers"])[b"cache-control"]
    assert django.asked == 0


@pytest.mark.parametrize("presented", [b"", b"wrong-wrong-wrong-wrong", b"\xff\xfe"])
async def test_every_invalid_key_is_refused_the_same(
    fast: FastViews, django: Counting, key: str, presented: bytes
):
    request = ("POST", "/api/publish", json.dumps(GOOD).encode(), [*JSON, (b"x-api-key", presented)])
    status, body = await ask(fast, *request)
    assert status == 401
    assert (status, body) == await ask(django, *request)


async def test_a_key_without_the_scope_is_refused(fast: FastViews, key: str):
    _, reader = await sync_to_async(keys.issue)("reader", ["read"])
    headers = [*JSON, (b"x-api-key", reader.encode())]
    assert (await ask(fast, "POST", "/api/publish", json.dumps(GOOD).encode(), headers))[0] == 403


@pytest.mark.parametrize(
    ("method", "body", "kind", "status"),
    [
        ("POST", json.dumps(GOOD), b"application/json", 200),
        ("POST", json.dumps({**GOOD, "message": "m" * 300_000}), b"application/json; charset=utf-8", 200),
        ("POST", json.dumps(GOOD), b"text/plain", 415),
        ("POST", json.dumps({**GOOD, "message": "m" * 2_700_000}), b"application/json", 413),
        ("POST", "{", b"application/json", 400),
        ("GET", "", b"", 405),
    ],
    ids=["in order", "large", "no JSON by its type", "too large", "no JSON", "GET"],
)
async def test_django_is_not_asked(
    fast: FastViews, django: Counting, key: str, method: str, body: str, kind: bytes, status: int
):
    headers = [(b"content-type", kind), (b"x-api-key", key.encode())]
    request = (method, "/api/publish", body.encode(), headers)
    answer = await ask(fast, *request)
    assert answer[0] == status
    assert django.asked == 0
    assert await ask(django, *request) == answer


async def test_an_error_says_how_to_ask(fast: FastViews, key: str):
    unknown = await response(fast, "POST", "/api/publish", b"{}", JSON)
    other = await response(fast, "GET", "/api/publish", b"", [(b"x-api-key", key.encode())])
    assert dict(unknown["headers"])[b"www-authenticate"] == b"Bearer"
    assert dict(other["headers"])[b"allow"] == b"POST"


def cookies(**user: bool) -> list[Any]:
    """The headers of a browser that has logged in, but for the one with the CSRF token."""
    client = Client()
    client.force_login(User.objects.create(username="anna", **user))
    return [(b"cookie", f"sessionid={client.cookies['sessionid'].value}; csrftoken={CSRF}".encode())]


CSRF = "c" * 32
TOKEN = [(b"x-csrftoken", CSRF.encode())]


@pytest.mark.parametrize(
    ("user", "token", "published", "registered"),
    [
        ({"is_staff": True, "is_superuser": True}, TOKEN, 200, 200),
        ({"is_staff": True}, TOKEN, 403, 403),
        ({"is_staff": True}, [], 403, 403),
        ({"is_staff": True}, [(b"x-csrftoken", b"x" * 32)], 403, 403),
        ({"is_staff": False}, TOKEN, 403, 401),
        ({"is_staff": True, "is_active": False}, TOKEN, 401, 401),
    ],
    ids=["superuser", "staff without permission", "no CSRF token", "a wrong one", "no staff", "not active"],
)
async def test_a_session_is_judged_the_same(
    fast: FastViews, django: Counting, key: str, user: Any, token: Any, published: int, registered: int
):
    session = await sync_to_async(cookies)(**user)
    for path, body, kind, status in (
        ("/api/publish", json.dumps(GOOD), JSON, published),
        ("/", urlencode({"method": "registerToken", "token": "abc1"}), FORM, registered),
    ):
        request = ("POST", path, body.encode(), [*kind, *session, *token])
        answer = await ask(fast, *request)
        assert answer[0] == status
        assert django.asked == 0
        assert await ask(django, *request) in (answer, (status, {"ok": True, "changed": "nothing"}))
        django.asked = 0


async def test_a_nul_in_the_cookie_is_no_session(fast: FastViews, key: str):
    headers = [*JSON, (b"cookie", b'sessionid="aaaaaaaa\\000aaaaaaaa"')]
    assert (await ask(fast, "POST", "/api/publish", json.dumps(GOOD).encode(), headers))[0] == 401


async def test_a_revoked_key_is_refused_at_once_although_it_was_just_used(fast: FastViews, key: str):
    request = ("POST", "/api/publish", json.dumps(GOOD).encode(), [*JSON, (b"x-api-key", key.encode())])
    assert (await ask(fast, *request))[0] == 200
    await sync_to_async(lambda: revoke(ApiKey.objects.all()))()
    assert (await ask(fast, *request))[0] == 401


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("/api/publish", json.dumps(GOOD), JSON),
        ("/", urlencode({"method": "broadcast", "message": "abc1|Hello"}), FORM),
    ],
)
async def test_while_the_database_is_out_the_answer_is_503(
    fast: FastViews, key: str, monkeypatch: pytest.MonkeyPatch, path: str, body: str, headers: list[Any]
):
    def find(plain: str) -> ApiKey:
        raise OperationalError("connection refused")

    monkeypatch.setattr(keys, "find", find)
    headers = [*headers, (b"x-api-key", key.encode())]
    assert (await ask(fast, "POST", path, body.encode(), headers))[0] == 503


async def test_a_key_that_is_revoked_while_it_is_looked_up_is_not_remembered(
    key: str, monkeypatch: pytest.MonkeyPatch
):
    known = KnownKeys()
    look_up = keys.find

    def find_then_revoke(plain: str) -> ApiKey | None:
        row = look_up(plain)
        ApiKey.objects.update(revoked_at=timezone.now())
        known.forget(Publication((), None))
        return row

    with monkeypatch.context() as patched:
        patched.setattr(keys, "find", find_then_revoke)
        await known.find(key)
    assert await known.find(key) is None


@pytest.mark.parametrize("way", ["scopes", "delete", "delete_many"])
async def test_a_key_that_is_changed_in_the_admin_has_no_power_left_from_before(
    fast: FastViews, key: str, way: str
):
    request = ("POST", "/api/publish", json.dumps(GOOD).encode(), [*JSON, (b"x-api-key", key.encode())])
    assert (await ask(fast, *request))[0] == 200
    await sync_to_async(in_the_admin)(way)
    assert (await ask(fast, *request))[0] == (403 if way == "scopes" else 401)


def in_the_admin(way: str) -> None:
    """Take power from the only key."""
    client = Client()
    client.force_login(User.objects.create(username="boss", is_staff=True, is_superuser=True))
    pk = ApiKey.objects.get().pk
    posts = {
        "scopes": (f"{pk}/change/", {"name": "tester", "scopes": ["read"]}),
        "delete": (f"{pk}/delete/", {"post": "yes"}),
        "delete_many": ("", {"action": "delete_selected", "_selected_action": pk, "post": "yes"}),
    }
    path, fields = posts[way]
    assert client.post(f"/admin/core/apikey/{path}", fields).status_code == 302


async def test_a_key_that_is_remembered_costs_no_query_and_is_asked_for_again_later(
    key: str, monkeypatch: pytest.MonkeyPatch
):
    now: list[float] = [0.0]
    asked: list[str] = []
    look_up = keys.find

    def find(plain: str) -> ApiKey | None:
        asked.append(plain)
        return look_up(plain)

    monkeypatch.setattr(keys, "find", find)
    known = KnownKeys(clock=lambda: now[0])
    for _ in range(3):
        assert (await known.find(key)) is not None
    assert len(asked) == 1
    now[0] += known_keys.REMEMBERED_SECONDS + 0.1
    await known.find(key)
    assert len(asked) == 2
    for _ in range(2):
        assert await known.find("wrong-wrong-wrong") is None
    assert len(asked) == 4


@pytest.mark.parametrize("delivered_to", [None, 0, 1234])
def test_an_outcome_as_bytes_is_its_json(delivered_to: int | None):
    outcome = Outcome(delivered_to)
    assert outcome.as_bytes() == json.dumps(outcome.as_json()).encode()


def test_headers_are_found_in_any_case_and_joined_as_django_joins_them():
    headers = FastHeaders({"headers": [(b"x-a", b"1"), (b"host", b"h"), (b"x-a", b"\xe9")]})
    assert (headers["X-A"], headers.get("HOST"), headers.get("X-B"), "x-b" in headers) == (
        "1,é",
        "h",
        None,
        False,
    )
    assert (list(headers), len(headers)) == (["x-a", "host"], 2)
