"""Whom a load asks: somebody who can answer and stays for a while, or nobody."""

from __future__ import annotations

import random

from tests.soak.clients import Client, EventsClient, Place, RequestsClient, TokensClient
from tests.soak.ledger import Ledger
from tests.soak.load import somebody
from tests.soak.sockets import Calls

KINDS: dict[str, type[Client]] = {"events": EventsClient, "requests": RequestsClient, "tokens": TokensClient}


def there(*kinds: str) -> list[Client]:
    place = Place(0, "", Ledger(1, 1), Calls(0), str)
    return [KINDS[kind](place, number, 0) for number, kind in enumerate(kinds)]


def asked(clients: list[Client]) -> set[int | None]:
    """The numbers of those that are asked, over many throws of the dice."""
    dice = random.Random(1)
    found = [somebody(clients, dice) for _ in range(100)]
    return {None if one is None else one.number for one in found}


async def test_the_younger_half_is_asked() -> None:
    assert asked(there("requests", "tokens", "requests", "events", "requests", "requests")) == {4, 5}


async def test_one_that_can_answer_is_found_among_others() -> None:
    assert asked(there("requests", "tokens", "events", "tokens", "requests", "tokens")) == {4}


async def test_nobody_is_asked_where_nobody_can_answer() -> None:
    assert asked(there("requests", "requests", "events", "tokens")) == {None}
    assert asked(there("requests")) == {None}
    assert asked([]) == {None}
