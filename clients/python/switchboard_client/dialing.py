"""Opening a socket, and opening it again: when, how often, and when not."""

from __future__ import annotations

import asyncio
import logging
import random
import re
from collections.abc import Iterator
from typing import Any, Final

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import ConnectionClosed as SocketClosed
from websockets.exceptions import InvalidHandshake, InvalidStatus, InvalidURI

from switchboard_client.errors import ConnectionClosed
from switchboard_client.tokens import EXPIRED, NoToken, TokenSource

logger = logging.getLogger(__name__)

LONGEST_WAIT: Final = 30.0
"""Seconds between two attempts at most, unless the server asks for more."""
LONGEST_ASKED: Final = 3600
LATER: Final = 4100
STAY_AWAY: Final = frozenset(
    {1000, 1002, 1003, 1007, 1008, 1009, 1010, *range(4000, 4100), *range(4300, 5000)}
)
"""Close codes after which another attempt would end the same way: the server has said no."""
AT_ONCE: Final = frozenset({1012, *range(4200, 4300)})
"""Close codes that ask to come back now."""
PASSING: Final = frozenset({"unavailable", "internal", "rate"})
"""Codes of errors that may be gone at the next attempt."""
PASSING_STATUSES: Final = frozenset({429, 503})


class Refused(ConnectionError):
    """The server has refused the handshake: a wrong key, or nothing is served at this path."""


class ComeBackLater(ConnectionError):
    """The server cannot take this connection now: it is full, it stops, or a service is out.

    Or this end is beyond a rate limit. `after` is what it asks to wait, in seconds; 0.0 when it does not say.
    """

    def __init__(self, status: int, after: float) -> None:
        super().__init__(f"the server cannot take the connection now: HTTP {status}")
        self.after = after


class Dialer:
    """Knows the address of the server, and how to wait between attempts.

    The first handshake carries the API key, so that a wrong one is refused at once. Later ones do not: there
    are servers that answer the same 403 for a wrong key and for an outage; the answer to `authenticate` tells
    them apart. But there are servers that refuse every handshake without one, so after a refusal the next one
    carries it. An access token is in every handshake.
    """

    def __init__(
        self, url: str, options: dict[str, Any], api_key: str = "", token: TokenSource | None = None
    ) -> None:
        self._url = url
        self._options = {"compression": None, "max_size": 2**24, **options}
        self._api_key = api_key
        self._token = token
        self._shows_key = True
        self._waits: Iterator[float] | None = None

    async def dial_first(self, patient: bool) -> ClientConnection:
        """Open the first socket; a patient one comes back as long as the server asks for it.

        Raises Refused, NoToken, ValueError, OSError or TimeoutError.
        """
        pauses = waits(LATER)
        while True:
            try:
                return await self._dial()
            except ComeBackLater as later:
                if not patient:
                    raise
                pause = later.after + next(pauses)
                logger.warning("%s; another attempt in %.0f s", later, pause)
                await asyncio.sleep(pause)

    async def dial_again(self, code: int) -> ClientConnection | None:
        """Open a socket again after a close with `code`; None when the server has said to stay away."""
        if code in STAY_AWAY and not self._renews_after(code):
            return None
        self._shows_key = False
        # Kept until `settled`: a server that accepts and closes again at once must not reset the doubling.
        self._waits = self._waits or waits(code)
        after = 0.0
        for wait in self._waits:
            await asyncio.sleep(after + wait)
            try:
                return await self._dial()
            except ComeBackLater as later:
                after = later.after
            except Refused:
                self._shows_key = not self._shows_key
                after = 0.0
            except NoToken as error:
                logger.warning("%s: %r", error, error.__cause__)
                after = 0.0
            except (OSError, TimeoutError, ValueError):  # the latter: sent on to what is no WebSocket
                after = 0.0
        return None

    def settled(self) -> None:
        """All is as before the loss: waiting for the next one begins with the shortest pause."""
        self._waits = None

    def _renews_after(self, code: int) -> bool:
        """True when another token may be good where one has expired."""
        return code == EXPIRED and self._token is not None and self._token.renews

    async def _headers(self) -> dict[str, str]:
        headers = dict(self._options.get("additional_headers") or {})
        if self._token is not None:
            try:
                headers["Authorization"] = f"Bearer {await self._token.get()}"
            except Exception as error:
                raise NoToken("no access token") from error
        elif self._api_key and self._shows_key:
            headers["X-API-Key"] = self._api_key
        return headers

    async def _dial(self) -> ClientConnection:
        options = {**self._options, "additional_headers": await self._headers()}
        try:
            return await open_websocket(self._url, **options)
        except InvalidStatus as error:
            status = error.response.status_code
            if status in PASSING_STATUSES:
                after = seconds(error.response.headers.get("Retry-After", ""))
                raise ComeBackLater(status, after) from None
            if status in (401, 403, 404):
                raise Refused(f"the server has refused the connection: HTTP {status}") from None
            raise ConnectionError(f"the server answered HTTP {status}") from None
        except InvalidURI as error:
            raise ValueError(str(error)) from None
        except InvalidHandshake as error:
            raise ConnectionError(str(error)) from None


def may_pass(code: object) -> bool:
    """True when an ERROR with this code may be gone at the next attempt."""
    return isinstance(code, str) and code in PASSING


def seconds(retry_after: str) -> float:
    """Seconds that a `Retry-After` asks for, an hour at most; 0.0 for none, or for a date."""
    return float(min(int(retry_after), LONGEST_ASKED)) if re.fullmatch("[0-9]{1,9}", retry_after) else 0.0


def waits(code: int) -> Iterator[float]:
    """Seconds to wait before each attempt, without end: doubled each time, and jittered to spread crowds."""
    longest = 0.2 if code in AT_ONCE else 1.0
    while True:
        yield random.uniform(0, longest)  # noqa: S311 - no secret
        longest = min(LONGEST_WAIT, longest * 2)


def closed_by(error: SocketClosed) -> ConnectionClosed:
    """How a socket was closed."""
    close = error.rcvd or error.sent
    return ConnectionClosed(close.code, close.reason) if close else ConnectionClosed(1006, "")
