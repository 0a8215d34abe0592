"""The history of an address as clients read it: by REST, and by the requests protocol."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from routing_app.core.delivery.publication import MESSAGE, Position
from routing_app.core.streams.store import MAX_OFFSET, Bounds, Entry
from routing_app.core.streams.streams import Streams
from routing_app.core.worker import current_worker

MAX_LIMIT: Final = 1000
"""Messages that one reading has."""
USUAL_LIMIT: Final = 100
MAX_EPOCH: Final = 64


class NoHistory(Exception):
    """No history is kept of the address."""


class NotAPosition(ValueError):
    """The value is not a position; the message is a sentence for the caller."""


def last_of(text: str) -> int:
    """How many messages the string of a query asks for. Raises ValueError, with a sentence for the caller."""
    if not text.isascii() or not text.isdecimal() or len(text) > 9 or int(text) > MAX_LIMIT:
        raise ValueError(f"`last` is a whole number from 0 to {MAX_LIMIT}")
    return int(text)


def position_of(text: str) -> Position:
    """A position from `EPOCH:OFFSET`. Raises NotAPosition."""
    epoch, colon, number = text.rpartition(":")
    if not colon or not number.isascii() or not number.isdecimal():
        raise NotAPosition("a position is written EPOCH:OFFSET")
    return checked_position(epoch, int(number[:20]))


def checked_position(epoch: Any, offset: Any) -> Position:
    """A position of a client. Raises NotAPosition."""
    if not isinstance(epoch, str) or not 1 <= len(epoch) <= MAX_EPOCH or not epoch.isprintable():
        raise NotAPosition(f"an epoch has 1 to {MAX_EPOCH} printable characters")
    if not isinstance(offset, int) or isinstance(offset, bool) or not 0 <= offset < MAX_OFFSET:
        raise NotAPosition("an offset is a whole number from 0 to 2^53 - 1")
    return Position(epoch, offset)


async def read(
    address: str, since: Position | None = None, limit: int = 100, reverse: bool = False
) -> dict[str, Any]:
    """The newest messages of a checked address, or what follows `since`.

    Raises NoHistory, StoreUnavailable.
    """
    streams, bounds = await _found(address)
    page = await streams.read(address, bounds, since, limit)
    entries = page.entries[::-1] if reverse else page.entries
    answer: dict[str, Any] = {
        "address": address,
        "epoch": page.epoch,
        "offset": page.offset,
        "messages": [_shown(entry) for entry in entries],
    }
    if since is not None:
        answer["recovered"] = page.recovered
        if page.more:
            answer["more"] = True
    return answer


async def delete(address: str) -> None:
    """Forget the messages of a checked address. Raises NoHistory, StoreUnavailable."""
    streams, bounds = await _found(address)
    await streams.delete(address, bounds)


async def _found(address: str) -> tuple[Streams, Bounds]:
    streams = current_worker().streams
    await streams.freshen()
    if (bounds := streams.bounds(address)) is None:
        raise NoHistory
    return streams, bounds


def _shown(entry: Entry) -> dict[str, Any]:
    publication = entry.publication
    shown = {"offset": entry.offset, "id": entry.shown_id, "message": publication.message}
    if publication.event != MESSAGE:
        shown["event"] = publication.event
    at = datetime.fromtimestamp(entry.at, UTC).isoformat(timespec="milliseconds")
    return {**shown, "sender": publication.sender, "at": at.replace("+00:00", "Z")}
