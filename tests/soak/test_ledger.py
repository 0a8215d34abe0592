"""The ledger finds what came twice, in a wrong order, or not at all."""

from __future__ import annotations

import pytest

from tests.soak.ledger import Ledger, Receipts, Times


def published(ledger: Ledger, count: int, sender: int = 0) -> list[bytes]:
    return [ledger.message(sender, 0, 1.0).encode() for _ in range(count)]


def receipts_after(taken: list[int], *, before: int = 0) -> tuple[Ledger, Receipts]:
    """Four messages were published after `before` others; the receiver got these, counted from 0."""
    ledger = Ledger(senders=2, groups=1)
    receipts = Receipts(ledger, "tokens 7", 0, [0])
    frames = published(ledger, before)
    receipts.begin()
    frames += published(ledger, 4)
    for number in taken:
        receipts.take(b'{"text":"' + frames[number] + b'"}', 1.5)
    return ledger, receipts


@pytest.mark.parametrize(
    ("taken", "before"), [([0, 1, 2, 3], 0), ([3, 4, 5, 6], 3), ([2, 3, 4, 5, 6], 3)], ids=str
)
def test_all_in_order_is_well(taken: list[int], before: int) -> None:
    ledger, receipts = receipts_after(taken, before=before)

    assert ledger.faults == []
    assert list(receipts.missing()) == []


@pytest.mark.parametrize(
    ("taken", "fault"),
    [
        ([0, 0], "got number 1 of sender 0 after 1"),
        ([0, 2], "got number 3 of sender 0 after 1"),
        ([0, 1, 0], "got number 1 of sender 0 after 2"),
        ([1], "got number 2 of sender 0 after 0"),
    ],
    ids=["twice", "a hole", "back", "the first is missing"],
)
def test_what_is_out_of_order_is_a_fault(taken: list[int], fault: str) -> None:
    assert receipts_after(taken)[0].faults == [f"tokens 7 {fault}"]


def test_what_has_not_come_is_missing() -> None:
    assert list(receipts_after([0, 1])[1].missing()) == ["tokens 7 has 2 of 4 messages of sender 0"]
    assert list(receipts_after([])[1].missing()) == ["tokens 7 has 0 of 4 messages of sender 0"]


def test_a_message_for_others_is_a_fault() -> None:
    ledger, receipts = receipts_after([])
    receipts.take(published(ledger, 1, sender=1)[0], 1.0)

    assert ledger.faults == ["tokens 7 got a message of sender 1, which is for others"]


def test_one_frame_may_have_several_messages() -> None:
    ledger = Ledger(senders=1, groups=1)
    receipts = Receipts(ledger, "a poll", 0, [0])
    receipts.begin()
    receipts.take(b"\x1e".join(published(ledger, 3)), 1.25)

    assert list(receipts.missing()) == []
    assert ledger.times.count == 3
    assert ledger.times.percentile(0.5) == pytest.approx(250.1, abs=0.11)


def test_percentiles_are_of_all_and_by_the_minute() -> None:
    times = Times()
    for milliseconds in range(1, 101):
        times.add(0, milliseconds / 1000)
    times.add(1, 0.5)

    assert times.percentile(0.5) == pytest.approx(51, abs=0.2)
    assert times.by_minute(0.99) == pytest.approx([99, 500], abs=0.2)
