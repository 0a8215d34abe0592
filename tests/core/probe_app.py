"""An ASGI application with one protocol on the core, `/probe`, that does what its client says.

A text frame is a command and its argument; the query string says what goes wrong during the handshake.
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable
from typing import Any

from django.conf import settings
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "broker_project.settings")
get_asgi_application()

from routing_app.broker.routing import Sockets  # noqa: E402
from routing_app.core import codes, consumer  # noqa: E402
from routing_app.core.access.admission import Refused  # noqa: E402
from routing_app.core.consumer import Consumer  # noqa: E402
from routing_app.core.delivery.publication import Publication  # noqa: E402
from routing_app.core.lifespan import Lifespan  # noqa: E402
from routing_app.core.protocol import Protocol, register  # noqa: E402

consumer.CLOSE_WAIT_SECONDS = 1.0  # type: ignore[misc]


class TextEncoder:
    """The message as it is."""

    per_address = False

    def __call__(self, publication: Publication, address: str) -> str | None:
        return str(publication.message)


class Probe(Consumer):
    """One client of the probe."""

    async def admit(self) -> str | None:
        if self.scope["query_string"] == b"refuse":
            raise Refused(codes.UNAUTHENTICATED)
        if self.scope["query_string"] == b"fail-in-admit":
            raise RuntimeError("in admit")
        return None

    async def opened(self) -> None:
        await self.worker.hub.subscribe(self.connection, "token:all", f"token:{self.connection.id}")
        self.worker.presence.arrive(self.connection)
        self.connection.send(self.connection.id)
        if self.scope["query_string"] == b"fail-in-opened":
            raise RuntimeError("in opened")

    async def received(self, text: str) -> None:
        command, _, argument = text.partition(" ")
        await COMMANDS[command](self, argument)


async def echo(probe: Probe, text: str) -> None:
    probe.connection.send(text)


async def surrogate(probe: Probe, text: str) -> None:
    probe.connection.send("a\ud800b")


async def fail(probe: Probe, text: str) -> None:
    raise RuntimeError("in a handler")


async def kick(probe: Probe, id: str) -> None:
    await probe.worker.hub.close(f"connection:{id}")


async def publish(probe: Probe, text: str) -> None:
    await probe.worker.hub.publish(Publication(("token:all", "token:nobody"), text))


async def flood(probe: Probe, argument: str) -> None:
    """`id count`: send so many messages of 10 kB to a connection."""
    id, _, count = argument.partition(" ")
    for _ in range(int(count)):
        await probe.worker.hub.publish(Publication((f"token:{id}",), "x" * 10_000))


async def stats(probe: Probe, text: str) -> None:
    worker = probe.worker
    counts = {
        "connections": len(worker.hub.connections()),
        "addresses": len(worker.hub.addresses()),
        "seats": worker.seats.taken,
    }
    probe.connection.send(json.dumps(counts))


COMMANDS: dict[str, Callable[[Probe, str], Awaitable[Any]]] = {
    "echo": echo,
    "surrogate": surrogate,
    "fail": fail,
    "kick": kick,
    "publish": publish,
    "flood": flood,
    "stats": stats,
}


class ProbeProtocol(Protocol):
    """Traces of it in the worker: nothing."""

    name = "probe"
    encoder = TextEncoder()


register(ProbeProtocol)
settings.ORIGINS["probe"] = ["self"]
application = Lifespan(Sockets({"/probe": Probe.as_asgi(protocol="probe")}))
