"""The contract of a store, in memory and on Redis alike."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from routing_app.core.delivery.publication import Position, Publication
from routing_app.core.streams import record
from routing_app.core.streams.store import MAX_OFFSET, Append, Appended, Bounds
from tests.streams.harness import USUAL, A, B, StoreKind, appended

pytestmark = pytest.mark.once


async def test_offsets_count_from_one_in_one_epoch(kind: StoreKind):
    places = [(await kind.append(number, A)).positions[A] for number in range(3)]

    assert [place.offset for place in places] == [1, 2, 3]
    assert len({place.epoch for place in places}) == 1
    page = await kind.read(A)
    assert page.position == places[-1]
    assert [entry.offset for entry in page.entries] == [1, 2, 3]
    assert [entry.publication.message for entry in page.entries] == [0, 1, 2]
    assert all(
        entry.publication.positions == {A: Position(page.epoch, entry.offset)} for entry in page.entries
    )
    assert all(abs(entry.at - kind.clock()) < 60 for entry in page.entries)


MESSAGES = {
    "plain": "x",
    "beyond ASCII": "é 😀",
    "half of a pair": "\ud800",
    "nothing": None,
    "the word null": "null",
    "a large integer": [2**70, -(2**63), 2**64 - 1],
    "numbers": [1, 1.5, 1e300, 0.1, -0.0],
    "names that are numbers": {"1": 2},
    "all": {"a": [1, None, 2**70, "é\ud800"], "data": {"_base64": "AA=="}},
}


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
async def test_a_message_is_kept_as_it_was_published(kind: StoreKind, message: Any):
    publication = Publication(
        (A, B), message, "UPDATES", "sender", "excluded", "an id", (("data",),), positions=None
    )
    content = record.encode(publication, [A, B], "shown")
    await appended(kind.store, Append(content, {A: USUAL, B: USUAL}))

    (entry,) = (await kind.read(B)).entries

    kept = entry.publication
    assert (kept.addresses, kept.message, kept.event, kept.sender) == ((A, B), message, "UPDATES", "sender")
    assert (kept.exclude, kept.id, kept.binary, entry.shown_id) == (
        "excluded",
        "an id",
        (("data",),),
        "shown",
    )


async def test_what_follows_a_position_is_recovered(kind: StoreKind):
    epoch = (await kind.append(1, A)).positions[A].epoch
    for number in range(2, 6):
        await kind.append(number, A)

    for offset in range(6):
        page = await kind.read(A, Position(epoch, offset))
        assert page.recovered
        assert not page.more
        assert [entry.publication.message for entry in page.entries] == list(range(offset + 1, 6))


@pytest.mark.parametrize(
    ("epoch", "offset"), [("other", 2), ("", 2), ("same", 6), ("same", MAX_OFFSET - 1), ("other", 0)]
)
async def test_an_unknown_epoch_or_a_future_offset_is_not_recovered(kind: StoreKind, epoch: str, offset: int):
    for number in range(5):
        same = (await kind.append(number, A)).positions[A].epoch

    page = await kind.read(A, Position(same if epoch == "same" else epoch or "-", offset))

    assert (page.recovered, page.entries, page.position) == (False, [], Position(same, 5))


async def test_only_so_many_are_kept_and_what_is_gone_is_not_recovered(kind: StoreKind):
    for number in range(1, 26):
        epoch = (await kind.append(number, A)).positions[A].epoch

    assert await kind.messages(A) == list(range(16, 26))
    assert (await kind.read(A, Position(epoch, 15))).recovered
    gone = await kind.read(A, Position(epoch, 14))
    assert (gone.recovered, gone.entries, gone.first) == (False, [], 16)
    assert await kind.messages(A, Position(epoch, 25)) == []


async def test_fewer_are_kept_as_soon_as_the_rule_says_so(kind: StoreKind):
    for number in range(1, 11):
        epoch = (await kind.append(number, A)).positions[A].epoch

    assert await kind.messages(A, bounds=Bounds(3, 300)) == [8, 9, 10]
    assert not (await kind.read(A, Position(epoch, 6), Bounds(3, 300))).recovered
    assert (await kind.read(A, Position(epoch, 7), Bounds(3, 300))).recovered


async def test_none_older_than_the_rule_says_is_kept(kind: StoreKind):
    for number in range(1, 4):
        epoch = (await kind.append(number, A)).positions[A].epoch
    kind.clock.moved += 200
    await kind.append(4, A)
    kind.clock.moved += 200

    assert await kind.messages(A) == [4]
    assert not (await kind.read(A, Position(epoch, 2))).recovered
    assert (await kind.read(A, Position(epoch, 2))).first == 4
    assert await kind.messages(A, Position(epoch, 3)) == [4]
    kind.clock.moved += 200
    page = await kind.read(A, Position(epoch, 4))
    assert (page.recovered, page.entries, page.position) == (True, [], Position(epoch, 4))
    assert not (await kind.read(A, Position(epoch, 3))).recovered
    assert (await kind.append(5, A)).positions == {A: Position(epoch, 5)}
    assert await kind.messages(A) == [5]


async def test_many_that_expire_at_once_are_given_back(kind: StoreKind):
    bounds = Bounds(1000, 300)
    for number in range(1, 101):
        await kind.append(number, A, bounds=bounds)
    kind.clock.moved += 301
    for number in range(101, 121):
        await kind.append(number, A, bounds=bounds)

    assert await kind.messages(A, bounds=bounds) == list(range(101, 121))


async def test_a_limit_cuts_and_says_so(kind: StoreKind):
    for number in range(1, 8):
        epoch = (await kind.append(number, A)).positions[A].epoch

    assert await kind.messages(A, limit=3) == [5, 6, 7]
    page = await kind.read(A, Position(epoch, 2), limit=3)
    assert (page.more, [entry.offset for entry in page.entries]) == (True, [3, 4, 5])
    page = await kind.read(A, Position(epoch, 4), limit=3)
    assert (page.more, [entry.offset for entry in page.entries]) == (False, [5, 6, 7])
    assert (await kind.read(A, limit=0)).entries == []


async def test_a_message_to_several_addresses_goes_into_all_their_streams(kind: StoreKind):
    await kind.append("first", B)
    both = (await kind.append("both", A, B)).positions

    assert [both[A].offset, both[B].offset] == [1, 2]
    for address in (A, B):
        entry = (await kind.read(address)).entries[-1]
        assert entry.publication.positions == both
        assert entry.publication.addresses == (A, B)


async def test_a_name_is_appended_once_and_answers_the_first(kind: StoreKind):
    first = await kind.append("first", A, once="n")
    again = await kind.append("other", B, once="n")
    other = await kind.append("second", A, once="m")

    assert not first.repeated
    assert again.repeated
    assert again.positions == first.positions
    assert other.positions[A].offset == 2
    assert await kind.messages(A) == ["first", "second"]
    assert await kind.messages(B) == []


async def test_a_name_is_known_without_a_stream(kind: StoreKind):
    nothing = Append(b"[1]", {}, "n", 300.0)

    assert not (await appended(kind.store, nothing)).repeated
    assert (await appended(kind.store, nothing)) == Appended({}, True)


async def test_a_name_at_once_is_appended_once(kind: StoreKind):
    outcomes = await asyncio.gather(*(kind.append(number, A, once="n") for number in range(20)))

    assert sorted(outcome.repeated for outcome in outcomes) == [False] + [True] * 19
    assert len({outcome.positions[A] for outcome in outcomes}) == 1
    assert len(await kind.messages(A)) == 1


async def test_concurrent_appends_have_every_offset_once_in_the_order_of_calls(kind: StoreKind):
    bounds = Bounds(1000, 300)
    outcomes = await asyncio.gather(*(kind.append(number, A, bounds=bounds) for number in range(500)))

    assert [outcome.positions[A].offset for outcome in outcomes] == list(range(1, 501))
    assert await kind.messages(A, bounds=bounds, limit=1000) == list(range(500))


async def test_a_deleted_stream_begins_a_new_epoch(kind: StoreKind):
    for number in range(3):
        before = (await kind.append(number, A)).positions[A]

    after = await kind.store.delete(A, USUAL)

    assert after.epoch != before.epoch
    page = await kind.read(A, before)
    assert (page.recovered, page.position, page.former) == (False, Position(after.epoch, 0), before)
    assert (await kind.append("new", A)).positions == {A: Position(after.epoch, 1)}
    assert await kind.messages(A, after) == ["new"]


async def test_a_stream_that_is_not_kept_any_more_begins_a_new_epoch_and_others_go_on(kind: StoreKind):
    one, other, odd = "token:" + "e" * 300, "token:kept", "token:\ud800"
    before = {address: (await kind.append(1, address)).positions[address] for address in (one, other, odd)}
    for number in range(1200):
        await kind.store.positions({f"room:bus/{number}": USUAL})

    await kind.store.end(lambda address: address == other or address.startswith("room:"))

    for address in (one, odd):
        page = await kind.read(address, before[address])
        assert (page.recovered, page.offset) == (False, 0)
        assert page.epoch not in {position.epoch for position in before.values()}
        assert await kind.messages(address) == []
    assert (await kind.read(other, before[other])).recovered
    assert (await kind.append(2, other)).positions[other] == Position(before[other].epoch, 2)


async def test_positions_begin_streams_and_go_on(kind: StoreKind):
    await kind.append(1, A)

    pages = await kind.store.positions({A: USUAL, B: USUAL})
    again = await kind.store.positions({B: USUAL})

    assert (pages[A].offset, pages[B].offset) == (1, 0)
    assert again[B].position == pages[B].position
    assert (await kind.append(2, B)).positions[B].epoch == pages[B].epoch


async def test_a_store_that_has_stopped_refuses(kind: StoreKind):
    from routing_app.core.streams.store import StoreUnavailable

    await kind.append(1, A)
    await kind.store.stop()

    with pytest.raises(StoreUnavailable):
        await kind.append(2, A)
    with pytest.raises(StoreUnavailable):
        await kind.read(A)
