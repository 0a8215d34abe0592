"""Links: between clients, servers, Redis and PostgreSQL lies a proxy that fails."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

from faults.nemeses.nemesis import Nemesis
from faults.world import World
from tests.faults.proxy import BOTH, Proxy, Way

WAYS: Final = (frozenset({Way.UP}), frozenset({Way.DOWN}), BOTH)
"""What a fault stops: what goes to the server of a link, what comes from it, or all."""


class LinkFault(Nemesis):
    """A fault of one of the links of a server: to its clients, to PostgreSQL, to Redis."""

    def __init__(self, world: World, dice: random.Random) -> None:
        super().__init__(world, dice)
        self.link = dice.choice(links(world))

    @property
    def target(self) -> str:
        """One fault a link."""
        return f"{self.link} of {self.number()}"

    @property
    def proxies(self) -> Sequence[Proxy]:
        """Of the link; two where Redis has a replica."""
        return self.node.links[self.link]

    def heal(self) -> None:
        """Back to normal."""
        for proxy in self.proxies:
            proxy.heal()


def links(world: World) -> list[str]:
    """The links that each server of a run has."""
    return sorted(world.nodes[0].links)


class Cut(LinkFault):
    """Every connection is reset, and none is taken for a while."""

    name = "cut"

    def begin(self) -> str:
        """Every proxy of the link is down."""
        return f"{sum(proxy.down() for proxy in self.proxies)} connections, {self.target}"


class WayFault(LinkFault):
    """A fault of one direction of a link, or of both."""

    seconds = (2.0, 12.0)

    def __init__(self, world: World, dice: random.Random) -> None:
        super().__init__(world, dice)
        self.ways = dice.choice(WAYS)

    def said(self) -> str:
        """The directions, and the link."""
        return f"{' and '.join(sorted(way.value for way in self.ways))}, {self.target}"


class Hold(WayFault):
    """Nothing comes through one way or both, until all of it comes at once: a network that is parted for a
    while, and TCP that sends again what was dropped.
    """

    name = "hold"

    def begin(self) -> str:
        """Connections stay, and are taken."""
        for proxy in self.proxies:
            proxy.hold(self.ways)
        return self.said()


class HalfOpen(WayFault):
    """What is sent is swallowed, one way or both: a network that forgets its connections."""

    name = "half-open"

    def begin(self) -> str:
        """Connections stay, and are taken."""
        for proxy in self.proxies:
            proxy.swallow(self.ways)
        return self.said()

    def heal(self) -> None:
        """Reset what has lost bytes: no network gives them back."""
        for proxy in self.proxies:
            proxy.heal()
            proxy.cut()


class Delay(LinkFault):
    """Everything comes late."""

    name = "delay"
    seconds = (2.0, 10.0)

    def begin(self) -> str:
        """By half a second at most."""
        latency = self.dice.uniform(0.02, 0.5)
        for proxy in self.proxies:
            proxy.slow(latency=latency)
        return f"{latency:.2f} s, {self.target}"


class Trickle(LinkFault):
    """Few bytes come through."""

    name = "trickle"

    def begin(self) -> str:
        """4 to 40 kB a second."""
        rate = self.dice.randint(4_000, 40_000)
        for proxy in self.proxies:
            proxy.slow(bytes_per_second=rate)
        return f"{rate} bytes/s, {self.target}"
