"""Frames that no client should send: each gets its close code or the documented silence."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from tests.services.ports import LOOPBACK
from tests.services.server import Server
from tests.services.waiting import wait_until
from tests.tokens.client import call, form, refusal
from tests.tokens.conftest import Connect

TOO_BIG, INVALID_TEXT, UNSUPPORTED = 1009, 1007, 1003


@pytest.fixture
def bystander(broker: Server, connect: Connect, name: str) -> Any:
    """A client that must go on receiving whatever the test does."""
    client = connect(broker, f"{name}/bystander")
    yield client
    assert form(broker, "broadcast", message=f"{name}/bystander|still here").status == 200
    assert client.next_frame() == "still here"


def refused(server: Server, reason: str) -> float:
    text = call(server, "GET", "/metrics").text
    wanted = f'switchboard_refused_total{{protocol="tokens",reason="{reason}"}}'
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(wanted))


@pytest.mark.usefixtures("bystander")
def test_decision_29_oversized_frame(broker: Server, connect: Connect, name: str) -> None:
    client = connect(broker, name)
    before = refused(broker, "too_big")

    client.send(f"{name}|" + "x" * 65536)

    assert client.close_code() == TOO_BIG
    wait_until(lambda: refused(broker, "too_big") == before + 1)


@pytest.mark.usefixtures("bystander")
def test_frame_of_the_greatest_size_is_taken(broker: Server, connect: Connect, name: str) -> None:
    client = connect(broker, name)

    client.send(f"{name}|".ljust(65536, "x"))

    assert client.received() == ["x" * (65535 - len(name))]


@pytest.mark.usefixtures("bystander")
def test_decision_29_ten_thousand_receivers(broker: Server, connect: Connect, name: str) -> None:
    client = connect(broker, "1")
    before = refused(broker, "too_big")

    client.send(",".join(map(str, range(10_000))) + "|x")

    assert client.close_code() == TOO_BIG
    wait_until(lambda: refused(broker, "too_big") == before + 1)


@pytest.mark.usefixtures("bystander")
def test_a_thousand_receivers_are_taken(broker: Server, connect: Connect, name: str) -> None:
    clients = [connect(broker, f"{name}/{number}") for number in (0, 500, 999)]

    clients[0].send(",".join(f"{name}/{number}" for number in range(1000)) + "|x")

    assert [client.received() for client in clients] == [["x"]] * 3


@pytest.mark.usefixtures("bystander")
def test_decision_29_overlong_token(broker: Server, connect: Connect) -> None:
    client = connect(broker)

    client.send("RegisterToken:" + "a" * 256)

    assert client.close_code() == TOO_BIG


@pytest.mark.usefixtures("bystander")
def test_token_with_as_many_prefixes_as_possible(broker: Server, connect: Connect) -> None:
    token = "/".join("a" * 128)
    client = connect(broker, token)

    client.send(f"{token},a/,a/a/|x")

    assert client.received() == ["x"]


@pytest.mark.usefixtures("bystander")
def test_decision_28_binary_text(broker: Server, connect: Connect, name: str) -> None:
    client = connect(broker)

    client.send(f"RegisterToken:{name}ż".encode())
    client.send(f"{name}ż|ż".encode())

    assert client.received() == ["ż"]


@pytest.mark.usefixtures("bystander")
def test_decision_28_binary_that_is_no_text(broker: Server, connect: Connect, name: str) -> None:
    client = connect(broker, name)

    client.send(f"{name}|".encode() + b"\xff\xfe")

    assert client.close_code() == UNSUPPORTED


@pytest.mark.usefixtures("bystander")
def test_text_frame_that_is_not_utf_8(broker: Server, connect: Connect, name: str) -> None:
    client = connect(broker, name)

    before = refused(broker, "malformed")
    client.socket.send(f"{name}|".encode() + b"\xff\xfe", text=True)

    assert client.close_code() == INVALID_TEXT
    wait_until(lambda: refused(broker, "malformed") == before + 1)


@pytest.mark.usefixtures("bystander")
def test_plain_get_of_the_socket_path_kills_nothing(broker: Server) -> None:
    assert call(broker, "GET", "/ws").status in {400, 404, 426}


@pytest.mark.usefixtures("bystander")
def test_query_string_that_is_not_utf_8(broker: Server) -> None:
    request = (
        b"GET /ws?RegisterToken=\xff HTTP/1.1\r\nHost: localhost\r\n"
        b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    with socket.create_connection((LOOPBACK, broker.port), timeout=60) as raw:
        raw.sendall(request)
        status = raw.recv(4096).split(b"\r\n")[0]

    assert status.split()[1] in {b"400", b"403"}


@pytest.mark.usefixtures("bystander")
@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
def test_decision_31_foreign_origin_is_refused(broker: Server, connect: Connect, origin: str) -> None:
    assert refusal(broker, "abc", origin=origin) == 403
    assert connect(broker, "abc", origin=broker.url).received() == []
