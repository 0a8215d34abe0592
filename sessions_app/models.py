"""Publishers, keys, limits, accounts, sessions and their history.

A row in `Session` is an occupied slot, and nothing else is. Rows come and go only in `store.py`, in a
transaction that holds the account's row.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Final

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import F, Q, Value
from django.db.models.functions import Coalesce, Now
from django.db.models.lookups import GreaterThan

from routing_app.core.leases import reach
from routing_app.core.leases.reach import Times
from routing_app.core.models import LEASE_SECONDS, WorkerRecord
from routing_app.core.models.issuers import SigningKey, check_clean
from sessions_app.limits import LimitRule, LimitScope, Policy
from sessions_app.wire import MAX_NAME, MAX_STRING


def seconds_ago(seconds: float) -> models.Expression | models.Func:
    """The database's time `seconds` ago."""
    return Now() - timedelta(seconds=seconds)


class Publisher(models.Model):
    """The signer of customers' tokens: `name` is the `publisherId` in them."""

    name = models.CharField(
        max_length=100,
        unique=True,
        validators=[RegexValidator(r"^[A-Za-z0-9._-]+\Z", "Letters, digits, dot, underscore and hyphen.")],
        help_text="The publisherId of customer tokens.",
    )
    tracking_enabled = models.BooleanField(
        default=True, help_text="Off: every player is told that tracking is disabled, and plays."
    )
    audiences = models.TextField(
        blank=True, help_text="Accepted `aud` of customer tokens, one a line. Empty: tokens have none."
    )
    issuers = models.TextField(
        blank=True, help_text="Accepted `iss` of customer tokens, one a line. Empty: tokens have none."
    )
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering: ClassVar = ["name"]

    def __str__(self) -> str:
        return self.name


class PublisherKey(SigningKey):
    """A key that customers' tokens are checked with."""

    publisher = models.ForeignKey(Publisher, models.CASCADE, related_name="keys")


SCOPES: Final = [(one.value, one.value.replace("_", " ")) for one in LimitScope]
POLICIES: Final = [(one.value, one.value.replace("_", " ")) for one in Policy]


class Limit(models.Model):
    """A maximum of sessions of one customer at once, by one scope. Several limits apply at once."""

    publisher = models.ForeignKey(Publisher, models.CASCADE, related_name="limits")
    scope = models.CharField(max_length=16, choices=SCOPES)
    value = models.CharField(
        max_length=MAX_STRING, blank=True, validators=[check_clean], help_text="Empty: default of its scope."
    )
    maximum = models.PositiveIntegerField()
    policy = models.CharField(max_length=16, choices=POLICIES, default=Policy.ASK)
    customer = models.CharField(
        max_length=MAX_STRING, blank=True, validators=[check_clean], help_text="Empty: every customer."
    )
    observe_only = models.BooleanField(default=False, help_text="Refuses nothing, but notes what it would.")

    class Meta:
        ordering: ClassVar = ["publisher", "scope", "value", "customer"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["publisher", "scope", "value", "customer", "observe_only"], name="limit_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.maximum} per {self.get_scope_display()} {self.value}".strip()

    def clean(self) -> None:
        """An account has no values to tell apart. Raises ValidationError."""
        if self.scope == LimitScope.ACCOUNT and self.value:
            raise ValidationError({"value": "A limit on the account has no value."})

    RULE: ClassVar = ("scope", "value", "maximum", "policy", "customer", "observe_only")
    """The fields that make a rule."""

    @staticmethod
    def rule(
        scope: str, value: str, maximum: int, policy: str, customer: str, observe_only: bool
    ) -> LimitRule:
        """A limit as `rules` decide by it, of its fields RULE."""
        return LimitRule(LimitScope(scope), value, maximum, Policy(policy), customer, observe_only)


class Account(models.Model):
    """One customer of one publisher: the row that is locked while its sessions come and go."""

    publisher = models.ForeignKey(Publisher, models.CASCADE, related_name="accounts")
    customer = models.CharField(max_length=MAX_STRING)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name = "customer"
        ordering: ClassVar = ["customer"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["publisher", "customer"], name="account_once")
        ]

    def __str__(self) -> str:
        return self.customer


def last_lapsed_lease(times: Times) -> datetime:
    """The latest time of a lease that is over together with its grace: sessions that such a worker has bound
    are over, too."""
    return times.witnessed - timedelta(seconds=LEASE_SECONDS + settings.SESSIONS_GRACE_SECONDS)


class SessionQuerySet(models.QuerySet["Session"]):
    """Sessions by life, at the times of the database when a method is called."""

    def live(self, at: Times | None = None) -> SessionQuerySet:
        """Sessions that hold their slot now, or `at` times, by the database's clocks and the workers' leases.

        A session whose worker's row is gone is live until the next sweep gives it a deadline.
        """
        times = at or reach.read()
        over = WorkerRecord.objects.filter(leased_at__lte=last_lapsed_lease(times))
        # Nearly all rows are live: an index of deadlines would only keep the rows from their order.
        deadline = Coalesce(F("expires_at"), Value(datetime.max.replace(tzinfo=UTC)))
        return self.filter(GreaterThan(deadline, times.reached)).exclude(worker__in=over)

    def lapsed(self) -> SessionQuerySet:
        """Sessions that a sweep has to look at: past their deadline, or without a worker that holds them."""
        times = reach.read()
        doubtful = Q(worker__leased_at__isnull=True) | Q(worker__leased_at__lte=last_lapsed_lease(times))
        return self.filter(Q(expires_at__lte=times.reached) | Q(expires_at=None) & doubtful)


class Session(models.Model):
    """One occupied slot: a stream that plays, is about to, or may come back within its grace.

    Bound, it has a connection and lives as long as its worker's lease (and grace); unbound, until
    `expires_at`.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    account = models.ForeignKey(Account, models.CASCADE, related_name="sessions", db_index=False)
    name = models.CharField(max_length=MAX_NAME, blank=True)
    offer_id = models.CharField(max_length=MAX_STRING, blank=True)
    tag = models.CharField(max_length=MAX_STRING, blank=True)
    content_id = models.CharField(max_length=MAX_STRING, blank=True)
    device_id = models.CharField(max_length=MAX_STRING, blank=True)
    device_name = models.CharField(max_length=MAX_STRING, blank=True)
    device_type = models.CharField(max_length=MAX_STRING, blank=True)
    created_at = models.DateTimeField(db_index=True)
    connection_id = models.CharField(max_length=32, blank=True)
    worker = models.ForeignKey(
        WorkerRecord, models.DO_NOTHING, null=True, blank=True, related_name="+", db_constraint=False
    )
    bound_at = models.DateTimeField(null=True, blank=True)
    seen_at = models.DateTimeField(null=True, blank=True)
    """The last sign of life while it is unbound; a bound one lives by its worker's lease."""
    expires_at = models.DateTimeField(null=True, blank=True, db_index=True)
    """A time of the clock `reached` (`routing_app/core/leases/reach.py`), which stands still in outages."""

    objects = SessionQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["created_at", "id"]
        # With all that says whether a session is live: thousands are counted without their rows.
        indexes: ClassVar = [models.Index(fields=["account", "expires_at", "worker"], name="session_counted")]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(connection_id="", worker=None, expires_at__isnull=False)
                | ~Q(connection_id="") & Q(worker__isnull=False, expires_at=None),
                name="session_bound_or_expiring",
            )
        ]

    def __str__(self) -> str:
        return self.display_name

    @property
    def display_name(self) -> str:
        """The name that other players are shown."""
        return self.name or self.offer_id or self.tag


class EventKind(models.TextChoices):
    """The events in the life of a session."""

    CREATED = "created", "created"
    BOUND = "bound", "bound"
    REBOUND = "rebound", "rebound"
    DENIED = "denied", "denied"
    TAKEN_OVER = "taken_over", "taken over"
    EVICTED = "evicted", "evicted"
    EXPIRED = "expired", "expired"
    FINISHED = "finished", "finished"
    KILLED = "killed", "killed"


ENDINGS = frozenset(
    {EventKind.TAKEN_OVER, EventKind.EVICTED, EventKind.EXPIRED, EventKind.FINISHED, EventKind.KILLED}
)
"""Kinds that end a session; each session has exactly one event of these."""


class SessionEvent(models.Model):
    """One event of the history, written in the transaction that it tells of, and never changed: the session
    as it was, or the one that was wanted, and what happened to it."""

    at = models.DateTimeField(db_index=True)
    """An ending is not before `created_at`, so that no session counts for less than no time."""
    kind = models.CharField(max_length=16, choices=EventKind)
    account = models.ForeignKey(Account, models.CASCADE, related_name="events")
    session_id = models.UUIDField(null=True, blank=True, db_index=True)
    """The session; none when it was denied."""
    name = models.CharField(max_length=MAX_NAME, blank=True)
    offer_id = models.CharField(max_length=MAX_STRING, blank=True)
    tag = models.CharField(max_length=MAX_STRING, blank=True)
    content_id = models.CharField(max_length=MAX_STRING, blank=True)
    device_name = models.CharField(max_length=MAX_STRING, blank=True)
    device_type = models.CharField(max_length=MAX_STRING, blank=True)
    connection_id = models.CharField(max_length=32, blank=True)
    worker_id = models.CharField(max_length=32, blank=True)
    created_at = models.DateTimeField(null=True, blank=True)
    bound_at = models.DateTimeField(null=True, blank=True)
    seen_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    """A time of the clock on the wall."""
    by = models.CharField(max_length=MAX_STRING, help_text="player, customer, server, or an operator's name.")
    why = models.CharField(max_length=600, blank=True)
    observed = models.BooleanField(
        default=False, help_text="Denied by a limit that only observes: nobody noticed."
    )

    class Meta:
        verbose_name = "event"
        ordering: ClassVar = ["-at", "-id"]
        indexes: ClassVar = [models.Index(fields=["kind", "at", "id", "observed"], name="event_of_kind")]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"
