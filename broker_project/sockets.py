"""Every socket path of the server, in one table. `urls.py` is its twin for HTTP."""

from __future__ import annotations

from routing_app.requests.consumer import RequestsConsumer
from routing_app.tokens.consumer import TokenConsumer

SOCKETS = {
    "/connection": RequestsConsumer.as_asgi(),
    "/ws": TokenConsumer.as_asgi(),
}
