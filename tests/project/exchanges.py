"""A short exchange of each of the five protocols, for a server that was installed or embedded in some way."""

from __future__ import annotations

import json
from typing import Any, Final
from urllib.request import Request, urlopen

from websockets.sync.client import ClientConnection, connect

SECONDS: Final = 60


class Site:
    """A server at a port of this machine, and an API key of its own."""

    def __init__(self, port: int, key: str) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self._sockets = f"ws://127.0.0.1:{port}"
        self.key = key

    def socket(self, path: str) -> ClientConnection:
        """An open WebSocket."""
        return connect(f"{self._sockets}{path}", proxy=None, open_timeout=SECONDS)

    def call(self, path: str, body: Any = None, method: str | None = None, **headers: str) -> Any:
        """The JSON answer of REST, called with the key or other headers. Raises HTTPError."""
        data = None if body is None else json.dumps(body).encode()
        sent = {"Content-Type": "application/json", **(headers or {"X-API-Key": self.key})}
        with urlopen(Request(f"{self.url}{path}", data, sent, method=method), timeout=SECONDS) as answer:
            return json.load(answer)

    def text(self, path: str) -> str:
        """The answer of a path, called with the key."""
        with urlopen(
            Request(f"{self.url}{path}", headers={"X-API-Key": self.key}), timeout=SECONDS
        ) as answer:
            return str(answer.read().decode())


def _said(socket: ClientConnection) -> Any:
    return json.loads(socket.recv(timeout=SECONDS))


def tokens(site: Site) -> None:
    """One client's message reaches another one."""
    with site.socket("/ws?RegisterToken=tried") as receiver, site.socket("/ws") as sender:
        sender.send("tried|from a client")

        assert receiver.recv(timeout=SECONDS) == "from a client"


def rooms(site: Site) -> None:
    """A member of a room hears another member."""
    with site.socket("/bus") as alice, site.socket("/bus") as bob:
        for member, name in ((alice, "alice"), (bob, "bob")):
            member.send(json.dumps(["JOIN", {"room": "tried", "name": name}]))
            member.send(json.dumps(["CLIENTS", {"room": "tried"}]))
            while _said(member)[0] != "CLIENTS":
                pass
        bob.send(json.dumps(["NOTIFY", {"room": "tried", "message": "hello"}]))
        name, event = _said(alice)

        assert (name, event["sender"], event["message"]) == ("EVENT", "bob", "hello")


def events(site: Site, prefix: str = "") -> None:
    """A message that is published over REST reaches a channel."""
    with site.socket("/websocket?channel_id=tried") as member:
        assert _said(member)["type"] == "connection"
        site.call(f"{prefix}/api/publish", {"addresses": ["channel:tried"], "message": {"text": "hello"}})

        assert _said(member) == {"text": "hello"}


def requests(site: Site) -> None:
    """A peer with a key subscribes to an address, and is delivered what it publishes to it."""
    with site.socket(f"/connection?key={site.key}") as peer:
        _ask(peer, "subscribe", addresses=["token:other"])
        frame = {"key": "p", "direction": "REQUEST", "type": "publish"}
        peer.send(json.dumps({**frame, "addresses": ["token:other"], "message": "hello"}))
        answers = [_said(peer), _said(peer)]

        assert sorted(answer["type"] for answer in answers if "type" in answer) == ["delivery"]
        assert [answer["message"] for answer in answers if answer.get("type") == "delivery"] == ["hello"]


def _ask(peer: ClientConnection, kind: str, **fields: Any) -> None:
    peer.send(json.dumps({"key": kind, "direction": "REQUEST", "type": kind, **fields}))
    assert _said(peer)["direction"] == "REPLY"


def sessions(site: Site, customer: str, prefix: str = "") -> None:
    """A player with a customer's token asks for a session, connects, and may play."""
    offer = {"sessionName": "TV", "offerId": "S1"}
    answer = site.call(f"{prefix}/sessions", offer, Authorization=f"Bearer {customer}")
    path = "/" + answer["endpoint"].partition("://")[2].partition("/")[2]
    with site.socket(path) as player:
        player.send(json.dumps({"action": "REQUESTED"}))

        assert _said(player) == {"action": "OK"}
