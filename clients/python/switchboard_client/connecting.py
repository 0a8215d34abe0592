"""`connect`: the beginning of a Connection."""

from __future__ import annotations

from typing import Any

from websockets.typing import Subprotocol

from switchboard_client import wire
from switchboard_client.connection import Connection
from switchboard_client.dialing import Dialer
from switchboard_client.tokens import Token, TokenSource


async def connect(
    url: str,
    *,
    key: str | None = None,
    token: Token | None = None,
    reconnect: bool = True,
    receipts: bool = True,
    **options: Any,
) -> Connection:
    """Connect to `ws://host/connection`; `key` is an API key, `options` go to websockets' `connect`.

    `token` is an access token, or a function that returns one: it is called for each socket, and again before
    the token expires; then a connection comes back after an expiry, too.

    Raises Refused, ValueError for a wrong URL or two credentials, and OSError or TimeoutError when there is
    no answer. Only what was open once reconnects; but with `reconnect`, a server that says 503 or 429 is
    asked again, as long as it does.
    """
    if key and token:
        raise ValueError("a key or a token, not both")
    if receipts:
        options["subprotocols"] = [
            *map(Subprotocol, (wire.PLAIN, wire.RECEIPTS)),
            *options.get("subprotocols", ()),
        ]
    source = None if token is None else TokenSource(token)
    connection = Connection(Dialer(url, options, key or "", source), reconnect, key or "", source)
    await connection.start()
    return connection
