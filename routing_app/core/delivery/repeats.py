"""Publications that come to a process more than once: from each of its addresses, or sent again.

A publication comes as a whole, for all of its addresses; a process that has subscribers at some of them
delivers it to these, whichever it came by. The addresses without history are remembered together. Each with
history is remembered by itself, in its epoch: one that has its first subscriber later may have an order that
begins before the publication, and then it comes there as well.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Set
from typing import TYPE_CHECKING, Final

from routing_app.core.delivery.publication import Publication

if TYPE_CHECKING:
    from routing_app.core.delivery.hub import Hub

REMEMBERED: Final = 4096
"""Publications, or their places in streams, that are remembered; one round of envelopes is far less."""


class Repeats:
    """The latest publications of a process that were delivered, and when."""

    def __init__(self, reaches: Callable[[str], bool], clock: Callable[[], float]) -> None:
        """`reaches` says whether an address has subscribers in this process."""
        self._reaches = reaches
        self._clock = clock
        self._seen: OrderedDict[str, float] = OrderedDict()
        """When: by publication, by its addresses without history, or by its epoch and address in a stream."""

    def __contains__(self, id: str) -> bool:
        """True for the id of a publication without positions that was delivered."""
        return id in self._seen

    def has(self, publication: Publication) -> bool:
        """True for one without positions that was delivered before; otherwise it is remembered."""
        if (key := _key(publication)) in self._seen:
            return True
        self._remember(key)
        return False

    def before(self, publication: Publication, passed: Set[str]) -> dict[str, float]:
        """The addresses at which one with positions was delivered before, and when.

        At the others that have subscribers it is remembered, but for those that it is not delivered at since
        they are `passed`.
        """
        whole, positions = _key(publication), publication.positions or {}
        if (at := self._seen.get(whole)) is not None:
            return dict.fromkeys(publication.addresses, at)
        found: dict[str, float] = {}
        plain = [one for one in publication.addresses if one not in positions]
        if plain and (at := self._seen.get(without_history(whole))) is not None:
            found = dict.fromkeys(plain, at)
        elif any(map(self._reaches, plain)):
            self._remember(without_history(whole))
        for address, position in positions.items():
            key = f"{whole}/{position.epoch}/{address}"
            if (at := self._seen.get(key)) is not None:
                found[address] = at
            elif address not in passed and self._reaches(address):
                self._remember(key)
        return found

    def _remember(self, key: str) -> None:
        self._seen[key] = self._clock()
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)


def without_history(id: str) -> str:
    """The id of a publication that is sent again to those of its addresses that have no history."""
    return f"{id}/"


def have_it(hub: Hub, publication: Publication, before: Mapping[str, float], passed: Set[str]) -> set[str]:
    """The ids of the connections that have a publication, since it was delivered at these addresses before.

    Those of them that follow another of its streams, which has not `passed` it, are told of a gap: they have
    not got its position there.
    """
    have = {one for address, at in before.items() for one in hub.members(address, at)}
    others = [one for one in publication.positions or {} if one not in before and one not in passed]
    for one in {one for address in others for one in hub.concerned_by_gap(address)} & have:
        one.notify_gap()
    return {one.id for one in have}


def _key(publication: Publication) -> str:
    return f"{publication.server}/{publication.id}" if publication.is_part else publication.id
