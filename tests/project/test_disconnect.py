"""`POST /api/disconnect` on real servers: every protocol, and a caller at another worker."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.requests.peer import Peer, call
from tests.services.databases import Databases
from tests.services.running import running
from tests.services.server import Server
from tests.stream.reader import Reader, reading

PATH = "/api/disconnect"


@pytest.fixture(scope="module")
def broker(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(databases, tmp_path_factory.mktemp("disconnect"), REDIS_URL="") as server:
        yield server


@pytest.fixture(scope="module")
def pair(
    databases: Databases, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, Server]]:
    """Two processes that share a database and a Redis."""
    folder = tmp_path_factory.mktemp
    with running(databases, folder("pair"), REDIS_URL=redis_url) as one:
        other = Server(folder("pair"), {"REDIS_URL": redis_url, "DATABASE_URL": one.database_url})
        try:
            other.start()
            yield one, other
        finally:
            other.close()


class Clients:
    """One client of each protocol, each subscribed to an address of its own."""

    def __init__(self, server: Server, stack: ExitStack) -> None:
        self._server, self._stack = server, stack
        name = secrets.token_hex(4)
        self.addresses = {
            "tokens": f"token:{name}",
            "events": f"channel:{name}",
            "plain": f"room:bus/plain {name}",
            "socketio": f"room:bus/{name}",
            "requests": f"user:n::{name:0>24}",
            "stream": f"token:stream/{name}",
        }
        self.tokens = self._open(f"/ws?RegisterToken={name}")
        self.events = self._open(f"/websocket?channel_id={name}")
        self.events.recv(timeout=60)
        self.plain = self._open("/bus")
        self._join(self.plain, f"plain {name}")
        self.socketio = self._open("/socket.io/?EIO=4&transport=websocket")
        self.socketio.recv(timeout=60)
        self.socketio.send("40/bus,")
        self.socketio.recv(timeout=60)
        self.socketio.send(f"42/bus,1{json.dumps(['JOIN', json.dumps({'room': name, 'name': 'n'})])}")
        self._until(self.socketio, lambda text: text.startswith("43/bus,1"))
        self.requests = Peer(server, f"?key={server.api_key}")
        stack.callback(self.requests.close)
        self.requests.ask("subscribe", addresses=[self.addresses["requests"]])
        self.stream: Reader = stack.enter_context(reading(server, self.addresses["stream"])).opened()

    def _open(self, path: str) -> ClientConnection:
        return self._stack.enter_context(connect(f"{self._server.ws_url}{path}", proxy=None))

    def _join(self, socket: ClientConnection, room: str) -> None:
        socket.send(json.dumps(["JOIN", {"room": room, "name": "n"}]))
        socket.send(json.dumps(["CLIENTS", {"room": "nobody is here"}]))
        self._until(socket, lambda text: text.startswith('["CLIENTS"'))

    @staticmethod
    def _until(socket: ClientConnection, found: Callable[[str], bool]) -> None:
        while not found(str(socket.recv(timeout=60))):
            pass

    def check_ended(self, code: int, reason: str) -> None:
        """Each has seen its end."""
        for socket in (self.tokens, self.events, self.plain, self.requests.socket):
            assert _close(socket) == (code, reason)
        self._until(self.socketio, lambda text: text == "41/bus,")
        assert self.stream.rest() == []


def _close(socket: ClientConnection) -> tuple[int, str]:
    with suppress(ConnectionClosed):
        while True:
            socket.recv(timeout=60)
    return socket.close_code or 0, socket.close_reason or ""


def test_clients_of_every_protocol_are_ended_and_counted(broker: Server) -> None:
    with ExitStack() as stack:
        clients, others = Clients(broker, stack), Clients(broker, stack)
        addresses = list(clients.addresses.values())
        body = {"addresses": addresses, "code": 4321, "reason": "ende für heute"}
        assert call(broker, PATH, body) == (200, {"disconnected": 6})
        clients.check_ended(4321, "ende für heute")
        assert call(broker, PATH, body) == (200, {"disconnected": 0})
        others.requests.ask("subscribe", addresses=[others.addresses["tokens"]])
        both = [others.addresses["requests"], others.addresses["tokens"]]
        assert call(broker, PATH, {"addresses": both}) == (200, {"disconnected": 2})
        assert call(broker, PATH, {"addresses": list(others.addresses.values())}) == (
            200,
            {"disconnected": 4},
        )
        others.check_ended(4003, "disconnected by an operator")


def test_a_caller_at_another_worker_ends_them_too(pair: tuple[Server, Server]) -> None:
    with ExitStack() as stack:
        clients = Clients(pair[0], stack)
        body = {"addresses": list(clients.addresses.values()), "code": 4000, "reason": ""}
        assert call(pair[1], PATH, body) == (200, {"accepted": True})
        clients.check_ended(4000, "")


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"addresses": []},
        {"addresses": "token:a"},
        {"addresses": ["token"]},
        {"addresses": ["token:"]},
        {"addresses": ["nonsense:a"]},
        {"addresses": [1]},
        {"addresses": ["token:a\u0001"]},
        {"addresses": [f"token:{number}" for number in range(1001)]},
        {"addresses": ["token:a"], "code": 3999},
        {"addresses": ["token:a"], "code": 5000},
        {"addresses": ["token:a"], "code": 1000},
        {"addresses": ["token:a"], "code": "4003"},
        {"addresses": ["token:a"], "code": True},
        {"addresses": ["token:a"], "reason": "é" * 62},
        {"addresses": ["token:a"], "reason": "x" * 124},
        {"addresses": ["token:a"], "reason": "a\u0000"},
        {"addresses": ["token:a"], "reason": 1},
    ],
    ids=lambda wrong: json.dumps(wrong)[:60],
)
def test_a_wrong_body_is_refused(broker: Server, wrong: Any) -> None:
    assert call(broker, PATH, wrong)[0] == 400


def test_the_longest_reason_goes_through(broker: Server) -> None:
    with ExitStack() as stack:
        clients = Clients(broker, stack)
        reason = "é" * 61 + "x"
        body = {"addresses": list(clients.addresses.values()), "reason": reason}
        assert call(broker, PATH, body) == (200, {"disconnected": 6})
        clients.check_ended(4003, reason)
