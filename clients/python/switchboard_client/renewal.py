"""Replaces the access token of an open socket before it expires."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

from switchboard_client.dialing import LATER, waits
from switchboard_client.errors import ConnectionClosed, RequestError
from switchboard_client.pending import Request
from switchboard_client.tokens import TokenSource

LEAD_SECONDS: Final = 30.0

Ask = Callable[[Mapping[str, Any]], Request]
Failed = Callable[[Exception], object]


def renews_in(seconds: float) -> float:
    """Seconds until a token is replaced that is good for so long: 30 s before its end, or a quarter."""
    return max(0.0, seconds - min(LEAD_SECONDS, seconds / 4))


async def keep_fresh(source: TokenSource, ask: Ask, failed: Failed) -> None:
    """Present another token in time, again and again, until the socket is lost.

    `failed` is told of each failure of the source and of the server, after which it tries again.
    """
    try:
        answer = await ask({"type": "whoami"})
    except (ConnectionClosed, RequestError):  # the latter: a server without tokens
        return
    while "expires_in" in answer:
        await asyncio.sleep(renews_in(answer["expires_in"]))
        for pause in waits(LATER):
            try:
                answer = await ask({"type": "authenticate", "token": await source.get()})
                break
            except ConnectionClosed:
                return
            except Exception as error:
                failed(error)
                await asyncio.sleep(pause)
