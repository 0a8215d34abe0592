"""python-socketio's clients as puppets: the commands and answers of `puppet.mjs`."""

from __future__ import annotations

import json
import sys
import threading
from base64 import b64decode, b64encode
from collections import defaultdict
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import socketio

NAMES = (
    "EVENT",
    "ERROR",
    "CLIENTS",
    "JOINED",
    "PEERS",
    "LEFT",
    "MESSAGE",
    "RTCSIGNAL",
    "EVENTS",
    "UPDATES",
    "STATUS",
)


SECONDS = 60
"""Longest wait for the server; by itself it gives up after one second, and tells nobody."""

stdout = threading.Lock()


def plain(value: Any) -> Any:
    return {"buffer": b64encode(value).decode()}


def revived(value: dict[str, Any]) -> Any:
    return b64decode(value["buffer"]) if isinstance(value.get("buffer"), str) else value


def tell(**what: Any) -> None:
    with stdout:
        sys.stdout.write(json.dumps(what, default=plain) + "\n")
        sys.stdout.flush()


class Puppet:
    """One client in one namespace."""

    def __init__(self) -> None:
        self._client = socketio.Client(
            reconnection_delay=0.1, reconnection_delay_max=0.3, request_timeout=SECONDS
        )
        self._namespace = "/"

    def open(self, command: dict[str, Any]) -> None:
        url = urlsplit(command["url"])
        name, self._namespace = command["client"], url.path
        for event in NAMES:
            self._client.on(event, self._teller(name, event), namespace=self._namespace)
        self._client.on("connect", lambda: self._connected(name), namespace=self._namespace)
        refused = self._teller(name, "connect_error")
        self._client.on("connect_error", refused, namespace=self._namespace)
        disconnected = self._teller(name, "disconnect")
        self._client.on("disconnect", disconnected, namespace=self._namespace)
        options = command["options"]
        with suppress(socketio.exceptions.ConnectionError):  # the handler has told it
            self._client.connect(
                f"{url.scheme}://{url.netloc}?{url.query}",
                headers=options.get("headers") or {},
                auth=options.get("auth"),
                transports=options.get("transports"),
                namespaces=[self._namespace],
                wait_timeout=SECONDS,
            )

    def emit(self, command: dict[str, Any]) -> None:
        name, number = command["client"], command.get("ack")
        answer = (lambda *args: tell(client=name, ack=number, args=args)) if number else None
        self._client.emit(
            command["event"], tuple(command["args"]), namespace=self._namespace, callback=answer
        )

    def close(self, command: dict[str, Any]) -> None:
        self._client.disconnect()

    def _connected(self, name: str) -> None:
        id = self._client.get_sid(self._namespace)
        tell(client=name, event="connect", args=[id])

    def look(self, command: dict[str, Any]) -> None:
        tell(client=command["client"], event="transport", args=[self._client.transport()])

    @staticmethod
    def _teller(name: str, event: str) -> Any:
        return lambda *args: tell(client=name, event=event, args=args)


puppets: dict[str, Puppet] = defaultdict(Puppet)
tell(event="ready")
for line in sys.stdin:
    received = json.loads(line, object_hook=revived)
    getattr(puppets[received["client"]], received["do"])(received)
