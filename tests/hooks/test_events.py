"""The events protocol with hooks: events to channels, channels, and walkers that the backend answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.events.client import PUBLIC, Socket, call, make_user
from tests.hooks.node import NodeBackend
from tests.services.server import Server
from tests.services.waiting import wait_until


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as one:
        yield one


@pytest.fixture
def walkers(broker: Server, node: NodeBackend) -> Iterator[None]:
    """Walkers whose names begin with `hook_` are the backend's."""
    with node.hooked(broker, "events", "request", "hook_*"):
        yield


def on(stack: ExitStack, server: Server, channel: str = "", token: str = "") -> Socket:
    one = Socket(server, channel, token)
    stack.callback(one.close)
    return one


def to(*channels: str, **data: Any) -> dict[str, Any]:
    return {"type": "channel", "channel_ids": list(channels), "data": data}


def test_events_are_refused_and_replaced_target_by_target(
    broker: Server, node: NodeBackend, stack: ExitStack, name: str
):
    sender, reader, quiet = (
        on(stack, broker, name),
        on(stack, broker, name),
        on(stack, broker, f"{name} quiet"),
    )
    with node.hooked(broker, "events", "publish", f"channel:{name}*"):
        for text in ("rude", "loud", "plain"):
            sender.send(to(name, f"{name} quiet", text=text))
        heard = [frame for frame in sender.pending() if "error" in frame]
        assert heard == [{"type": "channel", "error": "not that here"}] * 3
        assert reader.pending() == [{"text": "LOUD"}, {"text": "plain"}]
        assert quiet.pending() == []
    assert len(node.about(f"channel:{name}")) == len(node.about(f"channel:{name} quiet")) == 3


def test_a_channel_that_the_backend_refuses_is_not_subscribed_to(
    broker: Server, node: NodeBackend, stack: ExitStack, name: str
):
    with node.hooked(broker, "events", "subscribe", f"channel:{name}*"):
        one = on(stack, broker, f"{name} private")
        assert one.receive() == {"type": "channel", "error": "that is private"}
        two = on(stack, broker, f"{name} open")
        sender = on(stack, broker)
        sender.send(to(f"{name} private", f"{name} open", n=1))
        sender.pending()
        assert (one.pending(), two.pending()) == ([], [{"n": 1}])
    # The channel that a server makes up for a client is nobody's to refuse.
    assert sorted(one["address"] for one in node.asked()) == [
        f"channel:{name} open",
        f"channel:{name} private",
    ]


def test_a_backend_that_fails_keeps_off_the_channel_until_another_user_is_let_in(
    broker: Server, node: NodeBackend, stack: ExitStack, name: str
):
    user = make_user(broker)
    with node.hooked(broker, "events", "subscribe", f"channel:{name}", at="broken"):
        one = on(stack, broker, name)
        assert one.receive() == {
            "type": "channel",
            "error": "The backend that decides gave no valid answer, try again!",
        }
    assert one.change_user(user.token) == user.root_id
    one.send(to(name, n=1))
    assert one.pending() == [{"n": 1}]


def test_another_user_is_asked_about_again(broker: Server, node: NodeBackend, stack: ExitStack, name: str):
    user = make_user(broker)
    with node.hooked(broker, "events", "subscribe", f"channel:{name}*"):
        one = on(stack, broker, name)
        assert one.change_user(user.token) == user.root_id
    assert [one["identity"] for one in node.asked()] == [PUBLIC, user.root_id]


def test_walkers_are_answered_by_the_backend(
    broker: Server, node: NodeBackend, walkers: None, stack: ExitStack
):
    one = on(stack, broker)
    assert one.walk("hook_add", {"a": 2, "b": 3}, id="x") == {"status": 200, "reports": [5], "id": "x"}
    assert one.walk("hook_count", {"n": 3}) == {"status": 200, "reports": [1, 2, 3, "done"]}
    assert one.walk("hook_fail", id=7) == {"error": ["the cat sat on it"], "id": 7}
    assert one.walk("hook_deny") == {"type": "walker", "error": "not for you"}
    unknown = {"type": "walker", "error": "Invalid request! Please use valid walker event!"}
    assert one.walk("hook_pass") == unknown
    assert one.walk("other") == unknown
    one.send({"type": "walker", "walker": "hook_add", "context": {"a": 1, "b": 1}, "response": False})
    assert one.pending() == []


def test_a_walker_in_python_is_not_asked_about(broker: Server, node: NodeBackend, stack: ExitStack):
    with node.hooked(broker, "events", "request"):
        one = on(stack, broker, token=make_user(broker).token)
        assert one.walk("divide", {"a": 6, "b": 3}) == {"status": 200, "reports": [2.0]}
    assert node.asked() == []


def test_walkers_of_the_backend_are_endpoints_too(broker: Server, node: NodeBackend, walkers: None):
    user = make_user(broker)
    answer = call(broker, "POST", "/walker/hook_whoami", {"z": 1}, token=user.token)
    assert (answer.status, answer.body) == (
        200,
        {"status": 200, "reports": [{"identity": user.root_id, "connection": None}]},
    )
    assert call(broker, "POST", "/walker/hook_whoami").body["reports"][0]["identity"] == PUBLIC
    assert call(broker, "POST", "/walker/hook_count", {"n": 1}).body["reports"] == [1, "done"]
    assert call(broker, "POST", "/walker/hook_whoami", token="wrong").status == 401
    denied, failed = (call(broker, "POST", f"/walker/hook_{name}") for name in ("deny", "fail"))
    assert (denied.status, denied.body) == (403, {"detail": {"error": "not for you"}})
    assert (failed.status, failed.body) == (500, {"errors": ["the cat sat on it"]})
    for name in ("hook_pass", "other"):
        unknown = call(broker, "POST", f"/walker/{name}")
        assert (unknown.status, unknown.body) == (404, {"detail": "Not Found"})
    assert call(broker, "GET", "/walker/hook_whoami").status == 404


def test_events_wait_for_the_one_before(broker: Server, node: NodeBackend, stack: ExitStack, name: str):
    sender, reader = on(stack, broker), on(stack, broker, name)
    with node.hooked(broker, "events", "publish", f"channel:{name}", at="held"):
        for number in range(3):
            sender.send(to(name, n=number))
        for number in range(3):
            wait_until(node.held)
            reader.pending()
            assert node.held() == 1
            node.release()
            assert reader.receive() == {"n": number}


@pytest.mark.parametrize("fail", ["closed", "open"])
def test_while_the_backend_fails_fail_decides(
    broker: Server, node: NodeBackend, stack: ExitStack, name: str, fail: str
):
    one = on(stack, broker, name)
    with (
        node.hooked(broker, "events", "publish", f"channel:{name}", at="broken", fail=fail),
        node.hooked(broker, "events", "request", "hook_add", at="broken", fail=fail),
    ):
        one.send(to(name, n=1))
        [frame] = one.pending()
        if fail == "open":
            assert frame == {"n": 1}
            # Nobody else has an answer.
            assert one.walk("hook_add")["error"] == "Invalid request! Please use valid walker event!"
        else:
            assert frame["type"] == "channel"
            assert frame["error"]
            assert one.walk("hook_add")["error"]
