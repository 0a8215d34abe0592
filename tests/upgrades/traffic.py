"""What clients of all protocols do all the time, and sockets that stay open."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import count
from typing import Any, Final

import jwt
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from tests.project import exchanges
from tests.project.exchanges import SECONDS, Site
from tests.services.waiting import wait_until

SHARE: Final = 8
"""Pauses are so many times as long as a round takes: a busy machine is not made busier."""
LONGEST_PAUSE: Final = 5.0
"""Seconds of a pause at the most."""
NUMBERS: Final = count(1)


class Customers:
    """Signs tokens of the publisher that a first run makes; each is of another customer."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def token(self) -> str:
        """A customer's token, for ten minutes."""
        now = int(time.time())
        claims = {"customerId": f"c{next(NUMBERS)}", "publisherId": "demo", "iat": now, "exp": now + 600}
        return jwt.encode(claims, self._secret, algorithm="HS256")


def rest(site: Site) -> None:
    """Rows come, are read, are changed and go."""
    name = f"traffic-{next(NUMBERS)}"
    made = site.call("/api/tokens/", {"token": name})
    site.call(f"/api/tokens/{made['id']}/", {"note": "changed"}, "PATCH")
    assert site.call(f"/api/tokens/{made['id']}/")["note"] == "changed"
    assert site.call("/api/clients/")["count"] >= 0
    assert site.call("/api/workers/")
    room = site.call("/api/rooms/", {"namespace": "bus", "name": name, "note": "traffic"})
    assert room["name"] == name


class Traffic:
    """Rounds of all kinds of exchange at the same time, one after another until the end of the context."""

    def __init__(self, site: Site, customers: Customers) -> None:
        self.site = site
        self.rounds = 0
        self.failures: list[str] = []
        self._end = threading.Event()
        self._kinds: dict[str, Callable[[Site], None]] = {
            "tokens": exchanges.tokens,
            "rooms": exchanges.rooms,
            "events": exchanges.events,
            "requests": exchanges.requests,
            "sessions": lambda site: exchanges.sessions(site, customers.token()),
            "rest": rest,
        }
        self._thread = threading.Thread(target=self._repeat)

    def goes_on(self) -> None:
        """Wait until another round has begun and ended, and all have gone well."""
        wanted = self.rounds + 2
        wait_until(lambda: self.failures or self.rounds >= wanted, 100)
        if self.failures:
            pytest.fail("\n".join(self.failures))

    def _repeat(self) -> None:
        pause = 0.0
        with ThreadPoolExecutor(len(self._kinds)) as threads:
            while not self._end.wait(pause):
                began = time.monotonic()
                list(threads.map(self._exchange, self._kinds))
                self.rounds += 1
                pause = min(SHARE * (time.monotonic() - began), LONGEST_PAUSE)

    def _exchange(self, kind: str) -> None:
        try:
            self._kinds[kind](self.site)
        except Exception as error:
            self.failures.append(f"{kind}: {type(error).__name__} {error}")

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._end.set()
        self._thread.join()


class Held:
    """A socket of each protocol that receives what is published to it."""

    def __init__(self, site: Site, customers: Customers, opened: ExitStack) -> None:
        paths = {
            "tokens": "/ws?RegisterToken=held",
            "rooms": "/bus",
            "events": "/websocket?channel_id=held",
            "requests": f"/connection?key={site.key}",
        }
        self.sockets = {name: opened.enter_context(site.socket(path)) for name, path in paths.items()}
        _ask(self.sockets["rooms"], ["JOIN", {"room": "held", "name": "held"}], ["CLIENTS", {"room": "held"}])
        subscribe = {"key": "s", "direction": "REQUEST", "type": "subscribe", "addresses": ["channel:held"]}
        _ask(self.sockets["requests"], subscribe)
        self.sockets["events"].recv(timeout=SECONDS)
        offer = {"sessionName": "TV", "offerId": "S1"}
        answer = site.call("/sessions", offer, Authorization=f"Bearer {customers.token()}")
        path = "/" + answer["endpoint"].partition("://")[2].partition("/")[2]
        self.sockets["sessions"] = opened.enter_context(site.socket(path))
        _ask(self.sockets["sessions"], {"action": "REQUESTED"})

    def publish(self, site: Site, word: str) -> None:
        """Publish to all of them at a server, this one or another, and wait until each has it."""
        addresses = ["token:held", "room:bus/held", "channel:held"]
        site.call("/api/publish", {"addresses": addresses, "message": {"word": word}})
        for name in ("tokens", "rooms", "events", "requests"):
            while word not in str(self.sockets[name].recv(timeout=SECONDS)):
                pass

    def alive(self) -> dict[str, bool]:
        """Whether each answers a ping."""
        return {name: socket.ping().wait(SECONDS) for name, socket in self.sockets.items()}

    def codes(self) -> dict[str, int | None]:
        """The close code of each, when all have been closed."""
        return {name: _closed(socket) for name, socket in self.sockets.items()}


def _ask(socket: ClientConnection, *messages: Any) -> None:
    """Send messages, and wait for an answer to the last one."""
    for message in messages:
        socket.send(json.dumps(message))
    socket.recv(timeout=SECONDS)


def _closed(socket: ClientConnection) -> int | None:
    try:
        while True:
            socket.recv(timeout=SECONDS)
    except ConnectionClosed:
        return socket.close_code
