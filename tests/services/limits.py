"""Rate limits of a server that the tests started."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from tests.services.server import Server

MANY: Final = 10**6
NO_BOUND: Final = {"rate": MANY, "burst": MANY}


def add_limit(server: Server, protocol: str, command: str, per: str, **fields: Any) -> int:
    """Make a limit, which holds in the process that answers; its id."""
    row = {"protocol": protocol, "command": command, "per": per, "rate": 0.0001, "burst": 1, **fields}
    return int(_call(server, "POST", "/api/limits/", row)["id"])


def delete_limit(server: Server, id: int) -> None:
    """Delete a limit."""
    _call(server, "DELETE", f"/api/limits/{id}/")


@contextmanager
def limited(server: Server, protocol: str, command: str, per: str, **fields: Any) -> Iterator[int]:
    """A limit for the time of a context: by default one at once, and hours until the next."""
    id = add_limit(server, protocol, command, per, **fields)
    try:
        yield id
    finally:
        delete_limit(server, id)


def let_everybody_log_in(server: Server) -> None:
    """Take away the bound of logins that a server has by itself."""
    add_limit(server, "events", "login", "network", **NO_BOUND)


def _call(server: Server, method: str, path: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = {"X-API-Key": server.api_key, "Content-Type": "application/json"}
    try:
        with urllib.request.urlopen(
            urllib.request.Request(server.url + path, data, headers, method=method), timeout=60
        ) as response:
            raw = response.read()
            return json.loads(raw) if raw else None
    except urllib.error.HTTPError as error:
        with error:
            raise AssertionError((error.code, error.read())) from None
