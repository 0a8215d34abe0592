"""The OpenAPI document is valid, and answers are as it says."""

from __future__ import annotations

import json
from typing import Any
from urllib.request import urlopen

import pytest
from django.urls import resolve
from jsonschema import Draft202012Validator

from sessions_app.openapi import PATHS
from tests.sessions.conftest import Broker, Customer
from tests.sessions.http import Reply


@pytest.fixture
def paths(broker: Broker) -> dict[str, Any]:
    with urlopen(f"{broker.server.url}/api/schema?format=json", timeout=60) as answer:
        documented: dict[str, Any] = json.load(answer)["paths"]
    return documented


def check(operation: dict[str, Any], reply: Reply) -> None:
    """Assert that an answer is one that the operation documents."""
    response = operation["responses"][str(reply.status)]
    if "content" not in response:
        assert reply.body == b""
        return
    schema = response["content"]["application/json"]["schema"]
    Draft202012Validator(schema).validate(reply.json)
    assert reply.headers["content-type"] == "application/json"


def test_documented_paths_exist() -> None:
    views = {resolve(path.replace("{id}", "x")).func.__module__ for path in PATHS}

    assert views == {"sessions_app.players"}


async def test_answers_are_as_documented(paths: dict[str, Any], customer: Customer) -> None:
    customer.limit("offer", 1)
    create, take_over = paths["/sessions"]["post"], paths["/takeover"]["post"]
    created = await customer.create(sessionName="TV", deviceType="tv")
    id = created.json["sessionId"]

    check(create, created)
    check(create, await customer.create())
    check(create, await customer.create(tag="live", offerId="film"))
    check(take_over, await customer.take_over(sessionId="unknown"))
    check(paths["/sessions"]["get"], await customer.http.request("GET", "/sessions", token=customer.token))
    check(
        paths["/sessions/{id}/heartbeat"]["post"],
        await customer.http.request("POST", f"/sessions/{id}/heartbeat", token=customer.token),
    )
    check(take_over, await customer.take_over(sessionId=id))
    check(
        paths["/sessions/{id}"]["delete"],
        await customer.http.request("DELETE", f"/sessions/{id}", token=customer.token),
    )
    check(create, await customer.http.request("POST", "/sessions", {}))
