"""Rules of channels and ended logins, as they reach the sockets of a worker."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from django.conf import settings

from routing_app.core.cluster.subscriptions import LayerUnavailable
from routing_app.core.codes import REVOKED
from routing_app.core.database import query
from routing_app.core.delivery.publication import Publication
from routing_app.events import access, credentials

if TYPE_CHECKING:
    from routing_app.events.protocol import Events

logger = logging.getLogger(__name__)


def rules_changed(events: Events, publication: Publication) -> int:
    """Handle the event that says so: read the rows of channels."""
    events.reading = events.worker.spawn(read_rules(events))
    return 0


async def follow_rules(events: Events) -> None:
    """Be told when a row of a channel has changed anywhere, and know all that have changed so far.

    Where the layer or the database is out, what they were asked for is missing until this is called again.
    """
    try:
        await events.worker.relay.want([access.ADDRESS])
    except LayerUnavailable as error:
        logger.warning("events: changes of channels on other workers are not told at once: %s", error)
    await read_rules(events)


async def read_rules(events: Events) -> None:
    """Read the rows of channels again, and have every socket obey them."""
    await events.rules.read()
    for socket in list(events.sockets_here.values()):
        await socket.obey_rules()


async def keep_rechecking(events: Events) -> None:
    """Find changes that no message has told: it was lost, or a program changed the row without a word.

    Whatever fails is tried again with the next look.
    """
    while True:
        await asyncio.sleep(settings.EVENTS_RECHECK_SECONDS)
        for look in (follow_rules, end_void_logins):
            try:
                await look(events)
            except Exception as error:
                logger.warning("events: %s has failed: %s", look.__name__, error)


async def end_void_logins(events: Events) -> None:
    """End the logins of sockets whose tokens are not valid any more. Raises what the database raises."""
    mine = list(events.sockets_here.values())
    jtis = [socket.visitor.jti for socket in mine if socket.visitor.jti]
    void = await query(credentials.void_among, jtis)
    for socket in mine:
        if socket.visitor.jti in void:
            socket.token_ended(socket.visitor.jti, REVOKED)


def revoke(events: Events, publication: Publication) -> int:
    """End the logins whose `jti` a publication to their user names; how many sockets looked."""
    hub, here = events.worker.hub, events.sockets_here
    connections = [connection for address in publication.addresses for connection in hub.members(address)]
    sockets = [here[connection] for connection in connections if connection in here]
    for socket in sockets:
        for jti in publication.message:
            socket.token_ended(jti, REVOKED)
    return len(sockets)
