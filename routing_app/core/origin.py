"""May a browser page of this origin open a socket here?

A missing Origin passes: no browser sent it, and no cookie rides along. A wrong one never does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

DEFAULT_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}
ORIGIN: Final = re.compile(r"(?ai)(https?|wss?)://([a-z0-9*._-]+|\[[0-9a-f:.]+])(?::([0-9]{1,5}))?")
"""Nothing but scheme, host and port: a path, a user or a backslash makes it something else."""


def allowed(origin: str | None, host: str, patterns: Iterable[str]) -> bool:
    """Check an Origin header against `self`, `*`, `https://site`, `https://site:port` or `https://*.site`.

    `host` is the request's Host header, which `self` compares with, port included.
    """
    if origin is None:
        return True
    return any(_matches(origin, host, pattern) for pattern in patterns)


def is_pattern(text: str) -> bool:
    """Is this something that `allowed` can match? A host without its scheme, say, would admit nobody."""
    if text in {"self", "*"}:
        return True
    parts = _split(text)
    return parts is not None and "*" not in parts[1].removeprefix("*.")


def _matches(origin: str, host: str, pattern: str) -> bool:
    if pattern == "*":
        return True
    parts = _split(origin)
    if parts is None:
        return False
    if pattern == "self":
        return parts[1:] == _host_and_port(host, parts[0])
    wanted = _split(pattern)
    if wanted is None or parts[0] != wanted[0] or parts[2] != wanted[2]:
        return False
    if wanted[1].startswith("*."):
        return parts[1].endswith(wanted[1][1:])
    return parts[1] == wanted[1]


def _split(origin: str) -> tuple[str, str, int] | None:
    """Scheme, host and port of an origin; None for `null` and whatever is not an origin."""
    match = ORIGIN.fullmatch(origin)
    if match is None:
        return None
    scheme, host, port = match.groups()
    return scheme.lower(), host.lower(), int(port or DEFAULT_PORTS[scheme.lower()])


def _host_and_port(host: str, scheme: str) -> tuple[str, int] | None:
    split = _split(f"{scheme}://{host}")
    return split and split[1:]
