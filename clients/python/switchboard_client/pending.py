"""Requests that this end has sent, and their answers: awaited for the reply, iterated for the partials."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any, Final

from .errors import RequestError
from .wire import Answer

MAX_PARTIALS: Final = 1000
"""Partials kept for a caller that iterates; one more fails a request that nobody reads."""


class Request:
    """One request on its way.

    `await request` gives the reply; `async for partial in request` gives the partials until the answer is
    complete. Both raise RequestError, ConnectionClosed or TimeoutError. Cancelling a wait forgets it.
    """

    def __init__(self, timeout: float | None = None) -> None:
        loop = asyncio.get_running_loop()
        self._reply: asyncio.Future[Answer] = loop.create_future()
        self._reply.add_done_callback(_retrieve)
        self._partials: deque[Answer] = deque()
        self._changed = asyncio.Event()
        self._keep = True
        self._timer = None if timeout is None else loop.call_later(timeout, self._time_out)

    @property
    def done(self) -> bool:
        """True when the answer is complete, or none will come."""
        return self._reply.done()

    def on_end(self, forget: Callable[[], None]) -> None:
        """Have `forget` called once when this request has ended, however it ended."""
        self._reply.add_done_callback(lambda reply: forget())

    def cancel(self) -> None:
        """Forget the request; a caller that waits gets CancelledError."""
        self._end()
        self._reply.cancel()

    def partial(self, message: dict[str, Any]) -> None:
        """A piece of the answer has come. Dropped once somebody awaits the reply, until somebody iterates."""
        if self.done or not self._keep:
            return
        if len(self._partials) >= MAX_PARTIALS:
            self.fail(RequestError({"code": "overrun", "message": "partials came and were not read"}))
            return
        self._partials.append(Answer(message))
        self._changed.set()

    def reply(self, message: dict[str, Any]) -> None:
        """The answer is complete."""
        if not self.done:
            self._end()
            self._reply.set_result(Answer(message))

    def fail(self, error: Exception) -> None:
        """No reply will come."""
        if not self.done:
            self._end()
            self._reply.set_exception(error)

    def __await__(self) -> Generator[Any, None, Answer]:
        return self._wait().__await__()

    async def __aiter__(self) -> AsyncIterator[Answer]:
        self._keep = True
        while True:
            while self._partials:
                yield self._partials.popleft()
            if self.done:
                break
            self._changed.clear()
            await self._or_cancel(self._changed.wait())
        self._reply.result()

    async def _wait(self) -> Answer:
        self._keep = False  # also where an iteration has left some: nobody may ever read them
        await self._or_cancel(asyncio.shield(self._reply))
        return self._reply.result()

    async def _or_cancel(self, awaitable: Any) -> Any:
        try:
            return await awaitable
        except asyncio.CancelledError:
            self.cancel()
            raise

    def _time_out(self) -> None:
        self.fail(TimeoutError("no reply in time"))

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._changed.set()


def _retrieve(reply: asyncio.Future[Answer]) -> None:
    """Take note of the exception: nobody has to wait for an answer."""
    if not reply.cancelled():
        reply.exception()
