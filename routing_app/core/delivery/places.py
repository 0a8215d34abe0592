"""The streams of a publication that single connections follow, and so are told their position in."""

from __future__ import annotations

from routing_app.core.delivery.connection import Connection, Encoder
from routing_app.core.delivery.outbox import Outbox
from routing_app.core.delivery.publication import Publication

Members = dict[Connection, Outbox]
Index = dict[str, dict[Encoder, Members]]
"""Subscribers by address and encoder."""


def places_of(publication: Publication, connection: Connection) -> tuple[str, ...]:
    """The addresses of a publication at which a connection follows a stream."""
    if not publication.positions:
        return ()
    return tuple(
        one for one in publication.addresses if one in publication.positions and one in connection.addresses
    )


def by_places(encoder: Encoder, members: Members, publication: Publication) -> dict[tuple[str, ...], Members]:
    """Members by the addresses whose positions they are told; all alike where clients are told none."""
    if not publication.positions or not encoder.per_address:
        return {tuple(publication.positions or ()): members}
    found: dict[tuple[str, ...], Members] = {}
    for connection, outbox in members.items():
        found.setdefault(places_of(publication, connection), {})[connection] = outbox
    return found


def shown_at(publication: Publication, places: tuple[str, ...]) -> Publication:
    """A publication with the positions that some clients are told."""
    positions = publication.positions
    if not positions or len(places) == len(positions):
        return publication
    return publication.placed(publication.addresses, {one: positions[one] for one in places} or None)
