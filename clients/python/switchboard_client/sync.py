"""The same for synchronous code: a Connection that lives in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import Any, Final, Self, TypeVar, cast

from switchboard_client.connecting import connect
from switchboard_client.connection import Connection
from switchboard_client.errors import ConnectionClosed
from switchboard_client.pending import Request
from switchboard_client.wire import Answer

MOMENT: Final = 1.0
"""Seconds that what still runs has at a close, before it is cancelled, and again after that."""

T = TypeVar("T")


def connect_sync(url: str, *, key: str | None = None, **options: Any) -> SyncConnection:
    """`connect` for synchronous code, with the same options; raises the same."""
    return SyncConnection(url, key=key, **options)


class SyncConnection:
    """The members of a Connection, blocking.

    Handlers run in the connection's thread, where nothing may block: those that answer or ask are coroutine
    functions, and await their context or `inner`.
    """

    def __init__(self, url: str, **options: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._lock = threading.Lock()
        self._is_over = False
        """True when the loop takes no more calls; under the lock, as they are."""
        self._thread = threading.Thread(target=self._loop.run_forever, name="switchboard", daemon=True)
        self._thread.start()
        try:
            self.inner: Connection = self._call(connect(url, **options))
        except BaseException:
            self._stop()
            raise

    @property
    def id(self) -> str:
        """A version 4 uuid of this end."""
        return self.inner.id

    @property
    def is_open(self) -> bool:
        """True while there is a socket."""
        return self.inner.is_open

    def send(self, message: Mapping[str, Any], *, timeout: float | None = None) -> None:
        """`Connection.send`, blocking."""
        self._call(self.inner.send(message, timeout=timeout))

    def request(self, message: Mapping[str, Any], *, timeout: float | None = None) -> Answer:
        """The reply to a request; partials are dropped. Raises as awaiting `Connection.request`."""

        async def ask() -> Answer:
            return await self.inner.request(message, timeout=timeout)

        return self._call(ask())

    def stream(self, message: Mapping[str, Any], *, timeout: float | None = None) -> Iterator[Answer]:
        """The partials of a request, then its reply as the last one."""

        async def begin() -> Any:
            return self.inner.request(message, timeout=timeout)

        async def following(partials: Any) -> Answer | None:
            return await anext(partials, None)

        async def reply(request: Any) -> Answer:
            answer: Answer = await request
            return answer

        request = self._call(begin())
        try:
            partials = aiter(request)
            while (partial := self._call(following(partials))) is not None:
                yield partial
            yield self._call(reply(request))
        finally:
            # The caller may have left the iteration early; the server is told nothing, the answer is dropped.
            with self._lock:
                if not self._is_over:
                    self._loop.call_soon_threadsafe(_forget, request)

    def publish(
        self, addresses: Iterable[str], message: Any, *, id: str | None = None, timeout: float | None = None
    ) -> Answer:
        """`Connection.publish`, blocking."""
        return self._call(self.inner.publish(addresses, message, id=id, timeout=timeout))

    def publish_batch(self, messages: Iterable[Mapping[str, Any]], *, timeout: float | None = None) -> Answer:
        """`Connection.publish_batch`, blocking."""
        return self._call(self.inner.publish_batch(messages, timeout=timeout))

    def history(self, address: str, **options: Any) -> Answer:
        """`Connection.history`, blocking."""
        return self._call(self.inner.history(address, **options))

    def subscribe(self, *addresses: str, **options: Any) -> None:
        """`Connection.subscribe`, blocking."""
        self._call(self.inner.subscribe(*addresses, **options))

    def unsubscribe(self, *addresses: str) -> None:
        """`Connection.unsubscribe`, blocking."""
        self._call(self.inner.unsubscribe(*addresses))

    def authenticate(self, key: str) -> Answer:
        """`Connection.authenticate`, blocking."""
        return self._call(self.inner.authenticate(key))

    def opened(self) -> None:
        """Wait until there is a socket again. Raises ConnectionClosed when there will be none."""
        self._call(self.inner.opened())

    def closed(self) -> ConnectionClosed:
        """Wait until the connection has ended for good; how it ended."""
        return self._call(self.inner.closed())

    def on(self, event: str, *args: Any) -> Any:
        """`Connection.on`."""
        return self.inner.on(event, *args)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Leave, for good, and end the thread."""
        self._refuse_own_thread()
        try:
            with suppress(ConnectionClosed):  # another thread has closed it
                self._call(self.inner.close(code, reason))
        finally:
            self._stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        try:
            self._refuse_own_thread()
            with self._lock:
                if self._is_over:
                    raise ConnectionClosed(1006, "not connected")
                result = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except BaseException:
            coroutine.close()
            raise
        try:
            return result.result()
        except CancelledError:
            raise ConnectionClosed(1006, "closed meanwhile") from None

    def _refuse_own_thread(self) -> None:
        if threading.current_thread() is self._thread:
            raise RuntimeError("a handler may not block: make it a coroutine function, and await there")

    def _stop(self) -> None:
        with self._lock:
            is_first, self._is_over = not self._is_over, True
        if is_first:
            asyncio.run_coroutine_threadsafe(_end_others(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        if is_first:
            self._loop.close()


async def _end_others() -> None:
    """Let the other tasks of this loop end: threads wait for some of them."""
    left = asyncio.all_tasks() - {cast("asyncio.Task[Any]", asyncio.current_task())}
    if left:
        _, left = await asyncio.wait(left, timeout=MOMENT)
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=MOMENT)


def _forget(request: Request) -> None:
    if not request.done:
        request.cancel()
