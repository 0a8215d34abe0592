"""Those who sign tokens, as the check needs them: read from the database, and kept for a few seconds."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable
from functools import partial
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

from routing_app.core.database import query
from routing_app.core.jwt.algorithms import KeyKind
from routing_app.core.jwt.signature import KnownKey
from routing_app.core.standstill import Within

if TYPE_CHECKING:
    from routing_app.core.models.issuers import SigningKey

KEPT_SECONDS: Final = 3.0
"""A change of a row, or of its keys, may go unnoticed by a process for so long."""
KEPT: Final = 1024
"""Names kept, known or not: they come from tokens that are not checked yet."""
LOAD_SECONDS: Final = 5.0
"""Longest wait for the database."""


class Signer(Protocol):
    """A row of somebody who signs tokens, with its active keys."""

    @property
    def name(self) -> str:
        """As its tokens have it."""

    @property
    def keys(self) -> tuple[KnownKey, ...]:
        """Those that count."""


S = TypeVar("S", bound=Signer)


class KnownSigners(Generic[S]):
    """The signers of one kind, for all event loops of the process. `load` reads one from the database."""

    def __init__(self, load: Callable[[str], S | None]) -> None:
        self.load = load
        self._lock = Lock()
        self._kept: OrderedDict[str, tuple[float, S | None]] = OrderedDict()
        self._forgotten = 0
        self._loading: dict[tuple[asyncio.AbstractEventLoop, str, int], asyncio.Task[S | None]] = {}
        """Loads on their way. One that began before something was forgotten serves nobody who asks after."""

    async def find(self, name: str) -> S | None:
        """The signer of that name, as it was at most KEPT_SECONDS ago. Raises what the database raises, and
        TimeoutError."""
        until, signer = self._kept.get(name, (0.0, None))
        if monotonic() < until:
            return signer
        key = (asyncio.get_running_loop(), name, self._forgotten)
        loading = self._loading.get(key)
        if loading is None:
            # One for all who ask while it is on its way: after a restart thousands do.
            loading = self._loading[key] = asyncio.create_task(self._load(name))
            loading.add_done_callback(partial(self._loaded, key))
        async with Within(LOAD_SECONDS):
            return await asyncio.shield(loading)

    async def _load(self, name: str) -> S | None:
        now, before = monotonic(), self._forgotten
        signer = await query(self.load, name)
        with self._lock:
            if before == self._forgotten:  # else the row may have been read before it was changed
                # From the time before it was read: later, it may have been another one already.
                self._kept[name] = (now + KEPT_SECONDS, signer)
                self._kept.move_to_end(name)
                if len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
        return signer

    def _loaded(
        self, key: tuple[asyncio.AbstractEventLoop, str, int], loading: asyncio.Task[S | None]
    ) -> None:
        self._loading.pop(key, None)
        if not loading.cancelled():
            loading.exception()  # retrieved: all who waited may have left

    def forget(self) -> None:
        """Forget everything: some row has changed."""
        with self._lock:
            self._kept.clear()
            self._forgotten += 1


def active_keys(rows: Iterable[SigningKey]) -> tuple[KnownKey, ...]:
    """The keys that count, of all that a signer has."""
    return tuple(
        KnownKey(KeyKind(row.kind), row.algorithm, row.kid, row.material) for row in rows if row.active
    )
