"""The tokens protocol with hooks, with a backend in Node and real clients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.hooks.node import NodeBackend, operate, refusals
from tests.services.server import Server
from tests.services.waiting import wait_until
from tests.tokens.client import Client, form, refusal


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as one:
        yield one


def client(stack: ExitStack, server: Server, token: str) -> Client:
    one = Client(server, token)
    stack.callback(one.close)
    return one


def test_a_receiver_that_the_backend_refuses_is_left_out_and_the_others_are_asked_about_once(
    broker: Server, node: NodeBackend, stack: ExitStack, name: str
):
    sender, reader, quiet = (client(stack, broker, f"{name}{one}") for one in ("", "/a", "/quiet"))
    before = refusals(broker, "tokens", "hook")
    with node.hooked(broker, "tokens", "publish", f"token:{name}*"):
        sender.send(f"{name}/a,{name}/quiet|hello")
        assert (reader.next_frame(), sender.received(), quiet.received()) == ("hello", [], [])
        sender.send(f"{name}/a|rude")
        assert (sender.received(), reader.received()) == ([], [])

    assert refusals(broker, "tokens", "hook") - before == 2
    assert sorted((one["address"], one["message"]) for one in node.asked()) == [
        (f"token:{name}/a", "hello"),
        (f"token:{name}/a", "rude"),
        (f"token:{name}/quiet", "hello"),
    ]
    assert {(one["on"], one["protocol"], one["identity"]) for one in node.asked()} == {
        ("publish", "tokens", name)
    }


def test_a_message_can_be_replaced_and_reaches_a_client_once_all_the_same(
    broker: Server, node: NodeBackend, stack: ExitStack, name: str
):
    reader = client(stack, broker, f"{name}/a")
    with node.hooked(broker, "tokens", "publish", f"token:{name}*"):
        for text in ("loud", "plain"):
            reader.send(f"{name}/,{name}/a|{text}")
        assert reader.received() == ["LOUD", "plain"]
        reader.send(f"{name}/,{name}/a|own copy")
        assert sorted(map(str, reader.received())) == [
            f"own copy of token:{name}/",
            f"own copy of token:{name}/a",
        ]
    reader.send(f"{name}/a|loud")
    assert reader.received() == ["loud"]


def test_a_token_that_the_backend_refuses_is_not_taken(
    broker: Server, node: NodeBackend, stack: ExitStack, name: str
):
    with node.hooked(broker, "tokens", "subscribe", f"token:{name} broken", at="broken"):
        assert refusal(broker, f"{name} broken") == 503
    node.forget()
    with node.hooked(broker, "tokens", "subscribe", f"token:{name}*"):
        assert refusal(broker, f"{name}/private") == 403
        reader = client(stack, broker, f"{name}/a")
        reader.send(f"RegisterToken:{name}/private")
        reader.send(f"{name}/a,{name}/private|still a")
        assert reader.received() == ["still a"]
        reader.send(f"RegisterToken:{name}/b")
        reader.send(f"{name}/a|not b")
        reader.send(f"{name}/b|b")
        assert reader.received() == ["b"]
    assert [one["address"].rpartition("/")[2] for one in node.asked()] == ["private", "a", "private", "b"]


def test_frames_wait_for_the_one_before_and_another_client_does_not(
    broker: Server, node: NodeBackend, stack: ExitStack, name: str
):
    sender, other, reader = (client(stack, broker, f"{name}/{one}") for one in ("x", "y", "r"))
    with node.hooked(broker, "tokens", "publish", f"token:{name}/r", at="held"):
        for number in range(3):
            sender.send(f"{name}/r|{number}")
        for number in range(3):
            wait_until(node.held)
            # The frames behind it are not asked about, and another client goes on.
            other.send(f"{name}/y|beside")
            assert other.next_frame() == "beside"
            assert node.held() == 1
            node.release()
            assert reader.next_frame() == str(number)


def test_a_message_goes_out_though_its_sender_leaves_while_the_backend_is_asked(
    broker: Server, node: NodeBackend, stack: ExitStack, name: str
):
    sender, reader = client(stack, broker, f"{name}/x"), client(stack, broker, f"{name}/r")
    with node.hooked(broker, "tokens", "publish", f"token:{name}/r", at="held"):
        sender.send(f"{name}/r|my last")
        wait_until(node.held)
        sender.close()
        node.release()
        assert reader.next_frame() == "my last"


@pytest.mark.parametrize("fail", ["closed", "open"])
def test_a_backend_that_fails_ten_times_is_not_asked_and_fail_decides(
    broker: Server, node: NodeBackend, stack: ExitStack, name: str, fail: str
):
    sender, reader = client(stack, broker, f"{name}/x"), client(stack, broker, f"{name}/r")
    with node.hooked(broker, "tokens", "publish", f"token:{name}/r", at="broken", fail=fail):
        for number in range(15):
            sender.send(f"{name}/r|{number}")
        sender.received()
    assert len(node.asked()) == 10
    assert reader.received() == ([str(number) for number in range(15)] if fail == "open" else [])


def test_a_message_of_a_client_that_is_sent_away_meanwhile_goes_nowhere(
    broker: Server, node: NodeBackend, stack: ExitStack, name: str
):
    sender, reader = client(stack, broker, f"{name}/x"), client(stack, broker, f"{name}/r")
    with node.hooked(broker, "tokens", "publish", f"token:{name}/r", at="held"):
        sender.send(f"{name}/r|too late")
        wait_until(node.held)
        operate(broker, "POST", "/api/disconnect", {"addresses": [f"token:{name}/x"]})
        assert sender.close_code() == 4003
        node.release()
        reader.send(f"{name}/r|next")
        node.release()
        assert reader.next_frame() == "next"


def test_the_form_api_asks_without_a_connection(
    broker: Server, node: NodeBackend, stack: ExitStack, name: str
):
    reader = client(stack, broker, f"{name}/a")
    with node.hooked(broker, "tokens", "publish", f"token:{name}*"):
        assert form(broker, "broadcast", message=f"{name}/a|loud").json()["ok"] is True
        assert reader.next_frame() == "LOUD"
        answer = form(broker, "broadcast", message=f"{name}/a,{name}/quiet|hello")
        assert (answer.status, answer.json()) == (403, {"error": "not that here"})
        assert reader.received() == []
    assert {one["connection"] for one in node.asked()} == {None}
