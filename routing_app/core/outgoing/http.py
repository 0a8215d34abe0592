"""HTTP/1.1 over connections that go to addresses that were checked, and are kept for the next call.

`httpx` reads the URLs. Its client takes 0.26 ms of processor time for a call, over connections such as these,
and this one 0.04. All else that the process does waits as long.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections import defaultdict
from collections.abc import Mapping
from time import monotonic
from typing import Final, NamedTuple

import httpx

from routing_app.core.outgoing.client import Answer
from routing_app.core.outgoing.connection import Connection
from routing_app.core.outgoing.failures import Unreachable
from routing_app.core.outgoing.headers import is_header
from routing_app.core.outgoing.names import addresses_of

KEPT_SECONDS: Final = 4.0
"""A connection without a call is closed after so long: before receivers do it, most after 5 s or more."""
SWEEP_SECONDS: Final = 1.0
CONNECT_SECONDS: Final = 3.0
"""For one address of several: the next may answer."""
PORTS: Final = {"http": 80, "https": 443}
KNOWN: Final = 1_000
"""URLs whose parts are remembered."""
_TARGET: Final = re.compile(rb"[!-~]+")


class Origin(NamedTuple):
    """Where a connection leads to."""

    scheme: str
    host: str
    port: int


class Target(NamedTuple):
    """A URL as a call needs it."""

    origin: Origin
    head: str
    """The first lines of the call."""


class Http:
    """Calls of one event loop. TLS and HTTP see names alone; redirects, cookies and proxies do not exist."""

    def __init__(self, *, private: bool) -> None:
        self._private = private
        self._tls = ssl.create_default_context()
        self._targets: dict[str, Target] = {}
        self._kept: defaultdict[Origin, list[Connection]] = defaultdict(list)
        self._sweep: asyncio.TimerHandle | None = None

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """The answer; names of `headers` are in lower case. Raises CallFailed."""
        target = self._targets.get(url) or self._known(url)
        lines = [target.head]
        for name, value in headers.items():
            if not is_header(name, value):
                raise Unreachable("the call is not HTTP: a header is not valid")
            lines.append(f"{name}: {value}\r\n")
        lines.append(f"content-length: {len(body)}\r\n\r\n")
        connection = self._idle(target.origin) or await self._connect(target.origin)
        try:
            answer = await connection.call("".join(lines).encode() + body)
        except BaseException:  # also a caller that waits no longer
            connection.close()
            raise
        self._keep(target.origin, connection)
        return answer

    async def close(self) -> None:
        """Close the connections that are kept."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        self._close_idle(0.0)
        await asyncio.sleep(0)  # asyncio lets go of a socket one turn later

    def _known(self, url: str) -> Target:
        if len(self._targets) >= KNOWN:
            self._targets.clear()
        self._targets[url] = target = _target_of(url)
        return target

    # --- connections ------------------------------------------------------------------------------------

    async def _connect(self, origin: Origin) -> Connection:
        addresses = await addresses_of(origin.host, private=self._private)
        for address in addresses[:-1]:
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    return await self._open(address, origin)
            except (TimeoutError, Unreachable):
                continue
        return await self._open(addresses[-1], origin)

    async def _open(self, address: str, origin: Origin) -> Connection:
        tls, name = (self._tls, origin.host) if origin.scheme == "https" else (None, None)
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(
                Connection, address, origin.port, ssl=tls, server_hostname=name
            )
        except OSError as error:
            raise Unreachable(f"no connection: {_words(error)}") from None
        return connection

    def _idle(self, origin: Origin) -> Connection | None:
        kept = self._kept.get(origin)
        while kept:
            connection = kept.pop()
            if connection.is_open and monotonic() - connection.idle_since < KEPT_SECONDS:
                return connection
            connection.close()
        return None

    def _keep(self, origin: Origin, connection: Connection) -> None:
        if not connection.is_open:
            return
        connection.idle_since = monotonic()
        self._kept[origin].append(connection)
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._swept)

    def _swept(self) -> None:
        self._sweep = None
        self._close_idle(KEPT_SECONDS)
        if self._kept:
            self._sweep = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._swept)

    def _close_idle(self, seconds: float) -> None:
        now = monotonic()
        for origin, kept in list(self._kept.items()):
            for connection in kept:
                if now - connection.idle_since >= seconds:
                    connection.close()
            self._kept[origin] = [one for one in kept if one.is_open]
            if not self._kept[origin]:
                del self._kept[origin]


def _target_of(url: str) -> Target:
    try:
        parts = httpx.URL(url)
    except (httpx.InvalidURL, UnicodeError) as error:
        raise Unreachable(f"the URL is not one of HTTP: {type(error).__name__}") from None
    if parts.scheme not in PORTS or not parts.raw_host or not _TARGET.fullmatch(parts.raw_path):
        raise Unreachable("the URL is not one of HTTP")
    origin = Origin(parts.scheme, parts.raw_host.decode(), parts.port or PORTS[parts.scheme])
    head = f"POST {parts.raw_path.decode()} HTTP/1.1\r\nhost: {parts.netloc.decode()}\r\naccept: */*\r\n"
    return Target(origin, head)


def _words(error: OSError) -> str:
    """What the system or TLS said; neither knows more of the call than its host."""
    return error.strerror or str(error) or type(error).__name__
