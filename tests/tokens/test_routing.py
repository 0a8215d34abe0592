"""Receivers of a broadcast: exact tokens, prefixes, once per connection, the sender too, in order."""

from __future__ import annotations

from tests.services.server import Server
from tests.tokens.client import Client, call, form
from tests.tokens.conftest import Connect


def received(sender: Client, *others: Client) -> list[list[str | bytes]]:
    """The frames of each client, the sender first, once the server has handled all that it sent."""
    return [client.received() for client in (sender, *others)]


def test_example_of_the_original_reaches_exactly_whom_it_names(broker: Server, connect: Connect) -> None:
    tokens = ["abc1", "abc3", "group/item1", "group/item2", "ab", "abc", "abc10", "group", "item1", None]
    clients = [connect(broker, token) for token in tokens]
    sender = clients[-1]

    sender.send("abc1,group/,abc3|Hello")

    sender.received()
    assert [client.received() for client in clients] == [["Hello"]] * 4 + [[]] * 6


def test_decision_3_prefix_ends_in_a_slash(broker: Server, connect: Connect, name: str) -> None:
    tokens = [f"{name}/", f"{name}/a", f"{name}/a/b", f"{name}/ab", f"{name}", f"{name}x/a"]
    clients = [connect(broker, token) for token in tokens]
    sender = clients[-1]

    for receiver in (f"{name}/", f"{name}/a/", f"{name}/a", name):
        sender.send(f"{receiver}|{receiver}")

    sender.received()
    everything = f"{name}/"
    assert [client.received() for client in clients] == [
        [everything],
        [everything, f"{name}/a"],
        [everything, f"{name}/a/"],
        [everything],
        [name],
        [],
    ]


def test_decision_4_connection_gets_a_message_once(broker: Server, connect: Connect, name: str) -> None:
    client, other = connect(broker, f"{name}/a/b"), connect(broker, f"{name}/a/b")

    client.send(f"{name}/,{name}/a/b,{name}/a/,{name}/a/b|once")

    assert received(client, other) == [["once"], ["once"]]


def test_decision_27_sender_gets_its_own_when_it_matches(broker: Server, connect: Connect, name: str) -> None:
    client, other = connect(broker, name), connect(broker, f"{name}2")

    client.send(f"{name},{name}2|both")
    client.send(f"{name}2|other")

    assert received(client, other) == [["both"], ["both", "other"]]


def test_decision_2_spaces_and_empty_entries(broker: Server, connect: Connect, name: str) -> None:
    client = connect(broker, name)

    client.send(f" , {name} ,,|x")

    assert client.received() == ["x"]


def test_decision_26_empty_list_reaches_nobody(broker: Server, connect: Connect, name: str) -> None:
    client, without = connect(broker, name), connect(broker)

    for frame in ("|x", " , |x", "|"):
        client.send(frame)

    assert received(client, without) == [[], []]


def test_decision_6_clients_without_a_token(broker: Server, connect: Connect, name: str) -> None:
    sender, without = connect(broker, name), connect(broker)

    sender.send("unregistered|a")
    sender.send("unregstered|b")
    sender.send("unregistered,unregstered|c")

    assert received(sender, without) == [[], ["a", "b", "c"]]


def test_decision_7_text_that_is_no_message_is_ignored(broker: Server, connect: Connect, name: str) -> None:
    client = connect(broker, name)

    for frame in ("hello", f"hi {name} there", name, "", " ", "echo:x"):
        client.send(frame)

    assert client.received() == []


def test_decision_9_echo(broker: Server, connect: Connect, name: str) -> None:
    client = connect(broker, name)

    for text in ("message", "", "a:b:c", f"{name}|b", " ż😀\n"):
        client.send(f"Echo:{text}")

    assert client.received() == ["message", "", "a:b:c", f"{name}|b", " ż😀\n"]


def test_decision_30_messages_of_one_sender_keep_their_order(
    broker: Server, connect: Connect, name: str
) -> None:
    sender = connect(broker)
    receiver = connect(broker, f"{name}/a")
    lists = [f"{name}/a", f"{name}/", f"nobody,{name}/a,{name}/"]

    for number in range(300):
        sender.send(f"{lists[number % 3]}|{number}")

    assert received(sender, receiver)[1] == [str(number) for number in range(300)]


def test_decision_10_register_token_has_no_reply_and_holds_for_the_following_messages(
    broker: Server, connect: Connect, name: str
) -> None:
    client = connect(broker)
    own = []

    for number in range(50):
        client.send(f"RegisterToken:{name}/{number}")
        client.send(f"{name}/{number - 1}|old")
        client.send(f"{name}/{number}|{number}")
        client.send("unregistered|gone")
        own.append(str(number))

    assert client.received() == own


def test_register_token_never_loses_a_message_to_a_prefix_of_both(
    broker: Server, connect: Connect, name: str
) -> None:
    moving, sender = connect(broker, f"{name}/0"), connect(broker)

    for number in range(200):
        moving.send(f"RegisterToken:{name}/{number % 7}")
        sender.send(f"{name}/|{number}")

    frames = moving.received()
    sender.received()
    assert frames + moving.received() == [str(number) for number in range(200)]


def test_decision_11_impossible_token_keeps_the_old_one(broker: Server, connect: Connect, name: str) -> None:
    client = connect(broker, name)

    for value in ("", " ", "a,b", f"{name}|x", "a\x00", "a\nb"):
        client.send(f"RegisterToken:{value}")
    client.send(f"{name}|still")

    assert client.received() == ["still"]


def test_in_band_token_may_hold_colons(broker: Server, connect: Connect, name: str) -> None:
    client = connect(broker)

    client.send(f"RegisterToken:{name}:a:b")
    client.send(f"{name}:a:b|x")
    client.send(f"{name}|y")

    assert client.received() == ["x"]


def test_payload_stays_as_it_is(broker: Server, connect: Connect, name: str) -> None:
    client = connect(broker, name)
    payloads = ["", " ", "a|b", '{"json": [1]}', "<b>&\u2028", "ż😀", "line\nline", "\x00\x7f", "x" * 60_000]

    for payload in payloads:
        client.send(f"{name}|{payload}")

    assert client.received() == payloads


def test_publish_of_the_core_reaches_tokens_and_prefixes(broker: Server, connect: Connect, name: str) -> None:
    one, two = connect(broker, f"{name}/1"), connect(broker, f"{name}/2")

    def publish(message: object, *addresses: str) -> int:
        body = {"addresses": addresses, "message": message}
        return call(broker, "POST", "/api/publish", body).status

    statuses = {
        publish("text", f"token:{name}/1", f"token:{name}/"),
        publish({"json": ["ż"]}, f"token:{name}/2"),
    }

    assert statuses == {200}
    assert [one.next_frame(), two.next_frame(), two.next_frame()] == ["text", "text", '{"json":["ż"]}']
    assert [one.received(), two.received()] == [[], []]


def test_decision_18_form_api_and_sockets_reach_the_same(broker: Server, connect: Connect, name: str) -> None:
    client = connect(broker, f"{name}/1")

    assert form(broker, "broadcast", message=f"{name}/,{name}/1|a|b").status == 200

    assert client.next_frame() == "a|b"
    assert client.received() == []
