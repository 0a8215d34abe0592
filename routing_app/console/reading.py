"""Readings of topics: one serves all watches of this process that would show the same.

Without a watch nothing is read.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, Final

from routing_app.console import wire
from routing_app.console.access import Viewer
from routing_app.console.topics import Followed, Topic, TopicError
from routing_app.core.json import dumps
from routing_app.core.rest.middleware import BACKING_SERVICES

if TYPE_CHECKING:
    from routing_app.core.worker import Worker

logger = logging.getLogger(__name__)

LEAST_PAUSE: Final = 0.5
"""Share of its interval that a topic waits, however long a reading takes."""
UNAVAILABLE: Final = 503
"""The status after which a watch goes on: what was missing may come back."""


class Watch:
    """One topic that one page shows."""

    def __init__(
        self, id: int, topic: Topic, params: dict[str, Any], viewer: Viewer, once: bool = False
    ) -> None:
        self.id = id
        self.topic = topic
        self.params = params
        self.viewer = viewer
        self.once = once
        self.begun = False
        """True once its first data is with the page; False again where it has to be read anew."""
        self._told = ""
        """The last data that the page was told, where it is not to be told again."""
        self.on_end: Callable[[], None] = lambda: None
        self.reading: Reading | None = None
        """The one that serves it."""
        self.task: asyncio.Task[None] | None = None
        """Reads its first data, or all of it."""

    @property
    def key(self) -> Hashable:
        """Equal for watches that one reading serves."""
        return self.topic.name, dumps(sorted(self.params.items())), self.topic.variant(self.viewer)

    def show(self, encoded: str) -> None:
        """Send data, unless the page has not read what came before: then the next is enough, or the first
        again where the next does not hold all.
        """
        if encoded == self._told:
            return
        if self.begun and not self.viewer.connection.idle:
            self.begun = not self.topic.begins_otherwise
            return
        self.viewer.connection.send(wire.data(self.id, encoded))
        self._told = "" if self.topic.is_told_again else encoded
        self.begun = True

    def fail(self, error: TopicError) -> None:
        """Send an error."""
        self.viewer.connection.send(wire.error(self.id, error.status, error.detail))


class Readings:
    """All readings of one worker."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self._shared: dict[Hashable, Reading] = {}
        self._own: set[Watch] = set()
        """Those with a task of their own."""

    @property
    def running(self) -> int:
        """Topics that are read or followed now."""
        return len(self._shared) + len(self._own)

    def add(self, watch: Watch) -> None:
        """Begin to show a topic."""
        if watch.once or isinstance(watch.topic, Followed):
            work = self._follow(watch) if isinstance(watch.topic, Followed) else self._read_once(watch)
            self._own.add(watch)
            watch.task = self.worker.spawn(work)
            return
        reading = self._shared.get(watch.key)
        if reading is None:
            reading = self._shared[watch.key] = Reading(self, watch.key, watch)
        reading.add(watch)

    def drop(self, watch: Watch) -> None:
        """End it; a reading without a watch ends."""
        self._own.discard(watch)
        if watch.task is not None:
            watch.task.cancel()
        if watch.reading is not None:
            watch.reading.drop(watch)

    def forget(self, reading: Reading) -> None:
        """A reading has ended."""
        if self._shared.get(reading.key) is reading:
            del self._shared[reading.key]

    def end(self, watch: Watch, error: TopicError | None = None) -> None:
        """A watch has ended by itself."""
        self._own.discard(watch)
        if error is not None:
            watch.fail(error)
        watch.on_end()

    async def _read_once(self, watch: Watch) -> None:
        outcome = await attempt(watch.topic.begin, watch)
        if isinstance(outcome, str):
            watch.show(outcome)
        self.end(watch, None if isinstance(outcome, str) else outcome)

    async def _follow(self, watch: Watch) -> None:
        assert isinstance(watch.topic, Followed)
        error = None
        try:
            async for data in watch.topic.follow(watch.viewer, watch.params):
                watch.viewer.connection.send(wire.data(watch.id, dumps(data)))
        except Exception as failure:
            error = as_topic_error(watch.topic, failure)
        self.end(watch, error)


class Reading:
    """One topic with one set of params, read again and again for its watches."""

    def __init__(self, readings: Readings, key: Hashable, first: Watch) -> None:
        self.key = key
        self._readings = readings
        self._topic = first.topic
        self._watches: set[Watch] = set()
        self._latest: str | None = None
        self._task = readings.worker.spawn(self._run())

    def add(self, watch: Watch) -> None:
        """Show it to one more watch: at once where the topic has been read, else after the first reading."""
        watch.reading = self
        self._watches.add(watch)
        if self._topic.begins_otherwise:
            self._begin_soon(watch)
        elif self._latest is not None:
            watch.show(self._latest)

    def drop(self, watch: Watch) -> None:
        """Show it to one watch less."""
        watch.reading = None
        self._watches.discard(watch)
        if not self._watches:
            self._task.cancel()
            self._readings.forget(self)

    def _begin_soon(self, watch: Watch) -> None:
        if watch.task is None or watch.task.done():
            watch.task = self._readings.worker.spawn(self._begin(watch))

    async def _begin(self, watch: Watch) -> None:
        outcome = await attempt(watch.topic.begin, watch)
        if isinstance(outcome, str):
            watch.show(outcome)
        else:
            self._fail(watch, outcome)

    async def _run(self) -> None:
        loop, every = asyncio.get_running_loop(), self._topic.every_seconds
        if self._topic.begins_otherwise:
            await asyncio.sleep(every)
        while self._watches:
            begun = loop.time()
            await self._read()
            took = loop.time() - begun
            await asyncio.sleep(max(every - took, every * LEAST_PAUSE))

    async def _read(self) -> None:
        outcome = await attempt(self._topic.read, next(iter(self._watches)))
        for watch in tuple(self._watches):
            if not isinstance(outcome, str):
                self._fail(watch, outcome)
            elif watch.begun or not self._topic.begins_otherwise:
                watch.show(outcome)
            elif watch.viewer.connection.idle:
                self._begin_soon(watch)
        self._latest = outcome if isinstance(outcome, str) else None

    def _fail(self, watch: Watch, error: TopicError) -> None:
        if error.status == UNAVAILABLE:
            watch.fail(error)
            watch.begun = watch.begun or not self._topic.begins_otherwise
            return
        watch.reading = None
        self._watches.discard(watch)
        if not self._watches:  # `_run` ends by itself
            self._readings.forget(self)
        self._readings.end(watch, error)


async def attempt(read: Callable[..., Any], watch: Watch) -> str | TopicError:
    """The encoded data of a topic, or why there is none."""
    try:
        return dumps(await read(watch.viewer, watch.params))
    except Exception as error:
        return as_topic_error(watch.topic, error)


def as_topic_error(topic: Topic, error: Exception) -> TopicError:
    """What a page is told of an exception; an unknown one is logged."""
    if isinstance(error, TopicError):
        return error
    if isinstance(error, BACKING_SERVICES):
        return TopicError(UNAVAILABLE, "A backing service is down; this page goes on when it is back.")
    logger.error("console: the topic %s failed", topic.name, exc_info=error)
    return TopicError(UNAVAILABLE, "The server failed to read this; its log says why.")
