"""TOKENS_WIRE_COMPAT: old clients and callers get what the original gave them, and none of its holes."""

from __future__ import annotations

import json

from tests.services.server import Server
from tests.services.waiting import wait_until
from tests.tokens.client import call, form
from tests.tokens.conftest import Connect

# Measured on the original: what is sent, and the frame that abc1, abc3 or abc2 gets.
VECTORS = [
    ("abc1,abc3|Hello", {"abc1": '"Hello"\n', "abc3": '"Hello"\n'}),
    ('abc2|a|b <b>&"q"', {"abc2": '"a|b \\u003cb\\u003e\\u0026\\"q\\""\n'}),
    ("abc2|", {"abc2": '""\n'}),
    ("|x", {}),
    ("hello", {}),
    ("group/|prefix", {"group/item1": '"prefix"\n'}),
    ("unregstered|none", {"": '"none"\n'}),
]


def test_vectors_of_the_original(compatible: Server, connect: Connect) -> None:
    tokens = ["abc1", "abc1", "ab", "abc2", "abc3", "group/item1", ""]
    clients = [connect(compatible, token) for token in tokens]
    sender = clients[2]

    for text, expected in VECTORS:
        sender.send(text)
        sender_frames = sender.received()
        frames = [sender_frames if client is sender else client.received() for client in clients]
        assert frames == [[expected[token]] if token in expected else [] for token in tokens], text


def test_echo_is_a_json_string(compatible: Server, connect: Connect) -> None:
    client = connect(compatible)

    client.send("Echo:message")
    client.send("Echo:")
    client.send("Echo:a|b")

    assert client.received() == ['"message"\n', '""\n', '"a|b"\n']


def test_decision_9_compat_echo_keeps_colons_all_the_same(compatible: Server, connect: Connect) -> None:
    client = connect(compatible)

    client.send("Echo:a:b:c")

    assert client.received() == ['"a:b:c"\n']


def test_published_json_comes_as_clients_of_the_original_parse_it(
    compatible: Server, connect: Connect, name: str
) -> None:
    client = connect(compatible, name)

    call(compatible, "POST", "/api/publish", {"addresses": [f"token:{name}"], "message": {"a": "<ż>"}})

    frame = client.next_frame()
    assert frame == '"{\\"a\\":\\"\\u003cż\\u003e\\"}"\n'
    assert json.loads(json.loads(frame)) == {"a": "<ż>"}


def test_decision_19_bodies_are_the_originals(compatible: Server, connect: Connect, name: str) -> None:
    client, without = connect(compatible, name), connect(compatible)
    replies = [
        form(compatible, "registerToken", token=f"{name}/b<"),
        form(compatible, "registerToken", token=f"{name}/a"),
        form(compatible, "unregisterToken", token=f"{name}/a"),
        form(compatible, "broadcast", message=f"{name}|x"),
        form(compatible, "no such method"),
        call(compatible, "POST", "/"),
        call(compatible, "GET", "/", Accept="*/*"),
    ]
    assert {(reply.status, reply.text) for reply in replies} == {(200, "")}

    listed = form(compatible, "registeredTokenList")
    assert listed.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert listed.text == f'{{"{name}/a":false,"{name}/b\\u003c":true}}'

    assert client.next_frame() == '"x"\n'
    expected = {client.peer: name, without.peer: "unregstered"}
    wait_until(lambda: expected.items() <= form(compatible, "get_clients").json().items())


def test_decision_17_compat_opens_nothing(compatible: Server) -> None:
    reply = call(compatible, "GET", "/?method=get_clients", X_API_Key="")

    assert reply.status == 401
    assert "Access-Control-Allow-Origin" not in reply.headers


def test_errors_stay_errors(compatible: Server) -> None:
    assert form(compatible, "broadcast").status == 400
    assert form(compatible, "registerToken", token="a|b").status == 400
