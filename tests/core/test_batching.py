"""Publications that wait for the layer are joined into envelopes, of a size that Redis and the log can
hold."""

from __future__ import annotations

import pytest

from routing_app.core.cluster.batching import ENVELOPE_BYTES, Batches, unpack
from routing_app.core.delivery.publication import Publication

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
    for batch in batches:
        outgoing.sent(batch)
    assert outgoing.backlog == 0
