"""Ten thousand connections of all five protocols: how they come, go, talk and ask."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final, Self

from tests.faults.cluster import read_metric
from tests.services.server import Server
from tests.sessions.conftest import Broker
from tests.soak.clients import GROUPS, SENDERS, Client, Place, Publishers, RequestsClient, client
from tests.soak.ledger import Ledger
from tests.soak.sockets import Calls, Lost

AT_ONCE: Final = 50
"""Clients that come or go at a time; a tenth of those that are there at most, once they are."""
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
        async with asyncio.timeout(ENTER_SECONDS):
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
        async with asyncio.timeout(ENTER_SECONDS):
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
        limit = asyncio.Semaphore(min(AT_ONCE, max(1, len(self.clients) // 10)))

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
            if (one := somebody(self.clients, self._dice)) is None:
                continue
            try:
                async with asyncio.timeout(ENTER_SECONDS):
                    if number % 4 == 0:
                        await one.request("presence", address=f"token:load{one.group}")
                    me = await one.request("whoami")
                    await self._ask_over_rest(me["id"], number)
                self.asked += 1
            except (Lost, TimeoutError) as error:
                if one in self.clients:  # it has not left meanwhile
                    one.fail(f"a request: {error!r}")

    async def _ask_over_rest(self, id: str, number: int) -> None:
        body = {"message": {"type": "load", "number": number}, "timeout": 30}
        path = f"/api/connections/{id}/request"
        answer = await self._calls.json("POST", path, body, X_API_Key=self.place.key)
        if answer["reply"]["number"] != number:
            raise Lost(f"the answer to another request: {answer}")

    async def _enter(self) -> None:
        one = client(self.place, self.came)
        self.came += 1
        try:
            async with asyncio.timeout(ENTER_SECONDS):
                await one.enter()
        except (Lost, TimeoutError, OSError) as error:
            one.fail(f"did not get in: {error!r}")
            one.vanish()
        else:
            self.clients.append(one)

    async def _leave(self) -> None:
        if not self.clients:
            return  # none of them got in
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


def somebody(clients: Sequence[Client], dice: random.Random) -> RequestsClient | None:
    """A client that can be asked, of the younger half, which stays for a while; None where there is none."""
    half = len(clients) // 2
    first = dice.randrange(max(1, half))
    younger = (clients[-1 - (first + step) % half] for step in range(half))
    return next((one for one in younger if isinstance(one, RequestsClient)), None)


def a_load(broker: Server, seconds: float = 0) -> Load:
    """Clients of a server; the tokens of customers live a day longer than so many seconds."""
    publisher, expires = Broker(broker), int(time.time() + seconds + 86_400)
    return Load(broker.port, broker.api_key, lambda customer: publisher.token(customer, exp=expires))


async def nobody(broker: Server) -> bool:
    """True when no client is connected."""
    return await asyncio.to_thread(read_metric, broker, "switchboard_connections") == 0


async def _paced(rate: float, seconds: float) -> AsyncIterator[int]:
    """Numbers from 0, so many a second; those that are late come at once."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number in range(round(rate * seconds)):
        await asyncio.sleep(max(0.0, began + number / rate - loop.time()))
        yield number
