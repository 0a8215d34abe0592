"""Answers that repeat a wrong value of the request."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from django.test import Client

from routing_app.core.access import keys

pytestmark = pytest.mark.django_db(transaction=True)

HALF: Final = "\ud800"
LIMIT: Final = {"protocol": "*", "command": "*", "per": "network", "rate": 1, "burst": 1, "then": "wait"}


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("keys", {"name": "a", "scopes": [HALF]}, "scopes"),
        ("issuers", {"name": "a", "keys": [{"algorithm": HALF, "secret": "s" * 64}]}, "keys"),
        ("limits", {**LIMIT, "command": HALF}, "command"),
        ("limits", {**LIMIT, "per": HALF}, "per"),
        ("limits", {**LIMIT, "then": HALF}, "then"),
    ],
)
def test_half_of_a_surrogate_pair_is_named_in_the_answer(path: str, body: dict[str, Any], field: str):
    api = Client(headers={"X-API-Key": keys.issue("everything")[1]}, raise_request_exception=False)
    answer = api.post(f"/api/{path}/", json.dumps(body), content_type="application/json")
    assert answer.status_code == 400
    assert list(answer.json()) == [field]
    assert rb"\ud800" in answer.content
