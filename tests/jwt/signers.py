"""Signers that a test has made, or that are in its database, without the cache."""

from __future__ import annotations

from typing import TypeVar

from asgiref.sync import sync_to_async

from routing_app.core.jwt.signers import KnownSigners, Signer

S = TypeVar("S", bound=Signer)


class StoredSigners(KnownSigners[S]):
    """Loads a signer whenever it is asked for, where the test's transaction is seen."""

    async def find(self, name: str) -> S | None:
        """The signer as it is now."""
        return await sync_to_async(self.load)(name)


class FixedSigners(StoredSigners[S]):
    """Knows one signer."""

    def __init__(self, signer: S) -> None:
        super().__init__({signer.name: signer}.get)

    async def find(self, name: str) -> S | None:
        """The signer, at once."""
        return self.load(name)
