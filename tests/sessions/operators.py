"""Sessions as commands make them in this process, and an operator that asks about them."""

from __future__ import annotations

import time
from typing import Any

from django.db import transaction
from django.test import Client

from routing_app.core.access import keys
from routing_app.core.models import Scope
from sessions_app.commands import Create, Granted
from sessions_app.store import AccountKey, StoreCommand, StoreEntry, apply_all
from sessions_app.wire import Wanted


def apply(*commands: StoreCommand) -> list[Any]:
    """The outcomes of commands in one transaction; what it makes is older than what the next one makes."""
    entries = [StoreEntry(command) for command in commands]
    with transaction.atomic():
        apply_all(entries)
    let_a_millisecond_begin()
    return [entry.outcome for entry in entries]


def create(key: AccountKey, **wanted: str) -> Any:
    """The id of a new session."""
    [outcome] = apply(Create(key, Wanted(**wanted)))
    assert isinstance(outcome, Granted)
    return outcome.session.id


def let_a_millisecond_begin() -> None:
    """What is made from here on is younger, on SQLite as well: of two transactions within one of its
    milliseconds neither is. Those of a worker are farther apart."""
    now = time.time_ns() // 1_000_000
    while time.time_ns() // 1_000_000 == now:
        pass


def caller(*scopes: str, addresses: tuple[str, ...] = ()) -> Client:
    """An operator with an API key."""
    _, key = keys.issue("operator", scopes or Scope.values, addresses=list(addresses))
    return Client(headers={"X-API-Key": key})
