"""The events protocol: Jac Cloud's users, channels, clients and walkers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from django.conf import settings

from routing_app.core.address import AddressKind
from routing_app.core.delivery.connection import Connection
from routing_app.core.protocol import Protocol
from routing_app.events import access, credentials, exports, openapi, tasks, walker_runner
from routing_app.events.addresses import root_id
from routing_app.events.api import ChannelViewSet
from routing_app.events.consumer import EventConsumer, EventEncoder
from routing_app.events.unsafe import of_events
from routing_app.events.walkers import WALKERS, described

if TYPE_CHECKING:
    from routing_app.core.revocations.names import Carried
    from routing_app.core.unsafe import Unsafe
    from routing_app.core.worker import Worker


class Events(Protocol):
    """Jac Cloud's websocket."""

    name = "events"
    label = "Events"
    console_panel = "console/events.html"
    commands = frozenset({"connect", "login", "publish", "request", "subscribe"})
    usual_limits = (("login", "network", 20 / 60, 20), ("login", "identity", 20 / 60, 20))
    """Passwords cannot be guessed, on a server without rows, too."""
    sockets: ClassVar = {"/websocket": EventConsumer}
    urls = "routing_app.events.urls"
    addresses: ClassVar = {
        "user": AddressKind(check=root_id),
        "channel": AddressKind(),
        "client": AddressKind(),
    }
    encoder = EventEncoder()
    api: ClassVar = {"channels": ChannelViewSet}
    exports = (exports.Channels,)
    openapi = openapi.document

    def __init__(self, worker: Worker) -> None:
        super().__init__(worker)
        self.sockets_here: dict[Connection, EventConsumer] = {}
        self.rules = access.ChannelRules(worker.spawn)
        self.reading: asyncio.Task[None] | None = None
        """The reading of the rules that began last."""
        self.walker_slots = asyncio.Semaphore(max(1, settings.DATABASE_THREADS - walker_runner.SPARE_THREADS))

    @classmethod
    def unsafe_settings(cls) -> Iterable[Unsafe]:
        """Its own."""
        return of_events()

    @classmethod
    def console_data(cls) -> Mapping[str, Any]:
        """The walkers."""
        return {"walkers": [described(walker) for walker in WALKERS.values()]}

    def revocable(self, connection: Connection) -> Iterable[Carried]:
        """The user, by its login token."""
        socket = self.sockets_here.get(connection)
        return () if socket is None else credentials.carried(socket.visitor)

    async def start(self) -> None:
        """Know the rules of channels, and end sockets whose login has ended."""
        self.worker.hub.on(credentials.REVOKED_EVENT, lambda publication: tasks.revoke(self, publication))
        self.worker.hub.on(access.CHANGED, lambda publication: tasks.rules_changed(self, publication))
        self.worker.spawn(tasks.keep_rechecking(self))
        await tasks.follow_rules(self)
