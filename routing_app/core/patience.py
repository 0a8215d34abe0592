"""A connection to PostgreSQL whose statements end, whatever swallows their answers.

Keepalives and `tcp_user_timeout` find a host that is gone. A proxy, a balancer or a NAT that still
acknowledges what it throws away looks alive to both ends: only a clock of our own tells, and it closes the
connection from here.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, ClassVar, Final
from weakref import WeakKeyDictionary

import psycopg
from psycopg.abc import RV, PQGen
from psycopg.pq import ConnStatus, TransactionStatus

BESIDE_SECONDS: Final = 1.0
"""This end waits so much longer than the server lets a statement run: where both work, the server's error
comes first."""

_own = threading.local()


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """Within it, this thread waits so long at most for each statement; 0: until it ends."""
    before = getattr(_own, "seconds", None)
    _own.seconds = seconds
    try:
        yield
    finally:
        _own.seconds = before


class PatientConnection(psycopg.Connection[Any]):
    """Waits for the end of a statement for `seconds`, or as `patience` says; 0: until it ends.

    When that is over the connection is closed, and `OperationalError` raised. All older ones are under
    suspicion then, since they went the same way: each is closed when it is to be used next, without a wait
    for it.

    The pool replaces all that it holds when one of them has ended, as all do when the database restarts. By
    itself it would find out one after the other, and wait 1 s, 2 s, 4 s in between, longer than any caller.
    """

    seconds: ClassVar[float] = 0.0
    _trusted_since: ClassVar[float] = 0.0
    _replaced_at: ClassVar[WeakKeyDictionary[Any, float]] = WeakKeyDictionary()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._made_at = monotonic()

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """Run a statement's generator to its end. Raises psycopg's OperationalError."""
        # Within a transaction the error would come in the middle of it, and a wait is bounded anyway.
        if self.is_suspect and self.pgconn.transaction_status == TransactionStatus.IDLE:
            self._replace_pooled()
            raise self._given_up("the database was silent on another connection")
        limit = timeout if timeout is not None else self._limit()
        began = monotonic()
        try:
            return super().wait(gen, interval, limit)
        except psycopg.OperationalError:
            # psycopg raises the same error for a timeout as for a connection that broke: only the clock tells
            # them apart. A timeout of the caller's own says nothing of the network.
            if timeout is not None or limit is None or monotonic() - began < limit:
                if self.pgconn.status == ConnStatus.BAD:
                    self._replace_pooled()
                raise
            PatientConnection._trusted_since = monotonic()
            self._replace_pooled()
            raise self._given_up(f"the database did not answer within {limit:g} s") from None

    @property
    def is_suspect(self) -> bool:
        """True when another connection was silent since this one was made."""
        return self._made_at < self._trusted_since

    def _limit(self) -> float | None:
        seconds = getattr(_own, "seconds", None)
        if seconds is not None:
            return float(seconds) or None
        return self.seconds + BESIDE_SECONDS if self.seconds else None

    def _replace_pooled(self) -> None:
        """Have the pool replace its connections, once for all those that were made before."""
        pool: Any = self._pool
        if pool is not None and self._made_at > self._replaced_at.get(pool, 0.0):
            self._replaced_at[pool] = monotonic()
            pool.drain()

    def _given_up(self, why: str) -> psycopg.OperationalError:
        self.pgconn.finish()
        return psycopg.OperationalError(why)
