"""Listings over REST, of whatever other workloads have noted as present, and of the worker processes."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from faults.history import History, of
from faults.world import PAUSE_SECONDS, UNREACHABLE, Workload, ended
from tests.faults.cluster import Node
from tests.services.waiting import until

QUIET_SECONDS: Final = 21.0
"""The lease of a worker, five seconds, and a little more."""
MOST_SECONDS: Final = 32.0
"""Longest wait for clients that are slow to come back: of those nothing can be demanded."""
LOOK_SECONDS: Final = 0.5
"""Between two looks at the worker processes, and at the clients."""
WORKERS: Final = "workers"
"""The address of the listing of workers, whose names are their process ids."""
IDENTITY: Final = ("tokens", "events")
"""Protocols whose clients are listed by their identity: they are not told of the id of their connection."""


async def until_due(history: History) -> None:
    """Wait until listings have to be right: for so long faults are over, and clients stay where they are."""
    until = history.now + MOST_SECONDS
    while True:
        changes = of(history, "present", "absent", "healed")
        latest = max((one.at for one in changes), default=0.0)
        if history.now >= min(until, latest + QUIET_SECONDS):
            return
        await asyncio.sleep(LOOK_SECONDS)


class Listings(Workload):
    """Asks for each listing when the servers have to know: what is `present` at `PROTOCOL ADDRESS`, or at an
    address for clients of any protocol.
    """

    name = "listings"

    async def begin(self) -> None:
        """Watch the workers."""
        self._watching = asyncio.ensure_future(self._watch_workers())

    async def settle(self) -> None:
        """Ask for each of them, either server as the dice have it."""
        await until_due(self.history)
        await ended([self._watching], cancel=True)
        for address in sorted({one["address"] for one in of(self.history, "present")}):
            await self._list(address, random.Random(address))

    async def _watch_workers(self) -> None:
        known: set[int] = set()
        while True:
            now = set().union(*map(_workers, self.world.nodes))
            for pid in sorted(known ^ now):
                self.history.note(str(pid), "present" if pid in now else "absent", address=WORKERS)
            known = now
            await asyncio.sleep(LOOK_SECONDS)

    async def _list(self, address: str, dice: random.Random) -> None:
        protocol, _, place = address.rpartition(" ")
        if address == WORKERS:
            self._listed(address, [str(one["pid"]) for one in await self._rows(dice, "/api/workers/")])
        elif protocol == "rooms":
            await self._list_members(address, place, dice)
        else:
            rows = await self._rows(dice, f"/api/clients/?protocol={protocol}&address={place}")
            field = "identity" if protocol in IDENTITY else "id"
            self._listed(address, [one[field] for one in rows])
        if protocol == "events":
            channel = await self._answer(dice, f"/api/channels/{place.removeprefix('channel:')}/")
            self._counted(address, channel["sockets"])

    async def _list_members(self, address: str, place: str, dice: random.Random) -> None:
        """The members of a room, and its row."""
        name = place.rpartition("/")[2]
        found = await self._rows(dice, f"/api/rooms/?namespace=bus&search={name}")
        [room] = [one for one in found if one["name"] == name]
        self._counted(address, room["member_count"])
        rows = await self._rows(dice, f"/api/rooms/{room['id']}/members/")
        self._listed(address, [one["nickname"] for one in rows])

    def _listed(self, address: str, clients: Sequence[str]) -> None:
        self.history.note("operator", "listed", address=address, clients=clients)

    def _counted(self, address: str, count: int) -> None:
        self.history.note("operator", "counted", address=address, count=count)

    async def _rows(self, dice: random.Random, path: str) -> list[Any]:
        """All rows of a listing. Raises AssertionError where it is not answered, or has more than a page."""
        page = await self._answer(dice, f"{path}{'&' if '?' in path else '?'}page_size=1000")
        assert page["next"] is None, path
        rows: list[Any] = page["results"]
        return rows

    async def _answer(self, dice: random.Random, path: str) -> Any:
        """What is answered in the end. Raises AssertionError with the last refusal."""
        refusals: deque[str] = deque(maxlen=1)
        try:
            answer = await until(lambda: self._try(dice, path, refusals))
        except AssertionError:
            raise AssertionError(f"{path}: {' '.join(refusals) or 'no answer'}") from None
        return answer.json()

    async def _try(self, dice: random.Random, path: str, refusals: deque[str]) -> Any:
        with suppress(*UNREACHABLE):
            answer = await self.world.call(dice, "GET", path)
            if answer.status_code == 200:
                return answer
            refusals.append(f"{answer.status_code} {answer.text}")
            await asyncio.sleep(PAUSE_SECONDS)
        return None


def _workers(node: Node) -> set[int]:
    try:
        return node.workers()
    except OSError:  # its server was killed
        return set()
