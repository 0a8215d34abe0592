"""Rows of rate limits."""

from __future__ import annotations

from typing import ClassVar, Final

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from routing_app.core import protocol as protocols

ANY: Final = "*"
API: Final = "api"
"""The REST API, in place of a protocol."""
MAX_RATE: Final = 1e9
SLOWEST_WAIT: Final = 1 / 60
"""The lowest rate at which something may wait for its turn."""


class Command(models.TextChoices):
    """The action that a limit counts."""

    CONNECT = "connect", "connect"
    SUBSCRIBE = "subscribe", "subscribe"
    PUBLISH = "publish", "publish"
    REQUEST = "request", "request"
    LOGIN = "login", "log in"
    CREATE = "create", "create a session"
    API = API, "call the REST API"
    ANY = ANY, "anything"


class Per(models.TextChoices):
    """The owner of a count."""

    CONNECTION = "connection", "connection"
    IDENTITY = "identity", "identity"
    NETWORK = "network", "network address"
    KEY = "key", "API key"


class Then(models.TextChoices):
    """The treatment of what is beyond a limit."""

    WAIT = "wait", "reading pauses"
    REFUSE = "refuse", "it is refused"
    CLOSE = "close", "the connection is closed"


NO_CONNECTION: Final = (Command.CONNECT, Command.LOGIN, Command.CREATE, Command.API)
"""Commands that come without a connection, or before it."""
NO_KEY: Final = (Command.LOGIN, Command.CREATE)
"""Commands of clients that present passwords and tokens of customers."""
NO_CLOSE: Final = (Command.LOGIN, Command.CREATE, Command.API)
"""Commands that come as HTTP requests: there is no socket to close."""


class RateLimit(models.Model):
    """A rate that all workers together hold to; every limit that fits a command is counted."""

    protocol = models.CharField(
        max_length=16,
        default=ANY,
        help_text="Name of a protocol, api for the REST API, or * for all of them.",
    )
    command = models.CharField(max_length=16, choices=Command.choices, default=Command.ANY)
    per = models.CharField(max_length=16, choices=Per.choices, default=Per.CONNECTION)
    rate = models.FloatField(
        validators=[MinValueValidator(0.0001), MaxValueValidator(MAX_RATE)], help_text="How many a second."
    )
    burst = models.PositiveIntegerField(
        validators=[MinValueValidator(1), MaxValueValidator(10**9)],
        help_text="How many at once before the rate applies.",
    )
    then = models.CharField(max_length=16, choices=Then.choices, default=Then.REFUSE)
    note = models.CharField(max_length=255, blank=True)

    class Meta:
        ordering: ClassVar = ["protocol", "command", "per", "id"]

    def __str__(self) -> str:
        return f"{self.protocol} {self.command} per {self.per}"

    def clean(self) -> None:
        """Raise ValidationError, by field, for a limit that could never count anything."""
        if self.command not in Command.values:  # the field says so itself
            return
        self._check_protocol()
        command, label = self.command, Command(self.command).value
        if self.per == Per.CONNECTION and (command in NO_CONNECTION or self.protocol == API):
            raise ValidationError(
                {"per": f"`{label}` has no connection to count by; use network, identity or key"}
            )
        if self.per == Per.KEY and command in NO_KEY:
            raise ValidationError({"per": f"`{label}` takes no API key; use network or identity"})
        if self.then == Then.CLOSE and (command in NO_CLOSE or self.protocol == API):
            raise ValidationError({"then": f"`{label}` comes as an HTTP request: use refuse"})
        if self.then == Then.WAIT and command == Command.LOGIN:
            raise ValidationError({"then": "a login does not wait: use refuse"})
        if self.then == Then.WAIT and (self.rate or MAX_RATE) < SLOWEST_WAIT:
            raise ValidationError({"then": "nothing waits for more than a minute: use refuse"})

    def _check_protocol(self) -> None:
        if self.protocol == ANY:
            return
        if self.protocol == API:
            if self.command not in (Command.API, Command.ANY):
                raise ValidationError({"command": "the REST API has `api` only"})
            return
        known = protocols.find(self.protocol)
        if known is None:
            names = ", ".join(one.name for one in protocols.registered())
            raise ValidationError({"protocol": f"expected *, api, or one of {names}"})
        commands = known.commands
        if self.command != ANY and self.command not in commands:
            raise ValidationError(
                {"command": f"{self.protocol} has no `{self.command}`; it has {', '.join(sorted(commands))}"}
            )
