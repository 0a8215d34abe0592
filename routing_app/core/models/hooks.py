"""Rows of hooks: URLs of a backend that decides."""

from __future__ import annotations

import re
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Now

from routing_app.core import protocol as protocols
from routing_app.core.access.patterns import is_pattern
from routing_app.core.models.rate_limits import API
from routing_app.core.outgoing.signature import new_secret

ANY: Final = "*"
MAX_TIMEOUT: Final = 60_000
MAX_HEADERS: Final = 32
HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
"""A name of a header (RFC 9110, section 5.1)."""


def check_url(url: str) -> None:
    """Raise ValidationError for a URL that cannot be called.

    A name of one label is allowed, such as that of a container, and so is every network.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        if host and not host.isascii():
            host.encode("idna")
    except ValueError:  # also UnicodeError
        raise ValidationError("expected a URL") from None
    if parts.scheme not in ("http", "https") or not host:
        raise ValidationError("expected a URL of http or https, with a host")
    if port == 0:
        raise ValidationError("expected a port from 1 to 65535")
    if parts.username is not None or parts.password is not None:
        raise ValidationError("expected a URL without a user and a password: calls are signed")
    rest = parts.path + parts.query
    if parts.fragment or not rest.isascii() or not all(33 <= ord(one) != 127 for one in url):
        raise ValidationError("expected a URL of printable ASCII characters, without a fragment")


def check_headers(names: Any) -> None:
    """Raise ValidationError for anything but a list of names of headers."""
    if not isinstance(names, list) or len(names) > MAX_HEADERS:
        raise ValidationError(f"expected a list of at most {MAX_HEADERS} names of headers")
    for name in names:
        if not isinstance(name, str) or not HEADER.fullmatch(name):
            raise ValidationError("expected names of headers, such as user-agent")


class On(models.TextChoices):
    """The step at which a hook is asked."""

    CONNECT = "connect", "connect"
    SUBSCRIBE = "subscribe", "subscribe"
    PUBLISH = "publish", "publish"
    REQUEST = "request", "request"


class Fail(models.TextChoices):
    """The answer that holds while a hook does not answer."""

    CLOSED = "closed", "refuse"
    OPEN = "open", "allow"


OF_API: Final = frozenset({On.SUBSCRIBE.value, On.PUBLISH.value})
"""The steps of clients that call the REST API with an access token: to read a history counts as the first."""


class Hook(models.Model):
    """A URL that is asked before a step is taken."""

    protocol = models.CharField(
        max_length=16,
        default=ANY,
        help_text="Name of a protocol, api for clients of the REST API, or * for all.",
    )
    on = models.CharField(max_length=16, choices=On.choices)
    pattern = models.CharField(
        max_length=512,
        default=ANY,
        help_text="Of addresses; of request types and names of walkers where it answers requests.",
    )
    url = models.CharField(max_length=2048, validators=[check_url])
    timeout = models.PositiveIntegerField(
        default=1000,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_TIMEOUT)],
        help_text="Milliseconds until it counts as failed.",
    )
    fail = models.CharField(
        max_length=8, choices=Fail.choices, default=Fail.CLOSED, help_text="While it does not answer."
    )
    headers = models.JSONField(
        default=list,
        blank=True,
        validators=[check_headers],
        help_text="Names of headers of the handshake that it is told.",
    )
    secret = models.CharField(max_length=100, editable=False, default=new_secret)
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering: ClassVar = ["protocol", "on", "id"]

    def __str__(self) -> str:
        return f"{self.protocol} {self.on} {self.pattern}"

    def clean(self) -> None:
        """Raise ValidationError, by field, for a hook that could never be asked."""
        if self.on not in On.values:  # the field says so itself
            return
        asked = {one.name: one for one in protocols.registered() if not one.of_operators}
        known = asked.get(self.protocol)
        if self.protocol not in (ANY, API) and known is None:
            names = ", ".join(asked)
            raise ValidationError({"protocol": f"expected *, {API}, or one of {names}"})
        if self.protocol != ANY:
            possible = OF_API if known is None else known.commands | known.asks
            steps = [step for step in On.values if step in possible]
            if self.on not in steps:
                words = ", ".join(steps)
                raise ValidationError({"on": f"{self.protocol} has no `{self.on}`; it has {words}"})
        if problem := self._problem_of_pattern():
            raise ValidationError({"pattern": problem})
        if known is not None and self.on == On.REQUEST and self.pattern in known.own_requests:
            raise ValidationError({"pattern": f"the server answers `{self.pattern}` itself"})

    def _problem_of_pattern(self) -> str:
        if self.on == On.CONNECT:
            return "" if self.pattern == ANY else "a connection has no address yet: use *"
        if self.on == On.REQUEST:
            fits = not self.pattern.partition(ANY)[2] and self.pattern.isprintable()
            return "" if fits else "expected a type of requests, a prefix such as `shop.*`, or `*`"
        if is_pattern(self.pattern):
            return ""
        return "expected an address, a prefix such as `room:bus/*`, or `*`"
