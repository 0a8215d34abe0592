"""Sessions as commands make them in this process, and an operator that asks about them."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.test import Client

from routing_app.core.access import keys
from routing_app.core.models import Scope
from sessions_app.commands import Create, Granted
from sessions_app.store import AccountKey, StoreCommand, StoreEntry, apply_all
from sessions_app.wire import Wanted


def apply(*commands: StoreCommand) -> list[Any]:
    """The outcomes of commands in one transaction."""
    entries = [StoreEntry(command) for command in commands]
    with transaction.atomic():
        apply_all(entries)
    return [entry.outcome for entry in entries]


def create(key: AccountKey, **wanted: str) -> Any:
    """The id of a new session."""
    [outcome] = apply(Create(key, Wanted(**wanted)))
    assert isinstance(outcome, Granted)
    return outcome.session.id


def caller(*scopes: str, addresses: tuple[str, ...] = ()) -> Client:
    """An operator with an API key."""
    _, key = keys.issue("operator", scopes or Scope.values, addresses=list(addresses))
    return Client(headers={"X-API-Key": key})
