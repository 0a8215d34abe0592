"""Rows of the events protocol: roots of users, login tokens, channels with rules."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, ClassVar

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models.functions import Now
from django.utils import timezone

from routing_app.events.wire import RESERVED_ROOTS, root_reference

if TYPE_CHECKING:
    from django.contrib.auth.models import User

CHANNEL_ID_LENGTH = 255


def validate_channel_id(text: str) -> None:
    """Raises ValidationError for an id that no socket can ask for."""
    if not acceptable_channel_id(text):
        raise ValidationError("Only printable characters.")


def acceptable_channel_id(text: str) -> bool:
    """May a socket listen to a channel with this id? It is not endless and holds nothing unprintable."""
    return 0 < len(text) <= CHANNEL_ID_LENGTH and text.isprintable()


def new_hex_id() -> str:
    """24 random hex digits, none of the reserved ids: a root cannot be guessed."""
    while (hex_id := secrets.token_hex(12)) in RESERVED_ROOTS:
        pass
    return hex_id


class RootManager(models.Manager["Root"]):
    """Roots by their user."""

    def of(self, user: User) -> Root:
        """The root of a user, made when it is missing."""
        return self.get_or_create(user=user)[0]


class Root(models.Model):
    """A user's own node: what the sockets of that user are addressed by."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, models.CASCADE, related_name="root")
    hex_id = models.CharField(max_length=24, unique=True, default=new_hex_id, editable=False)

    objects = RootManager()

    class Meta:
        ordering: ClassVar = ["user_id"]
        verbose_name = "user with a root"
        verbose_name_plural = "users with their roots"

    def __str__(self) -> str:
        return f"{self.user} ({self.reference})"

    @property
    def reference(self) -> str:
        """`n::` and the hex id, as sockets write it."""
        return root_reference(self.hex_id)


class LoginTokenQuerySet(models.QuerySet["LoginToken"]):
    """Login tokens by whether they count."""

    def valid(self) -> LoginTokenQuerySet:
        """Neither revoked nor expired, of an active user."""
        return self.filter(revoked_at=None, expires_at__gt=timezone.now(), user__is_active=True)


class LoginToken(models.Model):
    """One token that `/user/login` gave out; the token itself is not kept, only its `jti`."""

    jti = models.CharField(primary_key=True, max_length=32)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="login_tokens")
    issued_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField(db_index=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    revoked_because = models.CharField(max_length=40, blank=True)

    objects = LoginTokenQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["-issued_at", "jti"]

    def __str__(self) -> str:
        return f"{self.user} {self.jti[:8]}…"


class Who(models.TextChoices):
    """Groups of visitors that may do something with a channel, or with users and clients."""

    EVERYONE = "everyone", "everyone"
    AUTHENTICATED = "authenticated", "authenticated users"
    MEMBERS = "members", "members"
    NOBODY = "nobody", "nobody (server code and the API only)"


class Channel(models.Model):
    """Rules of one channel. A channel needs no row: a socket that connects with its id is on it."""

    channel_id = models.CharField(
        max_length=CHANNEL_ID_LENGTH,
        unique=True,
        validators=[validate_channel_id],
    )
    who_may_send = models.CharField(
        max_length=16,
        choices=Who,
        blank=True,
        help_text="Empty: as the setting EVENTS_SEND_TO_CHANNELS says.",
    )
    who_may_listen = models.CharField(max_length=16, choices=Who, default=Who.EVERYONE)
    members = models.ManyToManyField(Root, blank=True, related_name="channels")
    note = models.CharField(max_length=255, blank=True)

    class Meta:
        ordering: ClassVar = ["channel_id"]

    def __str__(self) -> str:
        return self.channel_id
