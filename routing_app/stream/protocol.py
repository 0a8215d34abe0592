"""The stream protocol: publications as Server-Sent Events."""

from __future__ import annotations

from typing import ClassVar

from routing_app.core.protocol import Protocol
from routing_app.stream import endpoint, openapi


class Stream(Protocol):
    """EventSource, and everything that reads HTTP line by line."""

    name = endpoint.NAME
    access = False
    label = "Event streams"
    commands = frozenset({"connect", "subscribe"})
    subscribes_anywhere = True
    http: ClassVar = {endpoint.PATH: endpoint.serve}
    encoder = endpoint.ENCODER
    openapi_tag = openapi.TAG
    openapi = openapi.document
