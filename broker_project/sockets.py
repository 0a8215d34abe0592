"""Every socket path of the server, in one table. `urls.py` is its twin for HTTP."""

from __future__ import annotations

from django.conf import settings

from routing_app.events.consumer import EventConsumer
from routing_app.requests.consumer import RequestsConsumer
from routing_app.rooms.consumer import BusConsumer, LayoutConsumer, LobbyConsumer, TriggerConsumer
from routing_app.rooms.namespaces import ENDPOINT
from routing_app.tokens.consumer import TokenConsumer
from sessions_app.consumer import SessionConsumer

ENGINEIO = dict.fromkeys(settings.ROOMS_PATHS, ENDPOINT)
"""Paths whose HTTP requests, too, are served without Django: Socket.IO's polling."""

SOCKETS = {
    "/": SessionConsumer.as_asgi(),
    "/websocket": EventConsumer.as_asgi(),
    "/connection": RequestsConsumer.as_asgi(),
    "/ws": TokenConsumer.as_asgi(),
    "/layout": LayoutConsumer.as_asgi(),
    "/bus": BusConsumer.as_asgi(),
    "/lobby": LobbyConsumer.as_asgi(),
    "/trigger": TriggerConsumer.as_asgi(),
    **ENGINEIO,
}
