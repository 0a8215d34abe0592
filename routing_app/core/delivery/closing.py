"""A publication that ends the connections which it reaches, in every process."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from routing_app.core.codes import BY_CODE, kicked
from routing_app.core.delivery.connection import ConnectionState
from routing_app.core.delivery.publication import Publication

if TYPE_CHECKING:
    from routing_app.core.delivery.hub import Hub

CLOSE: Final = "$close"
"""Its event; its message is `[code, reason, name]`."""


def close_members(hub: Hub, publication: Publication) -> int:
    """End the connections of this process that had one of its addresses when it was published; how many."""
    code, reason, name = publication.message
    known = BY_CODE.get(code)
    if known is not None and known.name == name:
        close = replace(known, reason=reason)
    else:
        close = kicked(code, reason)
    at = publication.published_at
    members = {one for address in publication.addresses for one in hub.members(address, at)}
    doomed = [connection for connection in members if connection.state is ConnectionState.OPEN]
    for connection in doomed:
        connection.close(close)
    return len(doomed)
