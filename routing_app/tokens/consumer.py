"""The token line's socket, `/ws`."""

from __future__ import annotations

import json
from urllib.parse import parse_qs

from routing_app.core.consumer import Consumer
from routing_app.core.publication import Publication


class TextEncoder:
    """The payload as it is; JSON values that are no text as JSON."""

    per_address = False

    def __call__(self, publication: Publication, address: str) -> str | None:
        """The text of the frame."""
        message = publication.message
        return message if isinstance(message, str) else json.dumps(message, ensure_ascii=False)


class TokenConsumer(Consumer):
    """One client of the token line."""

    line = "tokens"
    encoder = TextEncoder()

    async def opened(self) -> None:
        """Take the token of the query string."""
        query = parse_qs(self.scope["query_string"].decode())
        token = (query.get("RegisterToken") or ["unregistered"])[-1]
        self.connection.identity = token
        await self.worker.hub.subscribe(self.connection, f"token:{token}")
        self.worker.presence.arrive(self.connection)

    async def received(self, text: str) -> None:
        """Broadcast."""
        receivers, bar, payload = text.partition("|")
        if bar:
            await self.worker.hub.publish(Publication((f"token:{receivers}",), payload))
