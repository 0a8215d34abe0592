"""The last two steps of a publication: a frame for each protocol, and its way into outboxes of members."""

from __future__ import annotations

import logging

from routing_app.core import metrics
from routing_app.core.codes import Loss
from routing_app.core.delivery.connection import Encoder, FrameGroup
from routing_app.core.delivery.frame import Frame
from routing_app.core.delivery.outbox import deliver
from routing_app.core.delivery.places import Members
from routing_app.core.delivery.publication import Publication

logger = logging.getLogger(__name__)


def encode(encoder: Encoder, publication: Publication, address: str) -> Frame | FrameGroup | None:
    """The frame of one protocol; an encoder that fails loses the message for its own clients, counted."""
    try:
        encoded = encoder(publication, address)
    except Exception:
        logger.exception("encoder %s failed", encoder)
        metrics.LOST.labels(Loss.UNENCODABLE).inc()
        return None
    return Frame(encoded) if isinstance(encoded, str) else encoded


def send(members: Members, frame: Frame | FrameGroup, exclude: str) -> int:
    """Push one frame, or a group, to all members but the excluded one; how many took it.

    Over a copy: a connection that turns out too slow may be dropped at once.
    """
    if isinstance(frame, FrameGroup):
        receivers = [connection for connection in members if connection.id != exclude]
        return sum(connection.send_group(frame) for connection in receivers)
    outboxes = list(members.values())
    if exclude:
        outboxes = [outbox for connection, outbox in members.items() if connection.id != exclude]
    return deliver(outboxes, frame)
