"""Identity, name and first subscriptions that a hook gives as a client connects, and what becomes of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urlencode

import pytest

from tests.events.client import make_user
from tests.hooks.node import NodeBackend
from tests.rate_limits.client import Socket
from tests.requests.peer import call
from tests.services.server import Server

HOST = "10.0.0.1"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as one:
        yield one


@pytest.fixture
def node_connects(broker: Server, node: NodeBackend) -> Iterator[NodeBackend]:
    """It is asked about clients of tokens, rooms and events."""
    with ExitStack() as hooks:
        for protocol in ("tokens", "rooms", "events"):
            hooks.enter_context(node.hooked(broker, protocol, "connect"))
        yield node


def arrive(stack: ExitStack, server: Server, path: str, also: str, **query: str) -> Socket:
    fields = {"user": "ada", "name": "Ada L.", "also": also, **query}
    one = Socket(server, f"{path}?{urlencode(fields)}", HOST, keyed=False)
    stack.callback(one.close)
    return one


def publish(server: Server, address: str, message: str) -> None:
    assert call(server, "/api/publish", {"addresses": [address], "message": message})[0] == 200


def test_a_client_of_tokens_keeps_them_when_it_changes_its_token(
    broker: Server, node_connects: NodeBackend, stack: ExitStack, name: str
):
    also = f"token:{name}/also"
    one = arrive(stack, broker, "/ws", also, RegisterToken=f"{name}/a")
    with node_connects.hooked(broker, "tokens", "publish", f"token:{name}/*"):
        one.send(f"RegisterToken:{name}/b", f"{name}/b|own", "Echo:done")
        assert one.texts("done") == ["own", "done"]
    publish(broker, also, "more")
    assert one.texts("more") == ["more"]
    assert node_connects.about(f"token:{name}/b")[0]["identity"] == "ada"


def test_a_client_of_rooms_has_its_name_before_it_joins(
    broker: Server, node_connects: NodeBackend, stack: ExitStack, name: str
):
    reader = arrive(stack, broker, "/bus", f"room:bus/{name}")
    sender = arrive(stack, broker, "/bus", f"room:bus/{name} 2")
    with node_connects.hooked(broker, "rooms", "publish", f"room:bus/{name}"):
        sender.send(json.dumps(["NOTIFY", {"room": name, "message": "hello"}]))
        event = json.loads(reader.texts("hello")[-1])
    assert event == ["EVENT", {"sender": "Ada L.", "room": name, "message": "hello"}]
    assert node_connects.about(f"room:bus/{name}")[0]["identity"] == "ada"


def test_a_client_of_events_loses_them_when_it_becomes_another_user(
    broker: Server, node_connects: NodeBackend, stack: ExitStack, name: str
):
    user, also, own = make_user(broker), f"channel:{name} also", f"channel:{name}"
    one = arrive(stack, broker, "/websocket", also, channel_id=name)
    event = {"type": "channel", "channel_ids": [name], "data": {"n": "mine"}}
    with node_connects.hooked(broker, "events", "publish", own):
        publish(broker, also, "before")
        assert one.texts("before")
        one.send(json.dumps(event))
        one.texts("mine")
        one.send(json.dumps({"type": "change_user", "token": user.token}))
        one.texts(user.root_id)
        publish(broker, also, "after")
        one.send(json.dumps(event))
        assert not any("after" in text for text in one.texts("mine"))
    assert [asked["identity"] for asked in node_connects.about(own)] == ["ada", user.root_id]
