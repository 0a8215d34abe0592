"""The enabled webhooks as this process knows them: what each wants to be told of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from routing_app.core.access.patterns import Patterns
from routing_app.core.models.webhooks import Webhook
from routing_app.core.webhooks.events import NEEDS_ADDRESSES
from routing_app.core.webhooks.places import Taken
from routing_app.core.webhooks.target import OLD_SIGNS, Target, target_of

WEBHOOKS_CHANGED: Final = "$webhooks_changed"
"""Event that has every process read the webhooks again."""
FRESH_SECONDS: Final = 5.0
"""A process that is not told of changes reads again after so long."""


@dataclass(frozen=True, slots=True)
class KnownWebhook:
    """An enabled webhook: the types and the addresses that it wants, which make it equal to another."""

    id: int
    types: Patterns
    addresses: Patterns
    target: Target = field(compare=False)

    def takes(self, type: str) -> bool:
        """True when it is told of events of this type, at some address at least."""
        return self.types.cover(type) and (bool(self.addresses) or type not in NEEDS_ADDRESSES)

    def wants(self, type: str, address: str | None) -> bool:
        """True for an event of this type, at this address if it has one."""
        if not self.takes(type):
            return False
        return address is None or not self.addresses or self.addresses.cover(address)


def enabled_webhooks() -> tuple[KnownWebhook, ...]:
    """Those of the database. Uses the ORM."""
    rows = Webhook.objects.filter(enabled=True).order_by("pk").annotate(old_signs=OLD_SIGNS)
    return tuple(
        KnownWebhook(row.pk, Patterns(row.events), Patterns(row.addresses), target_of(row)) for row in rows
    )


class KnownWebhooks:
    """All enabled webhooks of one process; false where there is none."""

    def __init__(self) -> None:
        self.all: Sequence[KnownWebhook] = ()
        self._read_at: float | None = None

    def __bool__(self) -> bool:
        return bool(self.all)

    def read(self) -> None:
        """Read the rows, in a thread that may use the database."""
        began = monotonic()
        found = enabled_webhooks()
        # Of two readings at once the one that began later knows more, whichever ends first.
        if self._read_at is None or began >= self._read_at:
            self.all, self._read_at = found, began

    def freshen(self) -> None:
        """Read the rows unless that was done a moment ago, in a thread that may use the database."""
        if not self.is_fresh:
            self.read()

    @property
    def is_fresh(self) -> bool:
        """True when the rows were read a moment ago."""
        return self._read_at is not None and monotonic() - self._read_at <= FRESH_SECONDS

    def forget(self) -> None:
        """Have the next `freshen` read the rows."""
        self._read_at = None

    def wanting(self, type: str, address: str | None = None) -> Iterable[KnownWebhook]:
        """Those that want an event."""
        return [one for one in self.all if one.wants(type, address)]

    def have_changed(self, taken: Taken) -> bool:
        """True for a delivery that was found when its webhook was on and had another target than now."""
        if self._read_at is None or self._read_at < taken.looked_at:
            return False  # the look knows more
        return all(one.id != taken.webhook or one.target != taken.target for one in self.all)

    def any_wants(self, type: str) -> bool:
        """True when an event of this type is wanted for some address."""
        return any(one.takes(type) for one in self.all)


webhooks: Final = KnownWebhooks()
"""Those of this process. Empty until the first read, so no event costs anything where there is none."""
