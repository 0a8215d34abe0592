"""Stand-ins for what surrounds the core: a writer that records, an encoder, a process on a channel layer."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from time import monotonic
from typing import Any

import hypothesis
from prometheus_client import REGISTRY

from routing_app.core import metrics
from routing_app.core.cluster.calls import Calls
from routing_app.core.cluster.relay import Relay
from routing_app.core.codes import Close, Loss
from routing_app.core.delivery.connection import Connection, Limits, new_id
from routing_app.core.delivery.frame import Frame
from routing_app.core.delivery.hub import Hub
from routing_app.core.delivery.outbox import Flusher
from routing_app.core.delivery.publication import Publication
from tests.services.waiting import until


class Recorder:
    """A writer that keeps what it is given; while `stuck` it holds everything instead of writing it."""

    def __init__(self) -> None:
        self.stuck = False
        self.writes: list[list[str]] = []
        self.held: list[Frame] = []
        self.closed: list[Close] = []
        self.aborted: list[Close] = []

    @property
    def texts(self) -> list[str]:
        """All that was written, in order."""
        return [text for write in self.writes for text in write]

    @property
    def messages(self) -> list[Any]:
        """The same, decoded."""
        return [json.loads(text) for text in self.texts]

    def write(self, frames: list[Frame]) -> None:
        if self.stuck:
            self.held += frames
        else:
            self.writes.append([frame.text for frame in frames])

    def held_bytes(self) -> int:
        return sum(frame.size for frame in self.held)

    def held_frames(self) -> int:
        return len(self.held)

    def release(self) -> None:
        """The reader has caught up."""
        self.stuck = False
        held, self.held = self.held, []
        if held:
            self.write(held)

    def close(self, close: Close) -> None:
        self.closed.append(close)

    def abort(self, close: Close) -> None:
        metrics.LOST.labels(Loss.SLOW).inc(len(self.held))
        self.held = []
        self.aborted.append(close)


class Encoder:
    """The message as JSON, or `[address, message]` where the address matters."""

    def __init__(self, per_address: bool = False) -> None:
        self.per_address = per_address
        self.calls = 0

    def __call__(self, publication: Publication, address: str) -> str | None:
        self.calls += 1
        message = publication.message
        return json.dumps([address, message] if self.per_address else message)


PLAIN = Encoder()


class Node:
    """One process on a channel layer: a worker id, a relay and a hub."""

    def __init__(self, layer: Any, clock: Callable[[], float] = monotonic) -> None:
        self.id = secrets.token_hex(8)
        self.layer = layer
        self.relay: Relay = self._relay(clock)
        self.hub = Hub(self.relay, clock)
        self.flusher = Flusher(asyncio.get_running_loop())
        self.calls = Calls(self.id, self.hub, self.relay, asyncio.ensure_future)

    def _relay(self, clock: Callable[[], float]) -> Any:
        return Relay(self.layer, self.id, clock)

    def connect(self, encoder: Encoder = PLAIN, limits: Limits | None = None) -> Connection:
        """A new connection; its writer is a `Recorder`."""
        connection = Connection(
            new_id(self.id), "test", Recorder(), self.flusher, encoder, limits=limits or Limits()
        )
        self.hub.add(connection)
        return connection

    async def subscriber(self, *addresses: str, encoder: Encoder = PLAIN) -> Connection:
        """A new connection that is subscribed to addresses."""
        connection = self.connect(encoder)
        await self.hub.subscribe(connection, *addresses)
        return connection

    async def publish(self, message: Any, *addresses: str, **options: Any) -> int:
        return await self.hub.publish(Publication(addresses, message, **options))


def received(connection: Connection) -> list[Any]:
    """The messages that have reached a connection's writer."""
    writer = connection.writer
    assert isinstance(writer, Recorder)
    return writer.messages


def say_gaps(*connections: Connection) -> None:
    """Have connections receive "gap" among their messages."""

    def say(connection: Connection) -> None:
        connection.send('"gap"')

    for one in connections:
        one.on_gap = partial(say, one)


async def until_received(connection: Connection, count: int = 1) -> list[Any]:
    """Wait until `count` messages have reached a connection, and return all that have."""
    await until(lambda: len(received(connection)) >= count)
    return received(connection)


def metric(name: str, **labels: str) -> float:
    """A counter's or gauge's value now; 0.0 before it was first touched."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


class Counted:
    """The growth of a metric since the test began to look."""

    def __init__(self, name: str, **labels: str) -> None:
        self._name, self._labels = name, labels
        self._before = metric(name, **labels)

    @property
    def grown(self) -> float:
        """The difference."""
        return metric(self._name, **self._labels) - self._before


def lost(reason: str) -> Counted:
    """Messages lost for a reason, from now on."""
    return Counted("switchboard_lost_total", reason=reason)


def scaled(examples: int) -> int:
    """Examples for a costly property: a share of what the profile gives, so that `make soak` looks longer."""
    return examples * hypothesis.settings().max_examples // 100


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """An attribute that has another value for a while (hypothesis runs bodies, so fixtures do not fit)."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
