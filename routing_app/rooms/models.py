"""Rooms and who is in them."""

from __future__ import annotations

from typing import ClassVar

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models.functions import Now

from routing_app.core.models import ConnectionRecord, lease_start
from routing_app.rooms import wire


class NamespaceName(models.TextChoices):
    """The namespaces of rooms."""

    LAYOUT = wire.LAYOUT, "/layout"
    BUS = wire.BUS, "/bus"
    LOBBY = wire.LOBBY, "/lobby"
    TRIGGER = wire.TRIGGER, "/trigger"


def check_name(value: str) -> None:
    """Names that clients can use. Raises ValidationError."""
    try:
        usable = wire.room_name(value) == value
    except wire.IgnoredEvent as error:
        raise ValidationError(str(error)) from None
    if not usable:
        raise ValidationError("the name of the room holds half a character")


def check_allowed(value: object) -> None:
    """Check a list of strings. Raises ValidationError."""
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise ValidationError('a list of strings, like ["alice", "10.0.0.7"]')
    if not all(map(wire.storable, value)):
        raise ValidationError("a string with control characters, or with half of a surrogate pair")


class RoomQuerySet(models.QuerySet["Room"]):
    """Rooms with what is known of their members."""

    def with_member_count(self) -> RoomQuerySet:
        """Each room with `member_count`: members of workers whose lease holds."""
        present = models.Q(memberships__connection__worker__renewed_at__gte=lease_start())
        return self.annotate(member_count=models.Count("memberships", filter=present))

    def plain(self) -> RoomQuerySet:
        """Rooms that only came to be because somebody joined: nobody has written anything about them."""
        return self.filter(note="", member_limit=None, allowed=[])


class Room(models.Model):
    """A room, made by the first JOIN or by an operator."""

    namespace = models.CharField(max_length=8, choices=NamespaceName)
    name = models.CharField(max_length=wire.MAX_ROOM, validators=[check_name])
    created_at = models.DateTimeField(db_default=Now())
    last_used_at = models.DateTimeField(db_default=Now())
    note = models.CharField(max_length=255, blank=True)
    member_limit = models.PositiveIntegerField(
        null=True, blank=True, help_text="Members at once; empty: any number."
    )
    allowed = models.JSONField(
        default=list,
        blank=True,
        validators=[check_allowed],
        help_text="Nicknames, or network addresses of clients, that may join; empty: everybody.",
    )

    version = models.PositiveBigIntegerField(
        default=0, editable=False, help_text="How often the members of a lobby have changed."
    )

    objects = RoomQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["namespace", "name"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["namespace", "name"], name="room_once")]

    def __str__(self) -> str:
        return f"/{self.namespace} {self.name}"

    @property
    def restricted(self) -> bool:
        """True when it does not take everybody."""
        return bool(self.allowed) or self.member_limit is not None

    @property
    def address(self) -> str:
        """The address of a room."""
        return address(self.namespace, self.name)


def address(namespace: str, name: str) -> str:
    """The address of a room."""
    return f"room:{namespace}/{name}"


class MembershipQuerySet(models.QuerySet["Membership"]):
    """Members by presence."""

    def present(self) -> MembershipQuerySet:
        """Members of workers whose lease holds, in the order in which they joined."""
        return self.filter(connection__worker__renewed_at__gte=lease_start()).order_by("joined_at", "id")

    def lapsed(self) -> MembershipQuerySet:
        """Members of workers whose lease has ended, until they are swept."""
        return self.filter(connection__worker__renewed_at__lt=lease_start())


class Membership(models.Model):
    """A connection in a room; it counts only while the lease of the connection's worker holds."""

    room = models.ForeignKey(Room, models.CASCADE, related_name="memberships")
    connection = models.ForeignKey(ConnectionRecord, models.CASCADE, related_name="memberships")
    nickname = models.JSONField(null=True, help_text="In a lobby the id by which peers know the member.")
    joined_at = models.DateTimeField()

    objects = MembershipQuerySet.as_manager()

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["room", "connection"], name="member_once")]

    def __str__(self) -> str:
        return str(self.nickname or self.connection_id)
