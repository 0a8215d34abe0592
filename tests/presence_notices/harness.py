"""Processes whose subscribers are told who comes and goes, with a time that only tests move."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from routing_app.core.access.masking import SecretAccess
from routing_app.core.delivery.connection import Connection, new_id
from routing_app.core.presence_notices.notices import PresenceNotices
from routing_app.core.streams.rules import RuleTable
from tests.core.harness import PLAIN, Node, Recorder, received
from tests.services.waiting import until

A, B = "token:a", "token:b"
EVERYTHING = SecretAccess(everything=True)
NOTHING = SecretAccess()


class Timer:
    def __init__(self, due: float, call: Callable[[], None]) -> None:
        self.due, self.call = due, call
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Time:
    """A clock that stands still until it is moved; calls are made when it comes to them."""

    def __init__(self) -> None:
        self.now = 0.0
        self._timers: list[Timer] = []

    def __call__(self) -> float:
        return self.now

    def later(self, seconds: float, call: Callable[[], None]) -> Timer:
        timer = Timer(self.now + seconds, call)
        self._timers.append(timer)
        return timer

    def move(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while due := [one for one in self._timers if not one.cancelled and one.due <= end + 1e-9]:
            timer = min(due, key=lambda one: one.due)
            self._timers.remove(timer)
            self.now = max(self.now, timer.due)
            timer.call()
        self.now = end

    @property
    def waits(self) -> bool:
        """True while a call is to be made."""
        return any(not one.cancelled for one in self._timers)


class Process:
    """A node with presence notices of `token:` addresses."""

    def __init__(self, node: Node, time: Time) -> None:
        self.node, self.time = node, time
        self.rules = RuleTable([("token:*", 0, 300, True)])
        self.notices = PresenceNotices(
            node.id, node.hub, node.relay, lambda: self.rules, asyncio.ensure_future, time.later, time
        )
        self._number = 0

    async def open(self) -> None:
        """Be known to the others."""
        await self.node.relay.want([f"worker:{self.node.id}"])

    async def come(self, *addresses: str, identity: str = "", protocol: str = "test") -> Connection:
        """A client that subscribes to addresses."""
        connection = self.connect(protocol, identity)
        await self.node.hub.subscribe(connection, *addresses)
        return connection

    async def watch(self, *addresses: str, access: SecretAccess = EVERYTHING) -> Connection:
        """The same, told of the others from now on."""
        connection = await self.come(*addresses)
        (await self.notices.watch(connection, addresses, lambda: access))()
        return connection

    def connect(self, protocol: str = "test", identity: str = "") -> Connection:
        node = self.node
        connection = Connection(new_id(node.id), protocol, Recorder(), node.flusher, PLAIN)
        connection.identity = identity
        node.hub.add(connection)
        return connection

    def leave(self, connection: Connection, *addresses: str) -> None:
        """Unsubscribe a client from some addresses, or have it go."""
        if addresses:
            self.node.hub.unsubscribe(connection, *addresses)
        else:
            self.node.hub.drop(connection)


async def turns(count: int = 10) -> None:
    """Let what was written in this turn of the loop go out."""
    for _ in range(count):
        await asyncio.sleep(0)


async def told(watcher: Connection) -> list[Any]:
    """The notices that a watcher has."""
    await turns()
    return received(watcher)


def ids(members: Iterable[dict[str, str]]) -> set[str]:
    return {one["id"] for one in members}


class Listing:
    """Who is there, by the notices that a subscriber got; `None` where one named nobody."""

    def __init__(self, there: Iterable[Connection]) -> None:
        self.members: set[str] | None = {one.id for one in there}
        self.count = len(self.members or ())

    def take(self, notices: Iterable[dict[str, Any]]) -> None:
        for notice in notices:
            self.count = notice["count"]
            if notice.get("truncated"):
                self.members = None
            elif self.members is not None:
                joined, left = ids(notice["joined"]), ids(notice["left"])
                assert not joined & self.members
                assert left <= self.members
                self.members = (self.members | joined) - left


async def know_each_other(processes: list[Process]) -> None:
    """Wait until each process has a sign of life of all others."""
    for one in processes:
        await one.open()
    every = {one.node.id for one in processes}
    for one in processes:
        await until(lambda one=one: one.node.relay.peers.receivers() == every - {one.node.id})  # type: ignore[misc]
