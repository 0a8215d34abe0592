"""The last messages, for clients of tokens, events and rooms that ask for them as they come."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from typing import Any, Final

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.compliance.engineio.client import Site, handshake
from tests.requests.peer import call
from tests.rooms.client import SOCKET_IO, polled
from tests.services.databases import Databases
from tests.services.running import running
from tests.services.server import Server

PATIENT: Final[dict[str, Any]] = {"proxy": None, "open_timeout": 60}
"""Options of a client on a busy machine."""


@pytest.fixture(scope="module")
def broker(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose every address has history."""
    with running(databases, tmp_path_factory.mktemp("last"), HISTORY_SIZE="50") as server:
        yield server


@pytest.fixture
def name() -> str:
    return secrets.token_hex(4)


def publish(server: Server, address: str, *messages: Any) -> None:
    for message in messages:
        body = {"addresses": [address], "message": message}
        assert call(server, "/api/publish", body)[0] == 200


def some(socket: ClientConnection, count: int) -> list[Any]:
    return [socket.recv(timeout=60) for _ in range(count)]


def test_a_token_gets_its_last_messages_before_new_ones(broker: Server, name: str):
    publish(broker, f"token:g/{name}", "1", "2", "3")
    publish(broker, "token:g/", "to the group")
    with connect(f"{broker.ws_url}/ws?RegisterToken=g/{name}&last=2", **PATIENT) as socket:
        publish(broker, f"token:g/{name}", "4")
        assert some(socket, 3) == ["2", "3", "4"]


def test_a_token_that_does_not_ask_gets_none(broker: Server, name: str):
    publish(broker, f"token:{name}", "1")
    for query in ("", "&last=", "&last=0"):
        with connect(f"{broker.ws_url}/ws?RegisterToken={name}{query}", **PATIENT) as socket:
            publish(broker, f"token:{name}", "new")
            assert some(socket, 1) == ["new"]


@pytest.mark.parametrize("last", ["x", "-1", "1001", "1.5", "%D9%A3", "1" * 5000])
def test_a_number_of_messages_that_is_none_refuses_the_handshake(broker: Server, name: str, last: str):
    with (
        pytest.raises(InvalidStatus) as refused,
        connect(f"{broker.ws_url}/ws?RegisterToken={name}&last={last}", **PATIENT),
    ):
        pass
    assert refused.value.response.status_code == 403


def test_a_channel_gives_its_last_messages_after_the_connection_frame(broker: Server, name: str):
    publish(broker, f"channel:{name}", {"n": 1}, {"n": 2}, {"n": 3})
    with connect(f"{broker.ws_url}/websocket?channel_id={name}&last=2", **PATIENT) as socket:
        publish(broker, f"channel:{name}", {"n": 4})
        first, *rest = map(json.loads, some(socket, 4))
        assert first["type"] == "connection"
        assert rest == [{"n": 2}, {"n": 3}, {"n": 4}]


def test_a_channel_says_when_the_number_is_none(broker: Server, name: str):
    publish(broker, f"channel:{name}", {"n": 1})
    with connect(f"{broker.ws_url}/websocket?channel_id={name}&last=many", **PATIENT) as socket:
        publish(broker, f"channel:{name}", {"n": 2})
        first, error, rest = map(json.loads, some(socket, 3))
        assert first["type"] == "connection"
        assert "`last` is a whole number from 0 to 1000" in json.dumps(error)
        assert rest == {"n": 2}


@pytest.mark.parametrize("namespace", ["layout", "bus"])
def test_a_room_gives_its_last_events_after_the_ack(broker: Server, name: str, namespace: str):
    publish(broker, f"room:{namespace}/{name}", "1", "2", "3")
    with connect(f"{broker.ws_url}/{namespace}", **PATIENT) as socket:
        socket.send(json.dumps(["JOIN", {"room": name, "name": "n", "last": 2}]))
        publish(broker, f"room:{namespace}/other", "not here")
        socket.send(json.dumps(["NOTIFY", {"room": "other", "message": "nobody"}]))
        events = [json.loads(text) for text in some(socket, 2)]
    assert [event[1]["message"] for event in events] == ["2", "3"]
    assert {event[0] for event in events} == {"EVENT"}


@pytest.mark.parametrize("last", [-1, 1001, "2", True, None, 1.5])
def test_a_room_refuses_a_number_that_is_none(broker: Server, name: str, last: Any):
    with connect(f"{broker.ws_url}/layout", **PATIENT) as socket:
        socket.send(json.dumps(["JOIN", {"room": name, "name": "n", "last": last}]))
        event, told = json.loads(socket.recv(timeout=60))
    assert (event, told["event"]) == ("ERROR", "JOIN")
    assert "`last`" in told["reason"]


@pytest.mark.parametrize("version", [3, 4])
async def test_socket_io_clients_get_the_events_after_the_ack(broker: Server, name: str, version: int):
    site = Site(broker.port, version, SOCKET_IO)
    publish(broker, f"room:layout/{name}", "1", "2", "3")
    sid = str(handshake((await site.get()).text)["sid"])
    texts = ("40/layout,", f'42/layout,0["JOIN",{{"room":"{name}","name":"n","last":2}}]')
    framed = "\x1e".join(texts) if version == 4 else "".join(f"{len(text)}:{text}" for text in texts)
    await site.post(framed, sid)
    received = await polled(site, sid, '"3"')
    ack, two, three = (received.index(part) for part in ("43/layout,0[]", '"message":"2"', '"message":"3"'))
    assert ack < two < three
    assert '"message":"1"' not in received
