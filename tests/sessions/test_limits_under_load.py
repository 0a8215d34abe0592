"""Never one stream too many, whatever happens at the same time, in every worker."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from tests.sessions.conftest import ENDINGS, Broker, BrokerFactory, Customer
from tests.sessions.http import Http

AT_ONCE = 200
LIMIT = 3


@pytest.fixture(scope="module")
def patient(start_broker: BrokerFactory) -> Broker:
    """A broker whose creates may wait longer for their turn at an account than a customer would, and whose
    sessions wait so long for a player, who never comes."""
    return start_broker(SESSIONS_BIND_SECONDS="900")


@pytest.fixture
async def http(patient: Broker) -> AsyncIterator[Http]:
    """Requests to `patient`."""
    client = Http(patient.server.url)
    yield client
    await client.close()


async def _round(broker: Broker, http: Http) -> None:
    """200 creates of one customer: 3 are granted. Every worker knows the customer before, so that nothing but
    the lock makes them take turns; and the creates come in waves, so that many transactions meet."""
    customer = Customer(broker, http)
    customer.limit("offer", LIMIT, "block")
    await asyncio.gather(*[customer.create(offerId=f"warm{number}") for number in range(8)])
    before = Counter(customer.events())

    async def create(number: int) -> int:
        await asyncio.sleep(number % 20 / 1000)
        return (await customer.create()).status

    statuses = await asyncio.gather(*[create(number) for number in range(AT_ONCE)])

    assert Counter(statuses) == {200: LIMIT, 409: AT_ONCE - LIMIT}
    assert customer.rows() == LIMIT + before["created"]
    assert Counter(customer.events()) - before == {"created": LIMIT, "denied": AT_ONCE - LIMIT}


async def test_exactly_the_limit_is_granted_of_many_at_once(patient: Broker, http: Http) -> None:
    for _ in range(8):
        await _round(patient, http)


@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_exactly_the_limit_is_granted_in_a_hundred_rounds(patient: Broker, http: Http) -> None:
    for _ in range(100):
        await _round(patient, http)


class Chaos:
    """Does at random what customers do, all at the same time."""

    def __init__(self, customer: Customer, seed: int) -> None:
        self.customer = customer
        self.random = random.Random(seed)
        self.ids: list[str] = []
        self.done: Counter[str] = Counter()

    async def run(self, steps: int) -> None:
        for _ in range(steps):
            action = self.random.choice([self.create, self.create, self.take_over, self.end, self.device])
            reply = await action()
            self.done[f"{action.__name__} {reply.status}"] += 1
            if reply.status == 200:
                self.ids.append(reply.json["sessionId"])

    def _known(self) -> str:
        return self.random.choice(self.ids) if self.ids else "none"

    def _offer(self) -> str:
        return self.random.choice(["film", "series"])

    async def create(self):
        return await self.customer.create(offerId=self._offer())

    async def device(self):
        return await self.customer.create(offerId=self._offer(), deviceId=self.random.choice("ab"))

    async def take_over(self):
        return await self.customer.take_over(offerId=self._offer(), sessionId=self._known())

    async def end(self):
        path = f"/sessions/{self._known()}"
        return await self.customer.http.request("DELETE", path, token=self.customer.token)


@pytest.mark.parametrize("policy", ["ask", "evict_oldest"])
async def test_creates_takeovers_evictions_and_ends_at_once_stay_within_the_limit(
    patient: Broker, http: Http, policy: str
) -> None:
    customer = Customer(patient, http)
    customer.limit("account", 3, policy)
    customer.limit("offer", 2)
    chaos = [Chaos(customer, seed) for seed in range(24)]
    for one in chaos:
        one.ids = chaos[0].ids

    await asyncio.gather(*[one.run(12) for one in chaos])

    done = sum((one.done for one in chaos), Counter())
    assert not [outcome for outcome in done if outcome.split()[1] not in ("200", "204", "404", "409")]
    assert 1 <= customer.most_at_once() <= 3
    for offer in ("film", "series"):
        assert await _most_of(customer, offer) <= 2
    for listed in await customer.listed():
        path = f"/sessions/{listed['sessionId']}"
        assert (await http.request("DELETE", path, token=customer.token)).status == 204
    assert customer.rows() == 0
    _assert_each_session_ended_once(customer)


async def _most_of(customer: Customer, offer: str) -> int:
    living = most = 0
    for kind, id in _history(customer):
        if id and id[1] == offer and kind in ("created", *ENDINGS):
            living += 1 if kind == "created" else -1
            most = max(most, living)
    return most


def _history(customer: Customer) -> list[tuple[str, tuple[str, str] | None]]:
    rows = customer.broker.sql(
        "SELECT e.kind, e.session_id, e.offer_id FROM sessions_app_sessionevent e"
        " JOIN sessions_app_account a ON a.id = e.account_id WHERE a.customer = %s ORDER BY e.id",
        customer.id,
    )
    return [(kind, (str(id), offer) if id else None) for kind, id, offer in rows]


def _assert_each_session_ended_once(customer: Customer) -> None:
    created = [id for kind, id in _history(customer) if kind == "created" and id]
    ended = [id for kind, id in _history(customer) if kind in ENDINGS and id]
    assert len(created) == len(set(created))
    assert sorted(created) == sorted(ended)
