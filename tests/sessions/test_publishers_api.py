"""`/api/publishers/`: publishers, their limits and their keys."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from routing_app.core.models import AuditEntry
from sessions_app import publishers
from sessions_app.commands import Create, Granted, LimitReached
from sessions_app.models import Limit, Publisher, PublisherKey
from sessions_app.store import AccountKey
from sessions_app.wire import Wanted
from tests.sessions.operators import apply, caller

pytestmark = pytest.mark.django_db

PUBLISHERS = "/api/publishers/"
LIMITS = f"{PUBLISHERS}films/limits/"
KEYS = f"{PUBLISHERS}films/keys/"
SECRET = "a secret of at least thirty-two characters"
ALICE = AccountKey("films", "alice")


@pytest.fixture
def operator() -> Client:
    Publisher.objects.create(name="films")
    return caller()


def send(client: Client, method: str, path: str, body: Any = None) -> Any:
    reply = client.generic(method, path, "" if body is None else json.dumps(body), "application/json")
    return reply.status_code, reply.json() if reply.content else None


def test_a_publisher_is_made_read_and_changed(operator: Client) -> None:
    status, made = send(operator, "POST", PUBLISHERS, {"name": "sports", "audiences": ["web", "tv"]})

    assert (status, made) == (
        201,
        {
            "name": "sports",
            "tracking_enabled": True,
            "audiences": ["web", "tv"],
            "issuers": [],
            "created_at": made["created_at"],
        },
    )
    assert Publisher.objects.get(name="sports").audiences == "web\ntv"
    change = {"tracking_enabled": False, "issuers": ["https://login.example"]}
    changed = {**made, **change}
    assert send(operator, "PATCH", f"{PUBLISHERS}sports/", change) == (200, changed)
    assert send(operator, "GET", f"{PUBLISHERS}sports/") == (200, changed)
    _, listed = send(operator, "GET", PUBLISHERS)
    assert [row["name"] for row in listed["results"]] == ["films", "sports"]


@pytest.mark.parametrize(
    "body",
    [{"name": "films"}, {"name": "a/b"}, {"name": ""}, {}, {"name": "a", "audiences": "web"}, {"name": 1}],
)
def test_a_publisher_that_cannot_be_is_400(operator: Client, body: dict[str, Any]) -> None:
    assert send(operator, "POST", PUBLISHERS, body)[0] == 400
    assert Publisher.objects.count() == 1


@pytest.mark.parametrize("line", ["two\nlines", "a\rb", "nul\x00"])
def test_an_audience_stays_one_line(operator: Client, line: str) -> None:
    assert send(operator, "PATCH", f"{PUBLISHERS}films/", {"audiences": [line]})[0] == 400
    assert Publisher.objects.get().audiences == ""


def test_the_name_of_a_publisher_stays(operator: Client) -> None:
    assert send(operator, "PATCH", f"{PUBLISHERS}films/", {"name": "cinema"})[0] == 400
    assert send(operator, "PATCH", f"{PUBLISHERS}films/", {"name": "films"})[0] == 200


def test_a_limit_that_is_made_by_rest_holds_and_one_that_is_deleted_does_not(operator: Client) -> None:
    body = {"scope": "account", "maximum": 0, "policy": "block"}
    status, made = send(operator, "POST", LIMITS, body)
    assert (status, made) == (
        201,
        {**body, "id": made["id"], "value": "", "customer": "", "observe_only": False},
    )
    [refused] = apply(Create(ALICE, Wanted(offer_id="film")))
    assert isinstance(refused, LimitReached)

    assert send(operator, "PATCH", f"{LIMITS}{made['id']}/", {"maximum": 1}) == (200, {**made, "maximum": 1})
    [granted] = apply(Create(ALICE, Wanted(offer_id="film")))
    assert isinstance(granted, Granted)

    assert send(operator, "DELETE", f"{LIMITS}{made['id']}/") == (204, None)
    assert send(operator, "GET", f"{LIMITS}{made['id']}/")[0] == 404
    [granted] = apply(Create(ALICE, Wanted(offer_id="series")))
    assert isinstance(granted, Granted)


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({"scope": "account", "value": "x", "maximum": 1}, "value"),
        ({"scope": "planet", "maximum": 1}, "scope"),
        ({"scope": "offer", "maximum": -1}, "maximum"),
        ({"scope": "offer", "maximum": 1.5}, "maximum"),
        ({"scope": "offer", "maximum": "2"}, "maximum"),
        ({"scope": "offer", "maximum": 2**40}, "maximum"),
        ({"scope": "offer", "maximum": 1, "policy": "beg"}, "policy"),
        ({"scope": "offer", "maximum": 1, "customer": "a\nb"}, "customer"),
        ({"scope": "offer", "maximum": 1, "value": "film"}, "non_field_errors"),
        ({"scope": "offer"}, "maximum"),
    ],
)
def test_a_limit_that_cannot_be_is_400_and_named(operator: Client, body: dict[str, Any], wrong: str) -> None:
    Limit.objects.create(publisher=Publisher.objects.get(), scope="offer", value="film", maximum=2)

    status, answer = send(operator, "POST", LIMITS, body)

    assert (status, list(answer)) == (400, [wrong])
    assert Limit.objects.count() == 1


def test_a_change_that_makes_a_second_limit_of_one_kind_is_400(operator: Client) -> None:
    for value in ("film", "series"):
        send(operator, "POST", LIMITS, {"scope": "offer", "value": value, "maximum": 1})
    limit = Limit.objects.get(value="series")

    assert send(operator, "PATCH", f"{LIMITS}{limit.pk}/", {"value": "film"})[0] == 400
    assert send(operator, "PATCH", f"{LIMITS}{limit.pk}/", {"value": "series", "maximum": 3})[0] == 200
    assert send(operator, "PATCH", f"{LIMITS}{limit.pk}/", {"scope": "account"})[0] == 400


def test_rows_of_another_publisher_are_404(operator: Client) -> None:
    other = Publisher.objects.create(name="sports")
    limit = Limit.objects.create(publisher=other, scope="account", maximum=1)
    key = other.keys.create(kind="secret", algorithm="HS256", material=SECRET)

    for path in (
        f"{LIMITS}{limit.pk}/",
        f"{KEYS}{key.pk}/",
        f"{PUBLISHERS}nobody/limits/",
        f"{LIMITS}{9**18}/",
    ):
        assert send(operator, "GET", path)[0] == 404, path
    assert send(operator, "DELETE", f"{LIMITS}{limit.pk}/")[0] == 404
    assert send(operator, "POST", f"{PUBLISHERS}nobody/limits/", {"scope": "account", "maximum": 1})[0] == 404
    assert send(operator, "GET", LIMITS)[1]["results"] == []


def test_a_key_by_secret_checks_tokens_and_is_not_shown(operator: Client) -> None:
    status, made = send(operator, "POST", KEYS, {"algorithm": "HS256", "kid": "1", "secret": SECRET})

    shown = {"kid": "1", "algorithm": "HS256", "kind": "secret", "active": True}
    assert (status, made) == (201, {**shown, "id": made["id"], "created_at": made["created_at"]})
    for path in (KEYS, f"{KEYS}{made['id']}/"):
        assert SECRET.encode() not in operator.get(path).content
    known = publishers.load("films")
    assert known is not None
    assert len(known.keys) == 1
    assert send(operator, "PATCH", f"{KEYS}{made['id']}/", {"active": False})[1]["active"] is False
    known = publishers.load("films")
    assert known is not None
    assert known.keys == ()
    assert send(operator, "DELETE", f"{KEYS}{made['id']}/") == (204, None)
    assert not PublisherKey.objects.exists()


def test_a_key_by_url_is_shown_with_it(operator: Client) -> None:
    url = "https://login.example/jwks.json"
    _, made = send(operator, "POST", KEYS, {"algorithm": "RS256", "jwks_url": url})

    assert (made["kind"], made["jwks_url"], "secret" in made) == ("jwks", url, False)
    assert send(operator, "GET", f"{KEYS}{made['id']}/") == (200, made)


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({"algorithm": "HS256"}, "non_field_errors"),
        ({"algorithm": "HS256", "secret": SECRET, "pem": "x"}, "non_field_errors"),
        ({"algorithm": "HS256", "secret": "short"}, "secret"),
        ({"algorithm": "RS256", "secret": SECRET}, "secret"),
        ({"algorithm": "none", "secret": SECRET}, "algorithm"),
        ({"algorithm": "RS256", "pem": "no key"}, "pem"),
        ({"algorithm": "RS256", "jwks_url": "file:///etc/passwd"}, "jwks_url"),
        ({"algorithm": "HS256", "kid": "a\nb", "secret": SECRET}, "kid"),
        ({"secret": SECRET}, "algorithm"),
    ],
)
def test_a_key_that_cannot_work_is_400_and_named(operator: Client, body: dict[str, Any], wrong: str) -> None:
    status, answer = send(operator, "POST", KEYS, body)

    assert (status, list(answer)) == (400, [wrong])
    assert SECRET not in json.dumps(answer)
    assert not PublisherKey.objects.exists()


def test_a_key_is_replaced_and_not_changed(operator: Client) -> None:
    _, made = send(operator, "POST", KEYS, {"algorithm": "HS256", "secret": SECRET})
    path = f"{KEYS}{made['id']}/"

    assert send(operator, "PATCH", path, {"secret": SECRET[::-1]})[0] == 400
    assert send(operator, "PATCH", path, {"algorithm": "HS512"})[0] == 400
    assert send(operator, "PATCH", path, {"kid": "2026"})[1]["kid"] == "2026"


def test_reading_needs_the_scope_read_and_changing_manage(operator: Client) -> None:
    bodies = {PUBLISHERS: {"name": "news"}, LIMITS: {"scope": "account", "maximum": 1}}
    bodies[KEYS] = {"algorithm": "HS256", "secret": SECRET}
    for path, body in bodies.items():
        assert [caller(scope).get(path).status_code for scope in ("read", "manage")] == [200, 403]
        assert [send(caller(scope), "POST", path, body)[0] for scope in ("read", "manage")] == [403, 201]
        assert caller("read", "manage", addresses=("customer:films/*",)).get(path).status_code == 403


def test_changes_are_in_the_audit_log_without_secrets(operator: Client) -> None:
    send(operator, "POST", PUBLISHERS, {"name": "news"})
    send(operator, "PATCH", f"{PUBLISHERS}news/", {"tracking_enabled": False})
    _, limit = send(operator, "POST", LIMITS, {"scope": "account", "maximum": 1})
    _, key = send(operator, "POST", KEYS, {"algorithm": "HS256", "secret": SECRET})
    send(operator, "DELETE", f"{KEYS}{key['id']}/")

    assert list(AuditEntry.objects.order_by("id").values_list("action", "target")) == [
        ("create", "sessions_app.publisher news"),
        ("change", "sessions_app.publisher news"),
        ("create", f"sessions_app.limit {limit['id']}"),
        ("create", f"sessions_app.publisherkey {key['id']}"),
        ("delete", f"sessions_app.publisherkey {key['id']}"),
    ]


def test_the_same_limit_made_by_another_just_before_is_400(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"scope": "account", "maximum": 1}
    check = Limit.validate_constraints
    made: list[Limit] = []

    def made_after_the_check(row: Limit) -> None:
        if made:
            return check(row)
        made.append(Limit.objects.create(publisher=row.publisher, **body))
        return None

    monkeypatch.setattr(Limit, "validate_constraints", made_after_the_check)

    status, answer = send(operator, "POST", LIMITS, body)

    assert (status, list(answer), len(made)) == (400, ["non_field_errors"], 1)


def test_an_audience_with_a_separator_of_lines_is_one_audience(operator: Client) -> None:
    odd = ["a\u2028b"]

    assert send(operator, "PATCH", f"{PUBLISHERS}films/", {"audiences": odd})[1]["audiences"] == odd
    known = publishers.load("films")
    assert known is not None
    assert known.audiences == tuple(odd)


def test_options_and_head_are_answered(operator: Client) -> None:
    for path in (
        PUBLISHERS,
        LIMITS,
        KEYS,
        f"{PUBLISHERS}films/",
        "/api/sessions/usage",
        "/api/sessions/history",
    ):
        assert operator.options(path).status_code == 200, path
