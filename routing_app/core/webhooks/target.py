"""Where a webhook is called, and what each call carries beside its body."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.db.models import Q
from django.db.models.functions import Now

from routing_app.core.models.webhooks import ROTATION

OLD_SIGNS: Final = Q(rotated_at__gt=Now() - ROTATION)
"""True of a webhook whose old secret signs, too."""


@dataclass(frozen=True, slots=True, repr=False)
class Target:
    """The target of calls. Headers and secrets are in no log."""

    url: str
    headers: Mapping[str, str]
    secrets: tuple[str, ...]


def target_of(row: Any) -> Target:
    """The target of a row with the annotation `old_signs=OLD_SIGNS`."""
    secrets = (row.secret, row.old_secret) if row.old_signs else (row.secret,)
    return Target(row.url, row.headers, tuple(filter(None, secrets)))
