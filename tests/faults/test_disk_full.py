"""The disk of a server on SQLite is full: what needs a row is refused in words, what needs none goes on.

Nothing that was answered as done is lost, and with room everything works again by itself.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import jwt
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from faults.checkers import delivery, webhooks
from faults.history import History, of
from faults.workloads.messages import Messages
from faults.workloads.webhooks import Webhooks
from faults.world import World
from routing_app.core.codes import UNAVAILABLE
from tests.faults.alone import alone
from tests.faults.cluster import Node
from tests.services.databases import Databases
from tests.services.waiting import until, until_equal

pytestmark = pytest.mark.once

PASSWORD = "correct horse battery"
PATIENCE_SECONDS = 150.0
RENEWALS = 18
"""Attempts to renew a lease, one a second: more than its time."""
SPARE = 2**20
"""Bytes that are left at first, which those who write together use up."""
PLAYERS = 12
"""Of whom each round needs one more than finds room."""
LONG = ("SESSIONS_BIND_SECONDS", "SESSIONS_IDLE_SECONDS", "SESSIONS_PING_SECONDS")
OPTIONS = dict.fromkeys(LONG, "600")
"""Players that wait for their turn are not sent away meanwhile."""


@dataclass
class Answered:
    """What the server has said of one kind of write."""

    taken: list[Any] = field(default_factory=list)
    refused: int = 0


class Scene:
    """A server on a small disk, and clients of it."""

    def __init__(self, world: World) -> None:
        assert world.disk is not None
        self.world, self.disk, self.node = world, world.disk, world.nodes[0]
        self.messages, self.webhooks = Messages(world, cuts=False), Webhooks(world)
        self.numbers = itertools.count(1)
        self.customer = ""
        self.unused_key = ""
        self.players: list[ClientConnection] = []
        self.members: list[tuple[str, ClientConnection]] = []
        self.answered: dict[str, Answered] = {}

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """One request; fails when there is no answer."""
        url = f"http://127.0.0.1:{self.node.clients.port}{path}"
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        given.setdefault("X-API-Key", self.world.key)
        is_form = isinstance(body, dict) and "method" in body
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            return await client.request(
                method, url, headers=given, **({"data": body} if is_form else {"json": body})
            )

    async def open(self, path: str, **query: str) -> ClientConnection:
        """A socket."""
        return await self.world.open(random.Random(0), path, **query)

    # --- what needs a row ---------------------------------------------------------------------------------

    async def rest(self, path: str, body: Callable[[int], Any]) -> Any:
        """Make a row of operators' REST: its path, or None."""
        answer = await self.call("POST", path, body(next(self.numbers)))
        return f"{path}{answer.json()['id']}/" if self._is_taken(answer, 201) else None

    async def later(self) -> Any:
        """Have a message published in an hour."""
        body = {"addresses": ["token:nobody"], "message": next(self.numbers), "delay": 3600}
        answer = await self.call("POST", "/api/publish", body)
        return f"/api/scheduled/{answer.json()['scheduled']}/" if self._is_taken(answer, 202) else None

    async def session(self) -> Any:
        """Take a slot of an offer of its own."""
        answer = await self._as_customer("POST", "/sessions", {"offerId": f"film-{next(self.numbers)}"})
        return answer.json()["sessionId"] if self._is_taken(answer, 200) else None

    async def account(self) -> Any:
        """Register a user."""
        email = f"user{next(self.numbers)}@example.com"
        answer = await self.call("POST", "/user/register", {"email": email, "password": PASSWORD})
        return email if self._is_taken(answer, 201) else None

    async def form(self) -> Any:
        """Register a token over the form API."""
        token = f"form-{next(self.numbers)}"
        answer = await self.call("POST", "/", {"method": "registerToken", "message": token})
        return token if self._is_taken(answer, 200) else None

    async def join(self) -> Any:
        """Join a room: a name among its clients, or the close that says why not."""
        socket, name = await self.open("/bus"), f"member-{next(self.numbers)}"
        await socket.send(json.dumps(["JOIN", {"room": "full", "name": name}]))
        names: list[str] = []
        while name not in names:  # nobody is listed before the lease is renewed
            await socket.send(json.dumps(["CLIENTS", {"room": "full"}]))
            event = await self._frame(socket, lambda event: event[0] == "CLIENTS")
            if event is None:
                return None
            names = event[1]["clients"]
        self.members.append((name, socket))
        return name

    async def lobby(self) -> Any:
        """Come into a lobby, or be sent away."""
        try:
            socket = await self.open("/lobby", lobbyId="full")
        except InvalidStatus as refused:
            self._is_unavailable(refused.response.status_code, 503)
            return None
        return await self._kept(socket, lambda event: event[0] == "JOINED")

    async def player(self) -> Any:
        """Play one of the sessions that were made before: OK, or the close that says why not."""
        socket = self.players.pop()
        await socket.send(json.dumps({"action": "REQUESTED"}))
        return await self._kept(socket, lambda frame: frame["action"] == "OK")

    async def _kept(self, socket: ClientConnection, is_wanted: Callable[[Any], bool]) -> Any:
        """The socket, once a frame says that it is let in; None where it is sent away."""
        if await self._frame(socket, is_wanted) is None:
            return None
        self.members.append(("", socket))
        return socket

    async def _frame(self, socket: ClientConnection, is_wanted: Callable[[Any], bool]) -> Any:
        """The first frame that is wanted; None when the socket is closed because something is out."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not is_wanted(frame := json.loads(await socket.recv())):
                    pass
        except ConnectionClosed as closed:
            self._is_unavailable(closed.rcvd.code if closed.rcvd else None, UNAVAILABLE.code)
            return None
        return frame

    def _is_unavailable(self, said: int | None, wanted: int) -> None:
        assert said == wanted

    def _is_taken(self, answer: httpx.Response, status: int) -> bool:
        if answer.status_code == status:
            return True
        assert answer.status_code == 503, f"{answer.request.url}: {answer.status_code} {answer.text}"
        assert answer.headers["Retry-After"].isdecimal()
        assert answer.json()
        return False

    async def _as_customer(self, method: str, path: str, body: Any = None) -> httpx.Response:
        return await self.call(method, path, body, Authorization=f"Bearer {self.customer}")

    @property
    def writes(self) -> dict[str, Callable[[], Any]]:
        """Each kind of write, by name."""
        rows: dict[str, Callable[[int], Any]] = {
            "/api/tokens/": lambda n: {"token": f"rest-{n}"},
            "/api/rules/": lambda n: {
                "pattern": f"token:rest-{n}-*",
                "history_size": 5,
                "history_seconds": 60,
            },
            "/api/keys/": lambda n: {"name": f"rest {n}", "scopes": ["read"]},
            "/api/revocations/": lambda n: {"token": f"rest-{n}-gone"},
        }
        made = {path: (lambda path=path, body=body: self.rest(path, body)) for path, body in rows.items()}
        others = (self.later, self.session, self.account, self.form, self.join, self.lobby, self.player)
        return {**made, **{one.__name__: one for one in others}}

    # --- the acts -----------------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Connect everybody, and make what has to be there before."""
        await self.webhooks.begin()
        await self.messages.begin()
        made = await self.world.made("/api/keys/", {"name": "unused", "scopes": ["publish"]})
        self.unused_key = made["key"]
        [[secret, _]] = await self.world.sql("SELECT material, kid FROM sessions_app_publisherkey")
        claims = {"customerId": "full", "publisherId": "demo", "exp": int(time.time()) + 86400}
        self.customer = jwt.encode(claims, secret, "HS256")
        for number in range(PLAYERS):
            body = {"offerId": f"film {number}"}
            answer = await self._as_customer("POST", "/sessions", body)
            parts = urlsplit(answer.json()["endpoint"])
            self.players.append(await self.open(f"{parts.path}?{parts.query}"))

    async def write_until_refused(self, name: str) -> None:
        """Repeat one kind of write, all of which may find some room, until one finds none."""
        answered = self.answered.setdefault(name, Answered())
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (taken := await self.writes[name]()) is not None:
                answered.taken.append(taken)
        answered.refused += 1

    async def publish_soon(self) -> None:
        """Schedule a message, into what is left of the disk, whose time comes while it is full."""
        address = self.messages.publishers[0].address
        body = {"addresses": [address], "message": {"sender": "later", "number": 1}, "delay": 3}
        assert (await self.call("POST", "/api/publish", body)).status_code == 202
        now = self.world.history.now
        self.world.history.note("later", "published", address=address, number=1, begun=now)

    async def publish_with_unused_key(self, number: int) -> None:
        """What needs no row, by a key whose use could not be noted."""
        address = self.messages.publishers[0].address
        begun = self.world.history.now
        body = {"addresses": [address], "message": {"sender": "rest", "number": number}}
        answer = await self.call("POST", "/api/publish", body, X_API_Key=self.unused_key)
        assert (answer.status_code, answer.json()) == (200, {"delivered_to": 6}), answer.text
        self.world.history.note("rest", "published", address=address, number=number, begun=begun)

    async def is_there(self) -> None:
        """All that was answered as done is there."""
        for name, answered in self.answered.items():
            for one in answered.taken if name.startswith("/api/") or name == "later" else ():
                assert (await self.call("GET", one)).status_code == 200, one
        listed = await self._as_customer("GET", "/sessions")
        sessions = {one["sessionId"] for one in listed.json()["sessions"]}
        assert set(self.answered["session"].taken) <= sessions
        for email in self.answered["account"].taken:
            login = await self.call("POST", "/user/login", {"email": email, "password": PASSWORD})
            assert login.status_code == 200
        tokens = (await self.call("POST", "/", {"method": "registeredTokenList"})).json()
        assert set(self.answered["form"].taken) <= tokens.keys()
        names = {name for name, _ in self.members if name}
        if names:
            rows = await self.world.sql("SELECT nickname FROM rooms_membership")
            assert names <= {json.loads(nickname) for (nickname,) in rows}

    async def leave(self) -> None:
        """Disconnect everybody."""
        for socket in [*self.players, *(socket for _, socket in self.members)]:
            socket.transport.abort()
        await self.messages.leave()
        await self.webhooks.leave()


@pytest.fixture
def world(databases: Databases, tmp_path: Path) -> Iterator[World]:
    with ExitStack() as stack:
        disk, node = alone(stack, tmp_path, databases.create(), **OPTIONS)
        yield World(History(), random.Random(1), [node], disk=disk)


async def renewals_fail(node: Node, count: int) -> None:
    """Wait until the server could not renew its lease so many times."""
    before = node.server.log_text().count("the lease could not be renewed")
    await until(
        lambda: node.server.log_text().count("the lease could not be renewed") >= before + count,
        150,
    )


async def clients_are_listed(node: Node, count: int) -> None:
    async def listed() -> int:
        return sum((await asyncio.to_thread(node.clients_listed)).values())

    await until_equal(count, listed)


async def test_a_full_disk_refuses_what_needs_a_row_and_nothing_else(world: World) -> None:
    scene = Scene(world)
    await scene.begin()
    playing = asyncio.ensure_future(scene.messages.play())
    try:
        await asyncio.to_thread(scene.disk.fill, SPARE)
        await scene.publish_soon()
        await asyncio.gather(*map(scene.write_until_refused, scene.writes))
        await scene.publish_with_unused_key(1)
        await renewals_fail(scene.node, RENEWALS)
        await scene.publish_with_unused_key(2)
        for name in scene.writes:
            await scene.write_until_refused(name)

        await asyncio.to_thread(scene.disk.free)
        for name, write in scene.writes.items():
            if name != "player":
                await until(write)
        world.stop.set()
        await playing
        await scene.messages.settle()
        await scene.webhooks.confirm()
        world.history.note("nemesis", "quiet")
        await scene.is_there()
        there = len(scene.messages.receivers) + len(scene.members) + len(scene.players)
        await clients_are_listed(scene.node, there)
        assert await world.sql("PRAGMA integrity_check") == [["ok"]]
    finally:
        world.stop.set()
        world.over.set()
        await asyncio.gather(playing, return_exceptions=True)
        await scene.leave()
    events = list(world.history)
    assert sum(len(one.taken) for one in scene.answered.values()) > len(scene.answered)
    assert {one.refused for one in scene.answered.values()} == {2}
    assert list(map(str, [*delivery.check(events), *webhooks.check(events)])) == []
    assert of(events, "told") == []
    assert len([one for one in of(events, "received") if one["sender"] == "later"]) == 6
    assert len(of(events, "hook.received")) >= len(scene.answered["session"].taken)
    assert "Traceback" not in scene.node.server.log_text()
