"""Links: between clients, servers, Redis and PostgreSQL lies a proxy that fails."""

from __future__ import annotations

import random

from faults.nemeses.nemesis import Nemesis
from faults.world import World
from tests.faults.proxy import BOTH, Proxy, Way


class LinkFault(Nemesis):
    """A fault of one of the links of a server: to its clients, to PostgreSQL, to Redis."""

    def __init__(self, world: World, dice: random.Random) -> None:
        super().__init__(world, dice)
        links = ["clients"]
        if world.postgres is not None:
            links.append("postgres")
        if (
            world.redis is not None and world.sentinels is None
        ):  # sentinels name the servers themselves, past every proxy
            links.append("redis")
        self.link = dice.choice(links)

    @property
    def target(self) -> str:
        """One fault a link."""
        return f"{self.link} of {self.number()}"

    @property
    def proxy(self) -> Proxy:
        """Of the link."""
        found: Proxy = getattr(self.node, self.link)
        return found

    def heal(self) -> None:
        """Connections that have lost bytes are cut: no network gives them back."""
        self.proxy.heal()


class Cut(LinkFault):
    """Every connection is reset, and none is taken for a while."""

    name = "cut"

    def begin(self) -> str:
        """Refuse first: a client that is quick must not slip in between."""
        self.proxy.refuse()
        return f"{self.proxy.cut()} connections, {self.target}"


class HalfOpen(LinkFault):
    """What is sent is swallowed, one way or both."""

    name = "half-open"
    seconds = (2.0, 12.0)

    def begin(self) -> str:
        """Connections stay, and are taken."""
        ways = self.dice.choice([frozenset({Way.UP}), frozenset({Way.DOWN}), BOTH])
        self.proxy.swallow(ways)
        return f"{' and '.join(sorted(way.value for way in ways))}, {self.target}"

    def heal(self) -> None:
        """Reset what has lost bytes."""
        self.proxy.heal()
        self.proxy.cut()


class Delay(LinkFault):
    """Everything comes late."""

    name = "delay"
    seconds = (2.0, 10.0)

    def begin(self) -> str:
        """By half a second at most."""
        latency = self.dice.uniform(0.02, 0.5)
        self.proxy.slow(latency=latency)
        return f"{latency:.2f} s, {self.target}"


class Trickle(LinkFault):
    """Few bytes come through."""

    name = "trickle"

    def begin(self) -> str:
        """4 to 40 kB a second."""
        rate = self.dice.randint(4_000, 40_000)
        self.proxy.slow(bytes_per_second=rate)
        return f"{rate} bytes/s, {self.target}"
