"""`/api/issuers/`: secrets are written and never read."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from routing_app.core.access import keys
from routing_app.core.issuers.known import load
from routing_app.core.models import Issuer, IssuerKey
from tests.jwt.signing import ED, RSA, SECRET, pem

pytestmark = pytest.mark.django_db(transaction=True)

ROOT = Path(__file__).parents[2]
PATH = "/api/issuers/"
URL = "https://login.example/jwks.json"
KEY = {"algorithm": "HS256", "secret": SECRET}


@pytest.fixture
def operator() -> Client:
    """A caller whose key has the scope admin alone."""
    _, key = keys.issue("operator", ["admin"])
    return Client(headers={"X-API-Key": key})


def make(operator: Client, *keys: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """An issuer that is made, as the answer shows it."""
    answer = operator.post(PATH, {"name": "shop", "keys": keys, **fields}, "application/json")
    assert answer.status_code == 201, answer.content
    made: dict[str, Any] = answer.json()
    return made


def stored() -> list[tuple[str, str, str, str, bool]]:
    """All keys, the oldest first."""
    rows = IssuerKey.objects.order_by("pk")
    return [(row.kid, row.algorithm, row.kind, row.material, row.active) for row in rows]


def test_issuer_is_made_read_changed_and_deleted(operator: Client) -> None:
    made = make(
        operator,
        {"kid": "k1", "algorithm": "HS512", "secret": SECRET},
        {"algorithm": "RS256", "pem": pem(RSA)},
        {"algorithm": "ES256", "jwks_url": URL},
        audiences=["a", "b"],
        enabled=False,
    )

    shown = {
        "id": made["id"],
        "name": "shop",
        "audiences": ["a", "b"],
        "keys": [
            {"kid": "k1", "algorithm": "HS512", "kind": "secret", "active": True},
            {"kid": "", "algorithm": "RS256", "kind": "pem", "active": True, "pem": pem(RSA).strip()},
            {"kid": "", "algorithm": "ES256", "kind": "jwks", "active": True, "jwks_url": URL},
        ],
        "enabled": False,
        "created_at": made["created_at"],
    }
    one = f"{PATH}{made['id']}/"
    assert made == shown
    assert operator.get(one).json() == shown
    assert operator.get(PATH).json()["results"] == [shown]
    assert operator.patch(one, {"enabled": True}, "application/json").json() == {**shown, "enabled": True}
    assert len(stored()) == 3
    assert operator.delete(one).status_code == 204
    assert operator.get(one).status_code == 404
    assert not IssuerKey.objects.exists()


def test_body_without_a_name(operator: Client) -> None:
    answer = operator.post(PATH, {"keys": [KEY]}, "application/json")

    assert (answer.status_code, answer.json()) == (400, {"name": ["This field is required."]})


def test_least_body(operator: Client) -> None:
    answer = operator.post(PATH, {"name": "shop"}, "application/json").json()

    assert (answer["audiences"], answer["keys"], answer["enabled"]) == ([], [], True)


def test_secret_is_in_no_answer(operator: Client) -> None:
    made = operator.post(PATH, {"name": "shop", "keys": [KEY]}, "application/json")
    one = f"{PATH}{made.json()['id']}/"
    answers = [
        made,
        operator.get(one),
        operator.get(PATH),
        operator.put(one, {"name": "shop", "keys": [KEY]}, "application/json"),
        operator.patch(one, {"keys": [{**KEY, "pem": "x"}]}, "application/json"),
        operator.patch(one, {"keys": [{**KEY, "algorithm": "RS256"}]}, "application/json"),
        operator.patch(one, {"keys": [{"algorithm": "HS512", "secret": SECRET[:40]}]}, "application/json"),
    ]

    assert [answer.status_code for answer in answers] == [201, 200, 200, 200, 400, 400, 400]
    assert not [answer for answer in answers if SECRET[:40] in answer.content.decode()]


def test_what_was_read_can_be_written_again(operator: Client) -> None:
    made = make(
        operator,
        {**KEY, "kid": "k1"},
        {**KEY, "kid": "k2", "active": False},
        {"algorithm": "EdDSA", "pem": pem(ED)},
    )
    before = stored()

    again = operator.put(f"{PATH}{made['id']}/", made, "application/json")

    assert (again.status_code, again.json()) == (200, made)
    assert stored() == before


def test_keys_are_rotated_without_the_old_secret(operator: Client) -> None:
    one = f"{PATH}{make(operator, {**KEY, 'kid': 'old'})['id']}/"
    old, new = {"kid": "old", "algorithm": "HS256"}, {"kid": "new", "algorithm": "HS256", "secret": "n" * 32}

    def put(*keys: dict[str, Any]) -> Sequence[str]:
        assert operator.patch(one, {"keys": keys}, "application/json").status_code == 200
        known = load("shop")
        assert known
        return [key.kid for key in known.keys]

    assert put(old, new) == ["new", "old"]
    assert put({**old, "active": False}, {"kid": "new", "algorithm": "HS256"}) == ["new"]
    assert stored() == [("old", "HS256", "secret", SECRET, False), ("new", "HS256", "secret", "n" * 32, True)]
    assert put({"kid": "new", "algorithm": "HS256"}) == ["new"]
    assert put({**new, "secret": "m" * 32}) == ["new"]
    assert stored() == [("new", "HS256", "secret", "m" * 32, True)]
    assert put() == []


def test_bodies_of_the_documentation_are_taken(operator: Client) -> None:
    text = (ROOT / "docs/access.md").read_text(encoding="utf-8")
    create, add = (json.loads(body) for body in re.findall(r"api/issuers/.*\\\n +-d '(.*)'", text))

    one = f"{PATH}{operator.post(PATH, create, 'application/json').json()['id']}/"
    changed = operator.patch(one, add, "application/json").json()

    assert [key["kid"] for key in changed["keys"]] == ["2026-11", "2026-12"]


def test_examples_of_the_document_are_taken(operator: Client) -> None:
    paths = operator.get("/api/schema", headers={"Accept": "application/json"}).json()["paths"]
    examples = paths[PATH]["post"]["requestBody"]["content"]["application/json"]["examples"].values()

    made = [operator.post(PATH, example["value"], "application/json").status_code for example in examples]

    assert made == [201, 201]


FIELDS: dict[str, tuple[dict[str, Any], str]] = {
    "name is null": ({"name": None}, "name"),
    "name is empty": ({"name": ""}, "name"),
    "name is a number": ({"name": 5}, "name"),
    "name with NUL": ({"name": "a\0"}, "name"),
    "name with a line feed": ({"name": "a\nb"}, "name"),
    "name of 256 characters": ({"name": "a" * 256}, "name"),
    "audiences is a string": ({"audiences": "a"}, "audiences"),
    "an audience is a number": ({"audiences": [5]}, "audiences"),
    "an audience is empty": ({"audiences": [""]}, "audiences"),
    "audiences is an object": ({"audiences": {"a": 1}}, "audiences"),
    "101 audiences": ({"audiences": ["a"] * 101}, "audiences"),
    "enabled is a word": ({"enabled": "perhaps"}, "enabled"),
    "keys is an object": ({"keys": KEY}, "keys"),
    "keys is null": ({"keys": None}, "keys"),
    "a key is a string": ({"keys": [SECRET]}, "keys"),
    "101 keys": ({"keys": [KEY] * 101}, "keys"),
    "no algorithm": ({"keys": [{"secret": SECRET}]}, "keys"),
    "algorithm none": ({"keys": [{"algorithm": "none", "secret": SECRET}]}, "keys"),
    "algorithm is a list": ({"keys": [{"algorithm": ["HS256"], "secret": SECRET}]}, "keys"),
    "no form": ({"keys": [{"algorithm": "HS256"}]}, "keys"),
    "two forms": ({"keys": [{**KEY, "jwks_url": URL}]}, "keys"),
    "short secret": ({"keys": [{"algorithm": "HS256", "secret": "short"}]}, "keys"),
    "secret is a number": ({"keys": [{"algorithm": "HS256", "secret": 10**40}]}, "keys"),
    "secret for RS256": ({"keys": [{"algorithm": "RS256", "secret": SECRET}]}, "keys"),
    "PEM for HS256": ({"keys": [{"algorithm": "HS256", "pem": pem(RSA)}]}, "keys"),
    "PEM of another kind": ({"keys": [{"algorithm": "ES256", "pem": pem(RSA)}]}, "keys"),
    "no PEM": ({"keys": [{"algorithm": "RS256", "pem": "no key"}]}, "keys"),
    "JWKS by http": ({"keys": [{"algorithm": "RS256", "jwks_url": "http://login.example/"}]}, "keys"),
    "JWKS that is a file": ({"keys": [{"algorithm": "RS256", "jwks_url": "file:///etc/passwd"}]}, "keys"),
    "JWKS for HS256": ({"keys": [{"algorithm": "HS256", "jwks_url": URL}]}, "keys"),
    "kid is a number": ({"keys": [{**KEY, "kid": 5}]}, "keys"),
    "kid of 256 characters": ({"keys": [{**KEY, "kid": "k" * 256}]}, "keys"),
    "kid with a line feed": ({"keys": [{**KEY, "kid": "a\nb"}]}, "keys"),
}


@pytest.mark.parametrize("case", FIELDS)
def test_body_without_sense_is_a_400(operator: Client, case: str) -> None:
    changes, field = FIELDS[case]
    made = operator.post(PATH, {"name": "shop", "keys": [KEY], **changes}, "application/json")

    assert (made.status_code, list(made.json())) == (400, [field])
    assert not Issuer.objects.exists()
    one = f"{PATH}{make(operator, KEY)['id']}/"
    before = stored()
    if changes != {"keys": [{"algorithm": "HS256"}]}:  # which is the one that is there
        assert operator.patch(one, changes, "application/json").status_code == 400
    assert stored() == before


def test_error_of_a_key_stands_at_its_place(operator: Client) -> None:
    answer = operator.post(
        PATH, {"name": "shop", "keys": [KEY, {"algorithm": "HS512", "secret": "short"}]}, "application/json"
    )

    assert answer.json() == {"keys": [{}, {"secret": ["A secret for HS512 has at least 64 bytes."]}]}


def test_name_is_taken_once(operator: Client) -> None:
    make(operator, KEY)
    other = make(operator, KEY, name="other")

    again = operator.post(PATH, {"name": "shop"}, "application/json")
    renamed = operator.patch(f"{PATH}{other['id']}/", {"name": "shop"}, "application/json")

    assert [(answer.status_code, list(answer.json())) for answer in (again, renamed)] == [(400, ["name"])] * 2


@pytest.mark.parametrize(
    "scopes", [[], ["read"], ["publish"], ["manage"], ["read", "publish", "manage"]], ids=str
)
def test_every_method_needs_the_scope_admin(operator: Client, scopes: list[str]) -> None:
    one = f"{PATH}{make(operator, KEY)['id']}/"
    _, key = keys.issue("other", scopes)
    other = Client(headers={"X-API-Key": key})

    answers = [
        other.get(PATH),
        other.get(one),
        other.options(one),
        other.post(PATH, {"name": "x"}, "application/json"),
        other.put(one, {"name": "x"}, "application/json"),
        other.patch(one, {"name": "x"}, "application/json"),
        other.delete(one),
    ]
    assert [answer.status_code for answer in answers] == [403] * 7
    assert Client().get(PATH).status_code == 401
    assert Issuer.objects.get().name == "shop"


@pytest.mark.parametrize(
    ("permissions", "statuses"),
    [
        ([], [403, 403, 403, 403]),
        (["view_issuer"], [200, 403, 403, 403]),
        (["view_issuer", "change_issuer"], [200, 403, 200, 403]),
        (["view_issuer", "add_issuer", "change_issuer", "delete_issuer"], [200, 201, 200, 204]),
    ],
    ids=str,
)
def test_staff_need_the_permission_of_each_method(
    operator: Client, permissions: list[str], statuses: list[int]
) -> None:
    one = f"{PATH}{make(operator, KEY)['id']}/"
    staff = User.objects.create(username="bob", is_staff=True)
    staff.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(staff)

    answers = [
        client.get(PATH),
        client.post(PATH, {"name": "x"}, "application/json"),
        client.patch(one, {"enabled": False}, "application/json"),
        client.delete(one),
    ]
    assert [answer.status_code for answer in answers] == statuses


# --- the admin -------------------------------------------------------------------------------------------


@pytest.fixture
def anna() -> Client:
    """A superuser at the admin."""
    client = Client()
    client.force_login(User.objects.create(username="anna", is_staff=True, is_superuser=True))
    return client


def form(*rows: dict[str, str], initial: int = 0, **fields: str) -> dict[str, str]:
    """The fields of the page of an issuer."""
    counts = {"keys-TOTAL_FORMS": str(len(rows)), "keys-INITIAL_FORMS": str(initial)}
    keys = {f"keys-{number}-{name}": value for number, row in enumerate(rows) for name, value in row.items()}
    return {"name": "shop", "audiences": "", **counts, **keys, **fields}


def test_admin_makes_an_issuer_and_shows_no_secret(anna: Client) -> None:
    row = {"kind": "secret", "algorithm": "HS256", "kid": "k1", "active": "on", "material": SECRET}

    made = anna.post("/admin/core/issuer/add/", form(row, audiences="a\n b \n\n", enabled="on"))

    assert made.status_code == 302
    issuer = Issuer.objects.get()
    assert (issuer.audiences, issuer.enabled) == (["a", "b"], True)
    page = anna.get(f"/admin/core/issuer/{issuer.pk}/change/").content.decode()
    assert "k1" in page
    assert "a\nb</textarea>" in page
    assert SECRET not in page


def test_admin_keeps_a_secret_that_is_not_typed(anna: Client, operator: Client) -> None:
    id = make(operator, {**KEY, "kid": "k1"})["id"]
    row = {"id": str(IssuerKey.objects.get().pk), "issuer": str(id), "kind": "secret", "algorithm": "HS256"}

    changed = anna.post(f"/admin/core/issuer/{id}/change/", form({**row, "kid": "k2"}, initial=1))

    assert changed.status_code == 302
    assert stored() == [("k2", "HS256", "secret", SECRET, False)]
    assert not Issuer.objects.get().enabled


@pytest.mark.parametrize(
    "changes",
    [{"material": ""}, {"material": "short"}, {"algorithm": "RS256"}, {"kind": "pem"}, {"algorithm": "none"}],
    ids=str,
)
def test_admin_refuses_a_key_that_cannot_work(anna: Client, changes: dict[str, str]) -> None:
    row = {"kind": "secret", "algorithm": "HS256", "kid": "", "material": SECRET, **changes}

    page = anna.post("/admin/core/issuer/add/", form(row))

    assert page.status_code == 200
    assert "errorlist" in page.content.decode()
    assert not Issuer.objects.exists()
