"""The subscriptions of a connection, and how far the messages of each have come."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from switchboard_client import wire
from switchboard_client.deliveries import Position, position, positions

OnRecovered = Callable[[str, Position], Any]
"""Takes an address and the end of its stream; what was missed up to there is on its way."""
OnGap = Callable[[str], Any]
"""Takes an address of which messages may be missing."""


@dataclass(frozen=True, slots=True)
class Options:
    """What an address was subscribed to with."""

    recover: bool = False
    last: int = 0
    notices: bool = False
    on_recovered: OnRecovered | None = None
    on_gap: OnGap | None = None


@dataclass(slots=True)
class _Subscription:
    options: Options
    began: Position | None = None
    """The end of the stream when it began, or after a gap."""
    came: Position | None = None
    """The last message that has come since then."""

    @property
    def kept(self) -> Position | None:
        """Where to go on from."""
        return self.came or self.began


class Outcome(NamedTuple):
    """Of one address whose messages were to be recovered: all up to `position` are on their way, or None."""

    address: str
    options: Options
    position: Position | None


class Subscriptions:
    """By address. A position is kept of those that recover, and goes on with each message.

    A message that a position says has come before is not new: a recovery may bring what the socket had
    brought already.
    """

    def __init__(self) -> None:
        self._all: dict[str, _Subscription] = {}

    @property
    def options(self) -> dict[str, Options]:
        """Options by address."""
        return {address: one.options for address, one in self._all.items()}

    def recovering(self) -> list[tuple[str, Options]]:
        """Those whose messages are recovered."""
        return [(address, one.options) for address, one in self._all.items() if one.options.recover]

    def remove(self, addresses: Iterable[str]) -> None:
        """Forget addresses, and their positions."""
        for address in addresses:
            self._all.pop(address, None)

    def requests(self, wanted: Mapping[str, Options], again: bool) -> Iterator[dict[str, Any]]:
        """The requests that subscribe to addresses, each within the server's bounds.

        The `last` messages are asked for once, not again after a reconnect.
        """
        kinds = dict.fromkeys((one.notices, 0 if again else one.last) for one in wanted.values())
        for notices, last in kinds:
            some = [
                (address, self._kept(address, one))
                for address, one in wanted.items()
                if one.notices == notices and (again or one.last == last)
            ]
            for batch in wire.batches(some, _size):
                request: dict[str, Any] = {
                    "type": "subscribe",
                    "addresses": [address for address, _ in batch],
                }
                if since := {address: place for address, place in batch if place is not None}:
                    request["since"] = since
                if last:
                    request["last"] = last
                if notices:
                    request["notices"] = True
                yield request

    def take(
        self, request: Mapping[str, Any], wanted: Mapping[str, Options], again: bool, reply: Mapping[str, Any]
    ) -> list[Outcome]:
        """Take the reply to one of those requests."""
        places = reply.get("positions")
        places = places if isinstance(places, Mapping) else {}
        outcomes = []
        for address in request["addresses"]:
            if again and address not in self._all:
                continue  # unsubscribed from since it was asked for
            one = self._all.setdefault(address, _Subscription(wanted[address]))
            if not again:
                one.options = wanted[address]
            if not one.options.recover:
                one.began = one.came = None
                continue
            place = position(places.get(address))
            if address in request.get("since", ()):
                # What was missed comes after this reply: the position that was asked for goes on with it.
                recovered = place is not None and places[address].get("recovered") is True
                if not recovered:
                    one.began, one.came = place, None
                outcomes.append(Outcome(address, one.options, place if recovered else None))
            else:
                one.began = place
                if again:
                    outcomes.append(Outcome(address, one.options, None))
        return outcomes

    def is_new(self, delivery: Mapping[str, Any]) -> bool:
        """Keep the positions of a delivery; False when it has come before."""
        known = [
            (one, place)
            for address, place in positions(delivery).items()
            if (one := self._all.get(address)) is not None and one.options.recover
        ]
        # A message to several addresses is new where any of them has not got so far: streams of several
        # stores have no common order.
        new = [(one, place) for one, place in known if not _is_passed(place, one.came)]
        for one, place in new:
            one.came = place
        return bool(new) or not known

    def _kept(self, address: str, options: Options) -> Position | None:
        one = self._all.get(address)
        return one.kept if options.recover and one is not None else None


def _is_passed(place: Position, came: Position | None) -> bool:
    return came is not None and came["epoch"] == place["epoch"] and place["offset"] <= came["offset"]


def _size(item: tuple[str, Position | None]) -> int:
    address, place = item
    return wire.size(address) if place is None else 2 * wire.size(address) + wire.size(place)
