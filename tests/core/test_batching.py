"""Publications that wait for the layer are joined into envelopes, of a size that Redis and the log can
hold."""

from __future__ import annotations

import random
from typing import Any

import pytest

from routing_app.core.cluster import batching
from routing_app.core.cluster.batching import ENVELOPE_BYTES, WIDE, Batch, Batches, unpack
from routing_app.core.cluster.losses import ANYWHERE, LOST
from routing_app.core.delivery.publication import Publication
from tests.core.harness import replaced

pytestmark = pytest.mark.once


def test_small_messages_share_an_envelope() -> None:
    outgoing = Batches()
    for number in range(1000):
        outgoing.add(Publication(("token:a",), f"{number}"), ["token:a"])

    [(address, items)] = outgoing.take()

    assert address == "token:a"
    assert [unpack(item).message for item in items] == [f"{number}" for number in range(1000)]


@pytest.mark.parametrize("message", ["x" * 60_000, {"list": ["x" * 1000] * 60}])
def test_a_burst_of_large_messages_takes_several_in_order(message: object) -> None:
    outgoing = Batches()
    for number in range(400):
        outgoing.add(Publication(("token:a",), [number, message]), ["token:a"])

    batches = outgoing.take()

    numbers = [unpack(item).message[0] for _, items in batches for item in items]
    assert numbers == list(range(400))
    assert max(len(items) for _, items in batches) * 60_000 < 2 * ENVELOPE_BYTES
    for _, items in batches:
        outgoing.sent(len(items))
    assert outgoing.backlog == 0


# --- losses -----------------------------------------------------------------------------------------------


def seen(batches: list[Batch], address: str) -> list[Any]:
    """What the subscribers of an address see: messages, each once, and LOST."""
    found: list[Any] = []
    for to, items in batches:
        for publication in map(unpack, items):
            if publication.event == LOST and (publication.message == ANYWHERE or to == address):
                found.append(LOST)
            elif (
                publication.event != LOST
                and address in publication.addresses
                and publication.message not in found
            ):
                found.append(publication.message)
    return found


def test_a_loss_is_told_once_in_the_place_of_what_was_lost() -> None:
    outgoing = Batches()
    outgoing.add(Publication(("token:a",), 1), ["token:a"])
    for _ in range(3):
        outgoing.lose(["token:a", "token:b"], 0.0)
    outgoing.add(Publication(("token:a",), 2), ["token:a"])
    outgoing.lose(["token:a"], 0.0)

    assert outgoing.backlog == 5
    assert seen(outgoing.take(), "token:a") == [1, LOST, 2, LOST]


def test_of_losses_at_many_addresses_everybody_is_told() -> None:
    outgoing = Batches()
    with replaced(batching, "MOST_TOLD", 2):
        for number in range(100):
            outgoing.lose([f"token:{number}"], 0.0)

    assert [address for address, _ in outgoing.take()] == ["token:0", "token:1", batching.EVERYBODY]


def told_between(sequence: list[Any]) -> tuple[list[Any], list[bool]]:
    """The messages of a sequence, and whether LOST is before the first, between each two, behind the last."""
    messages, told = [], [False]
    for one in sequence:
        if one == LOST:
            told[-1] = True
        else:
            messages.append(one)
            told.append(False)
    return messages, told


@pytest.mark.parametrize("seed", range(20))
def test_a_loss_is_told_behind_what_was_before_and_before_what_follows(seed: int) -> None:
    dice = random.Random(seed)
    addresses = [f"token:{number}" for number in range(WIDE + 4)]
    outgoing = Batches()
    made: dict[str, list[Any]] = {address: [] for address in addresses}
    with replaced(batching, "MOST_TOLD", 3):
        for number in range(60):
            some = dice.sample(addresses, dice.choice([1, 1, 1, 2, WIDE + 1]))
            is_lost = dice.random() < 0.5
            if is_lost:
                outgoing.lose(some, 0.0)
            else:
                outgoing.add(Publication(tuple(some), number), some)
            for address in some:
                made[address].append(LOST if is_lost else number)
    batches = outgoing.take()
    for address, sequence in made.items():
        messages, lost = told_between(sequence)
        came, told = told_between(seen(batches, address))
        assert came == messages
        assert all(is_told or not is_lost for is_lost, is_told in zip(lost, told, strict=True))
