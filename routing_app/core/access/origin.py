"""May a browser page of this origin open a socket here?

A missing Origin passes: no browser sent it, and no cookie rides along. A wrong one never does. Apps in a
shell of their own send origins that no site has (`capacitor://localhost`, `chrome-extension://<id>`), pages
from a file `file://` or `null`: each is listed as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

DEFAULT_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}
"""The schemes of the web, where a port may be left out, and where patterns and `self` have a meaning."""
ORIGIN: Final = re.compile(r"(?ai)([a-z][a-z0-9+.-]*)://([a-z0-9._-]+|\[[0-9a-f:.]+])(?::([0-9]{1,5}))?")
"""Nothing but scheme, host and port: a path, a user, a backslash or an asterisk makes it something else."""
BARE: Final = frozenset({"null", "file://"})
"""The Origin of a page that has no host."""
ANY_BELOW: Final = "*."


def allowed(origin: str | None, host: str, patterns: Iterable[str]) -> bool:
    """Check an Origin header against `self`, `*`, `https://*.site`, or an origin as it is written.

    `host` is what `self` compares with, port included: `hosts.own` of the request.
    """
    if origin is None:
        return True
    return any(_matches(origin, host, pattern) for pattern in patterns)


def is_pattern(text: str) -> bool:
    """Is this something that `allowed` can match? A host without its scheme, say, would admit nobody."""
    if text in {"self", "*"} or text.lower() in BARE:
        return True
    return _split(text) is not None or _split_pattern(text) is not None


def _matches(origin: str, host: str, pattern: str) -> bool:
    if pattern == "*":
        return True
    if origin.lower() in BARE:
        return pattern.lower() == origin.lower()
    parts = _split(origin)
    if parts is None:
        return False
    if pattern == "self":
        # The Host header has no scheme: it is the page's, by which a port that is left out is known.
        own = _split(f"{parts[0]}://{host}")
        return parts[0] in DEFAULT_PORTS and own is not None and parts[1:] == own[1:]
    if (below := _split_pattern(pattern)) is not None:
        return (parts[0], parts[2]) == (below[0], below[2]) and parts[1].endswith(f".{below[1]}")
    return parts == _split(pattern)


def _split(origin: str) -> tuple[str, str, int] | None:
    """Scheme, host and port of an origin; None for what is none. The port is 0 where the scheme has none."""
    match = ORIGIN.fullmatch(origin)
    if match is None:
        return None
    scheme, host, port = match.groups()
    return scheme.lower(), host.lower(), int(port or DEFAULT_PORTS.get(scheme.lower(), 0))


def _split_pattern(pattern: str) -> tuple[str, str, int] | None:
    """The same of `https://*.site`, without the asterisk; None for another pattern."""
    scheme, separator, rest = pattern.partition(f"://{ANY_BELOW}")
    parts = _split(f"{scheme}://{rest}") if separator else None
    return parts if parts is not None and parts[0] in DEFAULT_PORTS else None
