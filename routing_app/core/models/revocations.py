"""Rows of revocations: credentials and networks that are let in no more."""

from __future__ import annotations

from typing import ClassVar, Final

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

NAMED: Final = ("subject", "jti", "token", "key", "network")
"""Exactly one of these columns is filled."""


def _exactly_one_named() -> Q:
    alternatives = Q()
    for filled in NAMED:
        others = {name: "" for name in NAMED if name != filled}
        alternatives |= ~Q(**{filled: ""}) & Q(**others)
    return alternatives


class Revocation(models.Model):
    """Takes back whatever carries one name: connections end, and new ones are refused until `until`."""

    subject = models.CharField(
        max_length=512,
        blank=True,
        help_text="`sub` of access tokens, root id of the events protocol, or `publisher/customer`.",
    )
    jti = models.CharField(max_length=255, blank=True, help_text="`jti` of one access token.")
    token = models.CharField(max_length=255, blank=True, help_text="A token of the tokens protocol.")
    key = models.CharField(max_length=16, blank=True, help_text="Prefix of an API key.")
    network = models.CharField(max_length=64, blank=True, help_text="A network in CIDR form.")
    issued_before = models.DateTimeField(
        null=True, blank=True, help_text="With a subject: only tokens that were issued before."
    )
    until = models.DateTimeField(null=True, blank=True, help_text="Empty: until it is lifted.")
    reason = models.CharField(max_length=255, blank=True)
    created_at = models.DateTimeField(db_default=Now(), db_index=True)

    class Meta:
        ordering: ClassVar = ["-created_at", "-id"]
        constraints: ClassVar = [
            models.CheckConstraint(name="revocation_names_one", condition=_exactly_one_named()),
        ]
        indexes: ClassVar = [
            models.Index(fields=[name], name=f"revocation_{name}", condition=~Q(**{name: ""}))
            for name in NAMED
        ]

    def __str__(self) -> str:
        return next((name for name in NAMED if getattr(self, name)), "revocation")
