"""A broker with a publisher, and everything that plays, signs and looks into its database."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import jwt
import psycopg
import pytest
from django.conf import settings
from psycopg import sql
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from sessions_app import coordinator, service
from tests.services.databases import Databases
from tests.services.server import Server
from tests.sessions.http import Http, Reply

OK, EXPIRED, PING, TERMINATE = ({"action": name} for name in ("OK", "EXPIRED", "PING", "TERMINATE"))

ENDINGS = ("taken_over", "evicted", "expired", "finished", "killed")


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands in this process wait for the database as long as it may stand still."""
    for module in (coordinator, service):
        monkeypatch.setattr(module, "DATABASE_TIMEOUT_SECONDS", 120.0)


class Customer:
    """One customer of the broker's publisher: makes requests with a token of its own."""

    def __init__(self, broker: Broker, http: Http) -> None:
        self.id = f"customer-{uuid.uuid4().hex[:12]}"
        self.broker = broker
        self.http = http
        self.token = broker.token(self.id)

    def limit(
        self, scope: str, maximum: int, policy: str = "ask", value: str = "", observe: bool = False
    ) -> None:
        """A limit for this customer alone."""
        self.broker.sql(
            "INSERT INTO sessions_app_limit"
            " (publisher_id, scope, value, maximum, policy, customer, observe_only)"
            " SELECT id, %s, %s, %s, %s, %s, %s FROM sessions_app_publisher WHERE name = 'demo'",
            scope,
            value,
            maximum,
            policy,
            self.id,
            observe,
        )

    async def create(self, **body: Any) -> Reply:
        """`POST /sessions`, for the offer `film` unless the body says otherwise."""
        if "tag" not in body:
            body.setdefault("offerId", "film")
        return await self.http.request("POST", "/sessions", body, self.token)

    async def take_over(self, **body: Any) -> Reply:
        """`POST /takeover`, likewise."""
        if "tag" not in body:
            body.setdefault("offerId", "film")
        return await self.http.request("POST", "/takeover", body, self.token)

    async def listed(self) -> list[dict[str, Any]]:
        """`GET /sessions`."""
        reply = await self.http.request("GET", "/sessions", token=self.token)
        assert reply.status == 200
        listed: list[dict[str, Any]] = reply.json["sessions"]
        return listed

    def events(self, *kinds: str) -> list[str]:
        """Kinds of this customer's history, oldest first; only some of them if named."""
        rows = self.broker.sql(
            "SELECT e.kind FROM sessions_app_sessionevent e"
            " JOIN sessions_app_account a ON a.id = e.account_id WHERE a.customer = %s ORDER BY e.id",
            self.id,
        )
        return [kind for (kind,) in rows if not kinds or kind in kinds]

    def most_at_once(self) -> int:
        """The most sessions that lived at one time. History is written under the account's lock, so its order
        is the order of commits."""
        living = most = 0
        for kind in self.events("created", *ENDINGS):
            living += 1 if kind == "created" else -1
            most = max(most, living)
        return most

    def rows(self) -> int:
        """Slots that are occupied in the database."""
        [[count]] = self.broker.sql(
            "SELECT count(*) FROM sessions_app_session s JOIN sessions_app_account a ON a.id = s.account_id"
            " WHERE a.customer = %s",
            self.id,
        )
        return int(count)


class Broker:
    """A running server, its publisher `demo`, and its database."""

    def __init__(self, server: Server) -> None:
        self.server = server
        [[self.secret, self.kid]] = self.sql("SELECT material, kid FROM sessions_app_publisherkey")

    def token(self, customer: str, headers: dict[str, Any] | None = None, **claims: Any) -> str:
        """A customer token as the stock demo signs it; a claim of None is left out."""
        given = {"customerId": customer, "publisherId": "demo", "exp": int(time.time()) + 900} | claims
        payload = {name: value for name, value in given.items() if value is not None}
        return jwt.encode(payload, self.secret, "HS256", headers=headers)

    def sql(self, statement: str, *values: Any) -> Sequence[Any]:
        """Run one statement in the server's database; the rows it returns."""
        url = self.server.database_url
        if url.startswith("sqlite"):
            connection = sqlite3.connect(url.removeprefix("sqlite:///"), timeout=20)
            try:
                with connection:
                    return connection.execute(statement.replace("%s", "?"), values).fetchall()
            finally:
                connection.close()
        with psycopg.connect(url, autocommit=True) as link:
            cursor = link.execute(statement.encode(), values)
            return cursor.fetchall() if cursor.description else []


BrokerFactory = Callable[..., Broker]


def _repeatable_read(url: str) -> str:
    """Have a PostgreSQL database show its transactions what was there when they began, unless they ask for
    more: a lock alone does not help them to see what its last holder did."""
    if url.startswith("postgres"):
        with psycopg.connect(url, autocommit=True) as link:
            statement = sql.SQL("ALTER DATABASE {} SET default_transaction_isolation = 'repeatable read'")
            link.execute(statement.format(sql.Identifier(link.info.dbname)))
    return url


@pytest.fixture(scope="package")
def start_broker(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerFactory]:
    """Start brokers for the rest of the run: two workers where the stack allows, one on SQLite. They wait for
    the database and for each other as long as a machine that stands still may need."""
    started: list[Server] = []

    def start(*arguments: str, **options: str) -> Broker:
        options.setdefault("DATABASE_URL", _repeatable_read(databases.create()))
        options.setdefault("REDIS_URL", settings.REDIS_URL)
        options.setdefault("WORKERS", "2" if settings.REDIS_URL else "1")
        options.setdefault("EXTRA_APPS", "tests.sessions.patient")
        server = Server(tmp_path_factory.mktemp("sessions"), options, "serve", *arguments)
        started.append(server)
        server.start()
        return Broker(server)

    yield start
    for server in started:
        server.close()
        databases.drop(server.database_url)


@pytest.fixture(scope="package")
def broker(start_broker: BrokerFactory) -> Broker:
    """One broker with the times of the protocol's page, but for those in which a player has to act, because a
    machine may be slow; and no PING comes but those of probes and new sessions."""
    return start_broker(
        SESSIONS_BIND_SECONDS="900", SESSIONS_PROBE_SECONDS="30", SESSIONS_PING_SECONDS="3600"
    )


@pytest.fixture(scope="package")
def hasty_broker(start_broker: BrokerFactory) -> Broker:
    """One broker whose times are short, but for those in which a player has to act: a machine may be slow.
    Two PINGs take longer than a probe, which so is the first to find a silent player."""
    return start_broker(
        SESSIONS_GRACE_SECONDS="4",
        SESSIONS_PROBE_SECONDS="8",
        SESSIONS_PING_SECONDS="1",
        SESSIONS_PONG_SECONDS="5",
        SESSIONS_HEARTBEAT_SECONDS="1",
    )


@pytest.fixture
async def http(broker: Broker) -> AsyncIterator[Http]:
    """Requests to `broker`."""
    client = Http(broker.server.url)
    yield client
    await client.close()


@pytest.fixture
async def hasty_http(hasty_broker: Broker) -> AsyncIterator[Http]:
    """Requests to `hasty_broker`."""
    client = Http(hasty_broker.server.url)
    yield client
    await client.close()


@pytest.fixture
def customer(broker: Broker, http: Http) -> Customer:
    """A new customer."""
    return Customer(broker, http)


@pytest.fixture
def hasty_customer(hasty_broker: Broker, hasty_http: Http) -> Customer:
    """The same, where times are short."""
    return Customer(hasty_broker, hasty_http)


Visit = Callable[[Broker], Customer]


@pytest.fixture
async def visit() -> AsyncIterator[Visit]:
    """Customers of brokers that a test has started: `visit(broker)`."""
    clients: list[Http] = []

    def open_customer(broker: Broker) -> Customer:
        clients.append(Http(broker.server.url))
        return Customer(broker, clients[-1])

    yield open_customer
    for client in clients:
        await client.close()


class Player:
    """A socket; `answers` is what it does about PING."""

    def __init__(self, socket: ClientConnection, answers: bool = True) -> None:
        self.socket = socket
        self.answers = answers
        self.pings = 0
        self.received: asyncio.Queue[Any] = asyncio.Queue()
        self._reader = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        try:
            async for text in self.socket:
                message = json.loads(text)
                if message != PING:
                    self.received.put_nowait(message)
                    continue
                self.pings += 1
                if self.answers:
                    with suppress(ConnectionClosed):  # what came before the close is still to be read
                        await self.send("PONG")
        finally:
            self.received.put_nowait(("closed", self.socket.close_code))

    async def send(self, action: str) -> None:
        """Send an action."""
        await self.socket.send(json.dumps({"action": action}))

    async def receives(self) -> Any:
        """The next message that is not a PING, or `("closed", code)`."""
        async with asyncio.timeout(60):
            return await self.received.get()

    async def requested(self) -> Any:
        """REQUESTED, and the answer."""
        await self.send("REQUESTED")
        return await self.receives()

    async def leave(self) -> None:
        """Close the socket."""
        await self.socket.close()
        await asyncio.gather(self._reader, return_exceptions=True)

    def vanish(self) -> None:
        """Abort the connection, as when the network is gone."""
        self.socket.transport.abort()


Play = Callable[..., Any]


@pytest.fixture
async def play() -> AsyncIterator[Play]:
    """Open players: `await play(reply)` connects to the endpoint of a reply and is bound."""
    players: list[Player] = []

    async def open_player(endpoint: Reply | str, answers: bool = True, bind: bool = True) -> Player:
        url = endpoint if isinstance(endpoint, str) else endpoint.json["endpoint"]
        player = Player(await connect(url, max_queue=None, ping_interval=None, open_timeout=60), answers)
        players.append(player)
        if bind:
            assert await player.requested() == OK
        return player

    yield open_player
    for player in players:
        await player.leave()
