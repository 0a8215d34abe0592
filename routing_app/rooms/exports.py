"""Rooms in the file of `manage.py export`."""

from __future__ import annotations

from routing_app.core.exports.section import Section
from routing_app.rooms import operations
from routing_app.rooms.api import RoomSerializer
from routing_app.rooms.models import Room


class Rooms(Section[Room]):
    """Rooms with a note, a limit or an allow-list; others come and go with their members."""

    name = "rooms"
    model = Room
    serializer_class = RoomSerializer
    identity = ("namespace", "name")

    def is_exported(self, row: Room) -> bool:
        """One that somebody has written something about."""
        return bool(row.note) or row.restricted

    def delete(self, row: Room) -> None:
        """Delete and empty."""
        operations.delete(Room.objects.filter(pk=row.pk))
