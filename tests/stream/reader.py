"""A reader of event streams that follows the standard, over a socket of its own."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from typing import Any, Self
from urllib.parse import urlencode

from tests.services.ports import LOOPBACK
from tests.services.server import Server

PATIENCE_SECONDS = 60


@dataclass
class Event:
    """One event; `data` is decoded."""

    name: str
    id: str
    data: Any

    @property
    def place(self) -> tuple[str, int]:
        """Address and offset."""
        return self.data["address"], self.data["offset"]


@dataclass
class Parser:
    """The algorithm of the standard, line by line: "Interpreting an event stream"."""

    last_event_id: str = ""
    retry: int | None = None
    comments: int = 0
    _id: str = ""
    _name: str = ""
    _data: list[str] = field(default_factory=list)

    def feed(self, line: str) -> Event | None:
        """Take a line without its end; an event where that ends one."""
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "":
                self.comments += 1
            case "event":
                self._name = value
            case "data":
                self._data.append(value)
            case "id":
                self._id = value
            case "retry":
                self.retry = int(value)
        return None

    def _dispatch(self) -> Event | None:
        self.last_event_id = self._id
        name, data = self._name or "message", self._data
        self._name, self._data = "", []
        return Event(name, self._id, json.loads("\n".join(data))) if data else None


class Reader:
    """One stream of a server; a context manager. It asks for its addresses with the server's key."""

    def __init__(
        self,
        server: Server,
        *addresses: str,
        headers: dict[str, str] | None = None,
        port: int = 0,
        receive_buffer: int = 0,
        method: str = "GET",
        **query: Any,
    ) -> None:
        self.parser = Parser()
        self._first: Event | None = None
        self._connection = HTTPConnection(LOOPBACK, port or server.port, timeout=PATIENCE_SECONDS)
        if receive_buffer:
            self._connection.sock = socket.socket()
            self._connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            self._connection.sock.connect((LOOPBACK, port or server.port))
        given = {"X-API-Key": server.api_key} if headers is None else headers
        parameters = [("address", address) for address in addresses]
        path = f"/api/stream?{urlencode([*parameters, *query.items()])}"
        self._connection.request(method, path, headers=given)
        self.response = self._connection.getresponse()

    @property
    def status(self) -> int:
        return self.response.status

    @property
    def last_event_id(self) -> str:
        """The position to come back with."""
        return self.parser.last_event_id

    def header(self, name: str) -> str | None:
        return self.response.getheader(name)

    def body(self) -> Any:
        """The answer of a refusal."""
        return json.loads(self.response.read())

    def opened(self) -> Self:
        """Read up to the first position."""
        while not self.parser.last_event_id:
            self._first = self._line()
        return self

    def first(self) -> Event:
        """The event that had the first position: a gap."""
        assert self._first is not None
        return self._first

    def next(self) -> Event:
        """The next event, waiting for it."""
        while (event := self._line()) is None:
            pass
        return event

    def some(self, count: int) -> list[Event]:
        return [self.next() for _ in range(count)]

    def messages(self, count: int) -> list[Any]:
        return [event.data["message"] for event in self.some(count)]

    def until_comment(self) -> int:
        """Read up to the next comment; how many there were."""
        before = self.parser.comments
        while self.parser.comments == before:
            assert self._line() is None
        return self.parser.comments

    def rest(self) -> list[Event]:
        """Read to the end of the answer. Raises what a broken connection does."""
        events = []
        while line := self.response.readline():
            if (event := self.parser.feed(line.decode().removesuffix("\n"))) is not None:
                events.append(event)
        return events

    def close(self) -> None:
        self.response.close()
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _line(self) -> Event | None:
        line = self.response.readline()
        if not line:
            raise EOFError("the stream has ended")
        return self.parser.feed(line.decode().removesuffix("\n"))


@contextmanager
def reading(server: Server, *addresses: str, **options: Any) -> Iterator[Reader]:
    """A stream that has begun: what is published from here on comes."""
    with closing(Reader(server, *addresses, **options)) as reader:
        assert reader.status == 200, reader.body()
        yield reader.opened()
