"""A JWKS whose keys are rotated while tokens of old and new keys are checked: none is refused."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from routing_app.core.issuers.access_tokens import AccessTokens
from routing_app.core.jwt.jwks import EARLY_SECONDS
from tests.jwt.key_server import Clock, KeyServer, clock, key_server, key_servers
from tests.jwt.signers import FixedSigners
from tests.jwt.signing import access_claims, issuer, signed
from tests.services.waiting import wait_until

__all__ = ["clock", "key_server", "key_servers"]

pytestmark = pytest.mark.once

ROTATIONS = 12
LOOPS = 3
AT_ONCE = 4
ENOUGH = 12
"""Tokens of each key that each loop has checked before the next rotation."""


class Load:
    """Event loops that check tokens of the last two keys, until they are told to stop."""

    def __init__(self, check: Callable[[str], Awaitable[object]]) -> None:
        self._check = check
        self.tokens: dict[str, str] = {}
        """A token of each key, by `kid`."""
        self.good: list[Counter[str]] = [Counter() for _ in range(LOOPS)]
        self.wrong: list[BaseException] = []
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(good,)) for good in self.good]
        for thread in self._threads:
            thread.start()

    def _run(self, good: Counter[str]) -> None:
        try:
            asyncio.run(self._check_all(good))
        except BaseException as error:  # told by the test, not by the thread
            self.wrong.append(error)

    async def _check_all(self, good: Counter[str]) -> None:
        while not self._stopped.is_set():
            tokens = dict(self.tokens)
            await asyncio.gather(*(self._check(token) for token in list(tokens.values()) * AT_ONCE))
            good.update(list(tokens) * AT_ONCE)
            await asyncio.sleep(0)

    def has_checked(self, kid: str) -> bool:
        """True when each loop has checked enough tokens of a key, or one went wrong."""
        return bool(self.wrong) or all(good[kid] >= ENOUGH for good in self.good)

    def stop(self) -> None:
        """End the loops."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()


def test_no_token_is_refused_while_keys_are_rotated(key_server: KeyServer, clock: Clock) -> None:
    kinds = AccessTokens(FixedSigners(issuer(key_server.key)))
    privates = [rsa.generate_private_key(65537, 2048) for _ in range(3)]
    load = Load(kinds.verify)
    try:
        for number in range(ROTATIONS):
            kid, private = f"k{number}", privates[number % 3]
            key_server.publish(private, kid)
            # One more than there are tokens of: a loop may be at tokens that it has read a rotation ago.
            key_server.keys = key_server.keys[-3:]
            clock.passes(EARLY_SECONDS)
            previous = dict(list(load.tokens.items())[-1:])
            load.tokens = {**previous, kid: signed(access_claims(), private, "RS256", kid)}
            wait_until(partial(load.has_checked, kid))
    finally:
        load.stop()

    assert load.wrong == []
    assert all(good[f"k{number}"] >= ENOUGH for good in load.good for number in range(ROTATIONS))
    # Once for the first keys, and early for each rotation. The clock has let it ask once more, which it does
    # where a busy machine keeps a loop at tokens of a key that has gone.
    assert ROTATIONS <= key_server.asked <= ROTATIONS + 1
