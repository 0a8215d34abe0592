"""The rooms protocol: 2-IMMERSE's rooms, lobbies and triggers, over Socket.IO and over plain sockets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from django.conf import settings
from django.urls import path

from routing_app.core.address import AddressKind
from routing_app.core.protocol import Protocol
from routing_app.rooms import exports, openapi, tasks
from routing_app.rooms.addresses import room_name
from routing_app.rooms.api import RoomViewSet
from routing_app.rooms.asking import AskableMember
from routing_app.rooms.consumer import BusConsumer, LayoutConsumer, LobbyConsumer, TriggerConsumer
from routing_app.rooms.dead_peers import DeadPeers
from routing_app.rooms.encoders import PLAIN
from routing_app.rooms.http_views import bus_message, healthcheck
from routing_app.rooms.lobbies import Lobbies
from routing_app.rooms.members import MemberRegistry
from routing_app.rooms.namespaces import endpoint, new_recovery
from routing_app.rooms.unsafe import of_rooms

if TYPE_CHECKING:
    from routing_app.core.revocations.known import Revoked
    from routing_app.core.unsafe import Unsafe
    from routing_app.core.worker import Worker


class Rooms(Protocol):
    """2-IMMERSE's websocket-service."""

    name = "rooms"
    label = "Rooms"
    console_panel = "console/rooms.html"
    commands = frozenset({"connect", "publish", "subscribe"})
    default_origins = "*"
    sockets: ClassVar = {
        "/layout": LayoutConsumer,
        "/bus": BusConsumer,
        "/lobby": LobbyConsumer,
        "/trigger": TriggerConsumer,
        **dict.fromkeys(settings.ROOMS_PATHS, endpoint),
    }
    urls = (path("healthcheck", healthcheck), path("bus-message/<path:room>", bus_message))
    addresses: ClassVar = {"room": AddressKind(check=room_name)}
    encoder = PLAIN
    api: ClassVar = {"rooms": RoomViewSet}
    exports = (exports.Rooms,)
    openapi = openapi.document

    def __init__(self, worker: Worker) -> None:
        super().__init__(worker)
        self.members = MemberRegistry()
        self.lobbies = Lobbies(worker, self.name)
        self.engineio = endpoint.new_state(worker)
        self.recovery = new_recovery(worker)

    @classmethod
    def unsafe_settings(cls) -> Iterable[Unsafe]:
        """Its own."""
        return of_rooms()

    def askable(self, id: str) -> AskableMember | None:
        """A member of this process."""
        member = self.members.by_id(id)
        return None if member is None else AskableMember(member)

    async def revoked(self, revoked: Revoked) -> None:
        """End the sessions of revoked networks."""
        await self.engineio.registry.end_revoked(revoked)

    async def start(self) -> None:
        """Keep rows, empty rooms that are deleted, and tell of peers whose worker has died."""
        worker = self.worker
        worker.presence.on_copy.append(lambda: tasks.restore(worker, self.members))
        worker.hub.on(tasks.EVICT, lambda publication: tasks.evict(worker, self.members, publication))
        worker.spawn(tasks.keep_on(worker))
        worker.spawn(DeadPeers(worker).watch())
        if self.recovery is not None:
            worker.spawn(self.recovery.keep_sweeping())
