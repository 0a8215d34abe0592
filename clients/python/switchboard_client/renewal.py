"""Replaces the access token of an open socket before it expires."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

from switchboard_client.dialing import LATER, may_pass, waits
from switchboard_client.errors import ConnectionClosed, RequestError
from switchboard_client.pending import Request
from switchboard_client.tokens import TokenSource
from switchboard_client.wire import Answer

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
        answer = await _whoami(ask, failed)
        while "expires_in" in answer:
            await asyncio.sleep(renews_in(answer["expires_in"]))
            answer = await _renewed(source, ask, failed)
    except ConnectionClosed:
        return


async def _whoami(ask: Ask, failed: Failed) -> Answer:
    for pause in waits(LATER):
        try:
            return await ask({"type": "whoami"})
        except RequestError as error:
            if not may_pass(error.code):
                break  # a server without tokens
            failed(error)
        await asyncio.sleep(pause)
    return Answer()


async def _renewed(source: TokenSource, ask: Ask, failed: Failed) -> Answer:
    for pause in waits(LATER):
        try:
            return await ask({"type": "authenticate", "token": await source.get()})
        except ConnectionClosed:
            raise
        except Exception as error:
            failed(error)
        await asyncio.sleep(pause)
    return Answer()
