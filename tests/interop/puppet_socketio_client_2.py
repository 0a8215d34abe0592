"""socketIO-client-2 0.7.5 as puppets: the commands and answers of `puppet.mjs`.

Runs in a virtual environment of its own; the library needs setuptools' `pkg_resources`. It reads what comes
only within `wait`, so a thread does nothing else, as in the programs that use it.
"""

from __future__ import annotations

import json
import sys
import threading
import warnings
from collections import defaultdict
from typing import Any
from urllib.parse import urlsplit

warnings.simplefilter("ignore")
from socketIO_client import SocketIO, SocketIONamespace  # noqa: E402

stdout = threading.Lock()


def tell(**what: Any) -> None:
    with stdout:
        sys.stdout.write(json.dumps(what) + "\n")
        sys.stdout.flush()


class Namespace(SocketIONamespace):  # type: ignore[misc]
    """Tells everything that it receives."""

    name = ""

    def on_connect(self) -> None:
        tell(client=self.name, event="connect", args=[""])

    def on_reconnect(self) -> None:
        self.on_connect()

    def on_disconnect(self) -> None:
        tell(client=self.name, event="disconnect", args=[])

    def on_event(self, event: str, *args: Any) -> None:
        tell(client=self.name, event=event, args=args)


class Puppet:
    """One client in one namespace."""

    def __init__(self) -> None:
        self._client: Any = None
        self._namespace: Any = None

    def open(self, command: dict[str, Any]) -> None:
        url = urlsplit(command["url"])
        named = type("Named", (Namespace,), {"name": command["client"]})
        options = command["options"]
        self._client = SocketIO(
            url.hostname, url.port, params=options.get("query", {}), **_transports(options)
        )
        self._namespace = self._client.define(named, url.path)
        threading.Thread(target=self._listen, daemon=True).start()

    def emit(self, command: dict[str, Any]) -> None:
        name, number = command["client"], command.get("ack")
        answer = [lambda *args: tell(client=name, ack=number, args=args)] if number else []
        self._namespace.emit(command["event"], *command["args"], *answer)

    def look(self, command: dict[str, Any]) -> None:
        transport = self._client.transport_name.removeprefix("xhr-")
        tell(client=command["client"], event="transport", args=[transport])

    def close(self, command: dict[str, Any]) -> None:
        client, self._client = self._client, None
        client.disconnect()

    def _listen(self) -> None:
        client = self._client
        while self._client is not None:
            client.wait(seconds=1)


def _transports(options: dict[str, Any]) -> dict[str, Any]:
    return {"transports": options["transports"]} if "transports" in options else {}


puppets: dict[str, Puppet] = defaultdict(Puppet)
tell(event="ready")
for line in sys.stdin:
    received = json.loads(line)
    getattr(puppets[received["client"]], received["do"])(received)
