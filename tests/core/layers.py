"""Channel layers to test on: the two real ones, and one that misbehaves as networks do."""

from __future__ import annotations

import asyncio
import secrets
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

import redis

from routing_app.core.address import group_name
from routing_app.core.cluster.batching import EVERYBODY
from routing_app.core.cluster.layers import ProcessChannelLayer
from routing_app.core.cluster.redis_layer import RedisLayer
from tests.core.harness import Node


class Bus:
    """A Redis server as pub/sub layers see it: who is subscribed to which group at this moment."""

    def __init__(self) -> None:
        self.groups: dict[str, set[asyncio.Queue[Any]]] = defaultdict(set)


class LaggingLayer:
    """One process's layer on a `Bus`, with the manners of the Redis pub/sub layer at their worst.

    `group_add` and `group_discard` return at once and take effect later, in order, `lag` loop turns each;
    `group_send` reaches those that are subscribed by then. While `down` every call fails, otherwise the next
    `failures` ones; while `hanging` none returns; while `unsure` a send gets through and fails all the same.
    `doubled` sends everything twice, as a retry does whose first try got through. Between `cut` and `mend`
    nothing arrives here.
    """

    def __init__(self, bus: Bus, lag: int = 3) -> None:
        self.bus = bus
        self.lag = lag
        self.down = False
        self.hanging = False
        self.failures = 0
        self.unsure = False
        self.doubled = False
        self.sends = 0
        self._cut = False
        self._reconnected: Callable[[Any], None] = lambda connection: None
        self.moved: Callable[[], None] = lambda: None
        self._queues: dict[str, asyncio.Queue[Any]] = {}
        self._commands: asyncio.Queue[Callable[[], None]] = asyncio.Queue()
        self._task = asyncio.ensure_future(self._obey())

    async def new_channel(self, prefix: str = "specific.") -> str:
        await self._trouble()
        name = prefix + secrets.token_hex(8)
        self._queues[name] = asyncio.Queue()
        return name

    async def receive(self, channel: str) -> Any:
        while True:
            message = await self._queues[channel].get()
            if not self._cut:
                return message

    def watch(self, reconnected: Callable[[Any], None], moved: Callable[[], None]) -> None:
        self._reconnected, self.moved = reconnected, moved

    def cut(self) -> None:
        """Lose the connection that subscriptions live on, with all that is on its way."""
        self._cut = True
        for queue in self._queues.values():
            while not queue.empty():
                queue.get_nowait()

    def mend(self) -> None:
        """Make it again, and say so."""
        if self._cut:
            for queue in self._queues.values():
                while not queue.empty():
                    queue.get_nowait()
            self._cut = False
            self._reconnected(self)

    async def group_add(self, group: str, channel: str) -> None:
        await self._trouble()
        queue = self._queues[channel]
        self._commands.put_nowait(lambda: self.bus.groups[group].add(queue))

    async def group_discard(self, group: str, channel: str) -> None:
        await self._trouble()
        queue = self._queues[channel]
        self._commands.put_nowait(lambda: self.bus.groups[group].discard(queue))

    async def group_send(self, group: str, message: Any) -> None:
        await self._trouble()
        self.sends += 1
        for _ in range(2 if self.doubled else 1):
            for queue in self.bus.groups.get(group, ()):
                queue.put_nowait(message)
        if self.unsure:
            raise ConnectionError("the answer was lost")

    async def flush(self) -> None:
        self._task.cancel()

    def held(self) -> set[str]:
        """Groups that this process is subscribed to, once every command has taken effect."""
        mine = set(self._queues.values())
        return {group for group, queues in self.bus.groups.items() if queues & mine}

    async def _obey(self) -> None:
        while True:
            command = await self._commands.get()
            for _ in range(self.lag):
                await asyncio.sleep(0)
            command()

    async def _trouble(self) -> None:
        while self.hanging:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0)
        self.failures -= 1
        if self.down or self.failures >= 0:
            raise ConnectionError("the layer is down")


def layer_of(node: Node) -> LaggingLayer:
    """The layer of a process of a `lagging` cluster, to make it fail."""
    assert isinstance(node.layer, LaggingLayer)
    return node.layer


class Cluster:
    """Processes on one channel layer of a kind: `process`, `redis` (at `url`) or `lagging`."""

    def __init__(self, kind: str, url: str = "") -> None:
        self.kind = kind
        self.url = url
        self.prefix = secrets.token_hex(4)
        self.nodes: list[Node] = []
        self._shared = ProcessChannelLayer()
        self._bus = Bus()

    def node(self, clock: Callable[[], float] = monotonic) -> Node:
        """One more process."""
        node = Node(self._layer(), clock)
        self.nodes.append(node)
        return node

    def subscriptions(self) -> set[str]:
        """Groups of hub addresses that the layer still serves, of all processes."""
        of_workers = {group_name(f"worker:{node.relay._worker}") for node in self.nodes}
        return self._groups() - of_workers - {group_name(EVERYBODY)}

    def _groups(self) -> set[str]:
        if self.kind == "process":
            return {group for group, members in self._shared.members.items() if members}
        if self.kind == "lagging":
            return {group for group, queues in self._bus.groups.items() if queues}
        with redis.Redis.from_url(self.url) as client:
            # Those with a subscriber, in one look: between two of them some may have ended.
            names = [name.decode() for name in client.pubsub_channels(f"{self.prefix}__group__*")]
        return {name.partition("__group__")[2] for name in names}

    async def stop(self) -> None:
        for node in self.nodes:
            await node.relay.stop()
            await node.layer.flush()

    def _layer(self) -> Any:
        if self.kind == "process":
            return self._shared
        if self.kind == "lagging":
            return LaggingLayer(self._bus)
        return RedisLayer(hosts=[self.url], prefix=self.prefix)


@asynccontextmanager
async def cluster(kind: str, url: str = "") -> AsyncIterator[Cluster]:
    """A cluster that is stopped at the end."""
    one = Cluster(kind, url)
    try:
        yield one
    finally:
        await one.stop()
