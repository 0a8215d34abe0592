"""Rows of rules of addresses: the history that is kept of them, and presence notices."""

from __future__ import annotations

from typing import ClassVar

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from routing_app.core.streams.patterns import check_pattern


class AddressRule(models.Model):
    """The messages that are kept of some addresses; of several rules the longest pattern counts."""

    pattern = models.CharField(
        max_length=512,
        unique=True,
        validators=[check_pattern],
        help_text="An address, or a prefix of addresses with a final *.",
    )
    history_size = models.PositiveIntegerField(
        default=0,
        validators=[MaxValueValidator(10_000)],
        help_text="Messages that are kept of each address; 0: none.",
    )
    history_seconds = models.PositiveIntegerField(
        default=300,
        validators=[MinValueValidator(1), MaxValueValidator(2_592_000)],
        help_text="How long a message is kept.",
    )
    notices = models.BooleanField(
        default=False, help_text="Subscribers may ask to be told who comes and goes."
    )
    note = models.CharField(max_length=255, blank=True)

    class Meta:
        verbose_name = "address rule"
        ordering: ClassVar = ["pattern"]

    def __str__(self) -> str:
        return self.pattern.partition(":")[0]
