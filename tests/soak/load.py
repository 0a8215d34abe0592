"""Ten thousand connections of all five protocols: how they come, go, talk and ask."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, Self

from tests.soak.clients import GROUPS, SENDERS, Client, Place, Publishers, RequestsClient, client
from tests.soak.ledger import Ledger
from tests.soak.sockets import Calls, Lost

AT_ONCE: Final = 50
"""Clients that come or go at a time."""
ENTER_SECONDS: Final = 120
CHURN: Final = 10
"""Clients that leave, and clients that come, every second."""
PUBLICATIONS: Final = 20
"""A second, of all senders."""
ASKED: Final = 5
"""A second: requests to the server and, over REST, to a client."""
VANISHING: Final = 7
"""One of so many does not say goodbye."""


class Load:
    """The clients of a server."""

    def __init__(self, port: int, key: str, customer_token: Callable[[str], str]) -> None:
        self.ledger = Ledger(SENDERS, GROUPS + 1)
        self._calls = Calls(port)
        self.place = Place(port, key, self.ledger, self._calls, customer_token)
        self.clients: deque[Client] = deque()
        self.came = self.went = self.asked = 0
        self._publishers = Publishers(self.place)
        self._published = 0
        self._dice = random.Random(1)

    async def fill(self, count: int) -> None:
        """Let so many come."""
        await self._publishers.enter()
        await self._each(count, self._enter)

    async def hold(self, seconds: float) -> None:
        """Do nothing but answer pings and poll."""
        await asyncio.sleep(seconds)

    async def work(self, seconds: float, churn: float = CHURN) -> None:
        """Come and go, publish and ask for so long; then everything has arrived."""
        await asyncio.gather(self._churn(seconds, churn), self._publish(seconds), self._ask(seconds))

    async def empty(self) -> None:
        """Let all leave."""
        await self._each(len(self.clients), self._leave)
        await self._publishers.leave()
        self._calls.close()

    def close(self) -> None:
        """Hang up whatever is left."""
        for one in self.clients:
            one.vanish()
        self._publishers.vanish()
        self._calls.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def missing(self) -> list[str]:
        """What was published and has not arrived."""
        return [sentence for one in self.clients for sentence in one.receipts.missing()]

    async def _churn(self, seconds: float, rate: float) -> None:
        limit = asyncio.Semaphore(AT_ONCE)

        async def turn() -> None:
            try:
                await self._leave()
                await self._enter()
            finally:
                limit.release()

        async with asyncio.TaskGroup() as tasks:
            async for _ in _paced(rate, seconds):
                await limit.acquire()
                tasks.create_task(turn())

    async def _publish(self, seconds: float) -> None:
        async for _ in _paced(PUBLICATIONS, seconds):
            turn, sender = divmod(self._published, SENDERS)
            self._publishers.publish(sender, turn % GROUPS)
            self._published += 1

    async def _ask(self, seconds: float) -> None:
        """Ask the server who a client is, or who is there; then have it ask that client something."""
        async for number in _paced(ASKED, seconds):
            one = self._somebody()
            try:
                async with asyncio.timeout(ENTER_SECONDS):
                    if number % 4 == 0:
                        await one.request("presence", address=f"token:load{one.group}")
                    me = await one.request("whoami")
                    await self._ask_over_rest(me["id"], number)
                self.asked += 1
            except (Lost, TimeoutError) as error:
                one.fail(f"a request: {error!r}")

    async def _ask_over_rest(self, id: str, number: int) -> None:
        body = {"message": {"type": "load", "number": number}, "timeout": 30}
        path = f"/api/connections/{id}/request"
        answer = await self._calls.json("POST", path, body, X_API_Key=self.place.key)
        if answer["reply"]["number"] != number:
            raise Lost(f"the answer to another request: {answer}")

    def _somebody(self) -> RequestsClient:
        """One of the younger half, which stays for a while."""
        while True:
            one = self.clients[-1 - self._dice.randrange(len(self.clients) // 2)]
            if isinstance(one, RequestsClient):
                return one

    async def _enter(self) -> None:
        one = client(self.place, self.came)
        self.came += 1
        try:
            async with asyncio.timeout(ENTER_SECONDS):
                await one.enter()
        except (Lost, TimeoutError, OSError) as error:
            one.fail(f"did not get in: {error!r}")
        self.clients.append(one)

    async def _leave(self) -> None:
        one = self.clients.popleft()
        self.went += 1
        if self.went % VANISHING == 0:
            one.vanish()
            return
        try:
            async with asyncio.timeout(ENTER_SECONDS):
                await one.leave()
        except (Lost, TimeoutError) as error:
            one.fail(f"did not get out: {error!r}")
            one.vanish()

    async def _each(self, count: int, step: Callable[[], Awaitable[None]]) -> None:
        """Do something so many times, some at once."""
        left = iter(range(count))

        async def lane() -> None:
            for _ in left:
                await step()

        await asyncio.gather(*(lane() for _ in range(AT_ONCE)))


async def _paced(rate: float, seconds: float) -> AsyncIterator[int]:
    """Numbers from 0, so many a second; those that are late come at once."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number in range(round(rate * seconds)):
        await asyncio.sleep(max(0.0, began + number / rate - loop.time()))
        yield number
