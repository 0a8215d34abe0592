"""Clients whose credential is to end soon, but not before they are in, which takes a busy machine a while."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from websockets.exceptions import ConnectionClosed, InvalidStatus

LIVES: Final = (4, 8, 16, 32, 64)
"""Seconds for which a credential is good, at first and each time that this was too short."""
OVER: Final = (AssertionError, InvalidStatus, ConnectionClosed)
"""How an attempt fails whose credential was over before it was done."""

T = TypeVar("T")


def let_in(enter: Callable[[float], T]) -> T:
    """What `enter` returns for a credential that ends at the given Unix time. Raises as its last attempt."""
    *early, last = LIVES
    for life in early:
        try:
            return enter(time.time() + life)
        except OVER:
            continue
    return enter(time.time() + last)


async def let_in_async(enter: Callable[[float], Awaitable[T]]) -> T:
    """The same for a coroutine function."""
    *early, last = LIVES
    for life in early:
        try:
            return await enter(time.time() + life)
        except OVER:
            continue
    return await enter(time.time() + last)
