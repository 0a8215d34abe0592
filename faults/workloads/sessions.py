"""Session control: players of a few customers that ask for more streams than they may have."""

from __future__ import annotations

import asyncio
import json
import random
import time
from contextlib import suppress
from typing import Any, Final
from urllib.parse import urlsplit

import jwt
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from faults.world import PAUSE_SECONDS, UNREACHABLE, Workload, World, ended, tasks_of, uuid_text

CUSTOMERS: Final = 3
PLAYERS: Final = 4
"""Of each customer."""
MAXIMUM: Final = 2
"""Sessions of a customer; the publisher that is there from the beginning allows two of an offer."""
ENDED: Final = frozenset({4001, 4002, 4003})
"""Closes behind which a session is not played on here."""
ENDINGS: Final = ("taken_over", "evicted", "expired", "finished", "killed")
PLAY_SECONDS: Final = (0.3, 5.0)
ANSWER_SECONDS: Final = 8.0


class Player:
    """Asks for a session, plays it, and ends it, loses it, or has it taken."""

    def __init__(self, world: World, name: str, customer: str, token: str) -> None:
        self.world, self.name, self.customer, self.token = world, name, customer, token
        self._dice = world.dice(name)
        self._begun = 0.0

    async def run(self) -> None:
        """Play until the clients shall stop."""
        while await self.world.pause(self._dice.uniform(0.05, 0.6)):
            if (granted := await self._ask()) is not None:
                await self._play(*granted)

    async def _ask(self) -> tuple[str, str] | None:
        """The id and the path of a session that was granted."""
        answer = await self._post("/sessions", {"offerId": "film", "sessionName": self.name})
        if answer is None or answer.status_code != 409:
            return self._granted(answer)
        self._note("session.denied")
        others = [one["sessionId"] for one in answer.json()["details"]["activeSessions"]]
        if not others or self._dice.random() < 0.5:
            return None
        victim = self._dice.choice(others)
        body = {"offerId": "film", "sessionName": self.name, "sessionId": victim}
        return self._granted(await self._post("/takeover", body))

    async def _post(self, path: str, body: Any) -> Any:
        self._begun = self.world.history.now
        try:
            return await self.world.call(self._dice, "POST", path, body, self.token)
        except UNREACHABLE:
            return None

    def _granted(self, answer: Any) -> tuple[str, str] | None:
        if answer is None or answer.status_code >= 500:
            self._note("session.unknown", begun=self._begun)
            return None
        if answer.status_code != 200:
            return None
        body = answer.json()
        self._note("session.granted", session=body["sessionId"], begun=self._begun)
        parts = urlsplit(body["endpoint"])
        return body["sessionId"], f"{parts.path}?{parts.query}"

    async def _play(self, session: str, path: str) -> None:
        """Connect, again where the connection breaks, until the session is over or given up."""
        until = self.world.history.now + self._dice.uniform(*PLAY_SECONDS)
        while not self.world.over.is_set():
            with suppress(*UNREACHABLE):
                socket = await self.world.open(self._dice, path)
                try:
                    if await self._play_over(socket, session, until):
                        return
                finally:
                    socket.transport.abort()
            if self._dice.random() < 0.3:
                return
            await asyncio.sleep(PAUSE_SECONDS)

    async def _play_over(self, socket: ClientConnection, session: str, until: float) -> bool:
        """One connection; True when the session is over."""
        is_bound = False
        try:
            await socket.send(json.dumps({"action": "REQUESTED"}))
            while True:
                seconds = ANSWER_SECONDS if not is_bound else max(until - self.world.history.now, 0.01)
                try:
                    async with asyncio.timeout(seconds):
                        action = json.loads(await socket.recv())["action"]
                except TimeoutError:
                    if not is_bound:
                        return False
                    return await self._finish(socket, session)
                if action == "OK":
                    is_bound = True
                    self._note("session.ok", session=session)
                elif action == "PING":
                    self._note("session.alive", session=session)
                    await socket.send(json.dumps({"action": "PONG"}))
                else:
                    self._note("session.ended", session=session, why=action)
                    return True
        except ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd else 1006
            if code in ENDED:
                self._note("session.ended", session=session, why=code)
                return True
            if is_bound:
                self._note("session.lost", session=session)
            return False

    async def _finish(self, socket: ClientConnection, session: str) -> bool:
        if self._dice.random() < 0.2:  # the player vanishes
            self._note("session.lost", session=session)
            return True
        self._note("session.finished", session=session)
        await socket.send(json.dumps({"action": "FINISHED"}))
        await socket.close()
        return True

    def _note(self, what: str, **data: Any) -> None:
        self.world.history.note(self.name, what, customer=self.customer, **data)


class Sessions(Workload):
    """Players of a few customers of the publisher `demo`."""

    name = "sessions"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.customers = [f"{world.prefix}-customer-{number}" for number in range(CUSTOMERS)]
        self.slot_seconds = 60.0
        self.players: list[Player] = []

    async def begin(self) -> None:
        """Sign the customers' tokens."""
        [[secret, _]] = await self.world.sql("SELECT material, kid FROM sessions_app_publisherkey")
        for customer in self.customers:
            self.history.note("operator", "session.limit", customer=customer, maximum=MAXIMUM)
            claims = {"customerId": customer, "publisherId": "demo", "exp": int(time.time()) + 86400}
            token = jwt.encode(claims, secret, "HS256")
            self.players += [
                Player(self.world, f"{customer}-player-{number}", customer, token)
                for number in range(PLAYERS)
            ]

    async def play(self) -> None:
        """Play."""
        await ended(tasks_of(one.run() for one in self.players))

    async def settle(self) -> None:
        """Every slot is free again within the documented times; then the rows of all sessions."""
        await ended(tasks_of(self._fill(one) for one in self.players[::PLAYERS]))
        await self._note_rows()

    async def _fill(self, player: Player) -> None:
        """Take every slot of a customer; note a refusal that lasts beyond the documented times."""
        until = self.history.now + self.slot_seconds
        taken: list[str] = []
        while len(taken) < MAXIMUM:
            with suppress(*UNREACHABLE):
                answer = await self.world.call(
                    random.Random(len(taken)), "POST", "/sessions", {"offerId": "film"}, player.token
                )
                if answer.status_code == 200:
                    taken.append(answer.json()["sessionId"])
                    continue
            if self.history.now > until:
                self.history.note(player.name, "session.denied", customer=player.customer)
                break
            await asyncio.sleep(PAUSE_SECONDS)
        for one in taken:
            with suppress(*UNREACHABLE):
                await self.world.call(random.Random(0), "DELETE", f"/sessions/{one}", token=player.token)

    async def _note_rows(self) -> None:
        """How many ends each session has, and whether it is in the list of live ones."""
        events = await self.world.sql("SELECT session_id, kind FROM sessions_app_sessionevent")
        live = {uuid_text(row[0]) for row in await self.world.sql("SELECT id FROM sessions_app_session")}
        ends: dict[str, int] = {}
        for session, kind in events:
            if session is not None:
                id = uuid_text(session)
                ends[id] = ends.get(id, 0) + (kind in ENDINGS)
        for session, count in ends.items():
            self.history.note("database", "session.row", session=session, ends=count, live=session in live)
