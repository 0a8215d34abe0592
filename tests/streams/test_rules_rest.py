"""The rules of addresses, by REST and in the admin."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from rest_framework import serializers

from routing_app.core.access import keys
from routing_app.core.models import AddressRule
from routing_app.core.rest.rules import RuleSerializer

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def operator() -> Client:
    _, key = keys.issue("operator")
    return Client(headers={"X-API-Key": key})


RULE = {"pattern": "room:bus/*", "history_size": 10, "history_seconds": 60, "notices": True, "note": "n"}


def test_rules_are_made_changed_and_deleted(operator: Client):
    made = operator.post("/api/rules/", RULE, "application/json")
    assert made.status_code == 201
    path = f"/api/rules/{made.json()['id']}/"
    assert made.json() == {"id": made.json()["id"], **RULE}
    assert operator.patch(path, {"history_size": 0}, "application/json").json()["history_size"] == 0
    assert operator.get("/api/rules/").json()["results"][0]["history_size"] == 0
    assert operator.delete(path).status_code == 204
    assert not AddressRule.objects.exists()


@pytest.mark.parametrize(
    "change",
    [
        {"pattern": ""},
        {"pattern": "room"},
        {"pattern": "token:a*b"},
        {"pattern": "connection:*"},
        {"pattern": "nonsense:*"},
        {"pattern": 5},
        {"pattern": "token:" + "a" * 600},
        {"history_size": -1},
        {"history_size": 10_001},
        {"history_size": "many"},
        {"history_seconds": 0},
        {"history_seconds": 2_592_001},
        {"notices": "perhaps"},
    ],
    ids=str,
)
def test_a_rule_without_sense_is_a_400(operator: Client, change: dict[str, Any]):
    answer = operator.post("/api/rules/", {**RULE, **change}, "application/json")

    assert (answer.status_code, list(answer.json())) == (400, list(change))


def test_a_pattern_has_one_rule(operator: Client):
    assert operator.post("/api/rules/", RULE, "application/json").status_code == 201
    assert operator.post("/api/rules/", RULE, "application/json").status_code == 400


def test_a_pattern_that_another_request_took_after_the_check_is_refused_in_the_same_words(operator: Client):
    late = RuleSerializer(data=RULE)
    late.is_valid(raise_exception=True)
    operator.post("/api/rules/", RULE, "application/json")
    second = operator.post("/api/rules/", RULE, "application/json")

    with pytest.raises(serializers.ValidationError) as refused:
        late.save()

    assert refused.value.detail == second.json()
    assert AddressRule.objects.count() == 1


def test_a_pattern_keeps_its_spaces_as_addresses_do(operator: Client):
    answer = operator.post("/api/rules/", {**RULE, "pattern": "token:a "}, "application/json")

    assert (answer.status_code, answer.json()["pattern"]) == (201, "token:a ")


@pytest.mark.parametrize("scope", ["read", "publish"])
def test_rules_need_the_scope_manage(scope: str):
    _, key = keys.issue("other", [scope])
    other = Client(headers={"X-API-Key": key})

    assert other.get("/api/rules/").status_code == 403
    assert other.post("/api/rules/", RULE, "application/json").status_code == 403


def test_the_admin_makes_and_deletes_rules():
    client = Client()
    client.force_login(User.objects.create(username="anna", is_staff=True, is_superuser=True))

    page = client.post("/admin/core/addressrule/add/", RULE)
    assert page.status_code == 302
    row = AddressRule.objects.get()
    assert (row.pattern, row.history_size, row.notices) == ("room:bus/*", 10, True)
    wrong = client.post("/admin/core/addressrule/add/", {**RULE, "pattern": "customer:*"})
    assert "no history is kept" in wrong.content.decode()
    client.post("/admin/core/addressrule/add/", {**RULE, "pattern": "token:a "})
    assert AddressRule.objects.filter(pattern="token:a ").delete()[0] == 1
    client.post(f"/admin/core/addressrule/{row.pk}/delete/", {"post": "yes"})
    assert not AddressRule.objects.exists()


def test_the_examples_of_the_document_are_taken(operator: Client):
    paths = operator.get("/api/schema", headers={"Accept": "application/json"}).json()["paths"]

    def examples(path: str) -> list[Any]:
        found = paths[path]["post"]["requestBody"]["content"]["application/json"]["examples"].values()
        return [one["value"] for one in found]

    def status(path: str, body: Any) -> int:
        return operator.post(path, body, "application/json").status_code

    assert [status("/api/rules/", body) for body in examples("/api/rules/")] == [201]
    assert [status("/api/publish", body) for body in examples("/api/publish")] == [200, 202]
    (batch,) = examples("/api/publish/batch")
    (result,) = operator.post("/api/publish/batch", batch, "application/json").json()["results"]
    assert "error" not in result


@pytest.mark.parametrize(("path", "method"), [("/api/history", "get"), ("/api/publish", "post")])
def test_the_document_tells_of_an_outage(operator: Client, path: str, method: str):
    paths = operator.get("/api/schema", headers={"Accept": "application/json"}).json()["paths"]

    assert "503" in paths[path][method]["responses"]
