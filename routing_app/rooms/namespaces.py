"""The Socket.IO side: the four namespaces, and the endpoint at `/socket.io/`."""

from __future__ import annotations

from typing import Any, Final

from django.conf import settings

from routing_app.core.worker import Worker, current_worker
from routing_app.engineio.endpoint import Endpoint
from routing_app.engineio.session import EngineOptions, EngineSession
from routing_app.engineio.socketio.client import SocketClient
from routing_app.engineio.socketio.recovery import Recovery
from routing_app.engineio.socketio.socket import Ack, NamespaceSocket
from routing_app.rooms import binary, lobby, service, wire
from routing_app.rooms.encoders import SocketEncoder
from routing_app.rooms.members import Member
from routing_app.rooms.membership import PROTOCOL


class RoomNamespace:
    """One of the four."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.encoder = SocketEncoder(name)

    def handler(self, socket: NamespaceSocket) -> RoomHandler:
        """The handler of a socket that connects."""
        return RoomHandler(socket, self._name)


class RoomHandler:
    """One client in a namespace."""

    def __init__(self, socket: NamespaceSocket, namespace: str) -> None:
        self._socket = socket
        self._member = Member(socket.worker, socket.connection, namespace, socket.sid, socket.emit)
        self._member.ask = socket.emit_with_ack

    async def opened(self) -> None:
        """After CONNECT was answered."""
        await service.enter(self._member)
        if self._member.namespace == wire.LOBBY:
            await lobby.connected(self._member, _lobby_id(self._socket))

    async def received(self, name: Any, arguments: list[Any], ack: Ack) -> None:
        """An event."""
        await service.take(self._member, name, arguments, ack)

    async def received_binary(self, name: Any, arguments: list[Any], ack: Ack) -> None:
        """The same with buffers in it."""
        binary.as_json(arguments)
        await service.take(self._member, name, arguments, ack, binary=True)

    def grant_changed(self) -> None:
        """Its rooms may not be covered any more."""
        service.grant_changed(self._member)

    def closed(self) -> None:
        """The socket has ended."""
        service.leave(self._member)


def _lobby_id(socket: NamespaceSocket) -> Any:
    """Clients 4.x bring it with CONNECT, 1.7 to 2.x in its query, all of them in the query of the session."""
    for source in (socket.payload, socket.query, socket.session.query):
        if source.get("lobbyId"):
            return source["lobbyId"]
    return None


NAMESPACES: Final = {f"/{name}": RoomNamespace(name) for name in wire.NAMESPACES}


OPTIONS: Final = EngineOptions(
    ping_interval=settings.ROOMS_PING_INTERVAL,
    ping_timeout={3: settings.ROOMS_PING_TIMEOUT_V3, 4: settings.ROOMS_PING_TIMEOUT},
    max_payload=settings.ROOMS_MAX_PAYLOAD,
    max_packets=settings.ROOMS_MAX_PACKETS,
)


def new_recovery(worker: Worker) -> Recovery | None:
    """The sessions that clients may come back to; None where ROOMS_RECOVERY_SECONDS is 0."""
    seconds: float = settings.ROOMS_RECOVERY_SECONDS
    return Recovery(worker, PROTOCOL, seconds, OPTIONS) if seconds else None


def _client(session: EngineSession) -> SocketClient:
    worker = current_worker()
    recovery = worker.protocols[PROTOCOL].recovery
    return SocketClient(session, worker, PROTOCOL, NAMESPACES, recovery=recovery)


endpoint: Final = Endpoint(PROTOCOL, _client, OPTIONS)
"""Serves `/socket.io/`, HTTP and WebSocket."""
