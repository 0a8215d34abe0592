"""Tokens that are registered and deleted over REST, and users that register."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from functools import partial
from typing import Any, Final

from faults.world import PAUSE_SECONDS, UNREACHABLE, Workload, World, ended, tasks_of
from tests.services.waiting import until

REGISTRARS: Final = 3
"""Clients that register tokens: while one waits for an answer others go on."""
TOKEN_SECONDS: Final = (0.1, 0.5)
"""Between two registrations of tokens."""
USER_SECONDS: Final = (2.0, 4.0)
"""The same for users, whose passwords are hashed."""
DELETED: Final = 0.4
"""How often a token that is there is deleted after a registration."""
PASSWORD: Final = "correct horse battery"


class Registrations(Workload):
    """Registers names of its own, each in one attempt: what is not answered as done stays open."""

    name = "registrations"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._ids: dict[str, int] = {}
        """Of the rows of tokens that nobody has tried to delete."""

    async def play(self) -> None:
        """Register, and delete."""
        registrars = (self._play_tokens(number) for number in range(REGISTRARS))
        await ended(tasks_of([*registrars, self._play_users()]))

    async def settle(self) -> None:
        """What is there, as either server lists it; users are listed by no API."""
        for seed in range(2):
            await until(partial(self._list_tokens, random.Random(seed)))
        begun = self.history.now
        rows = await self.world.sql("SELECT username FROM auth_user")
        self._listed("user", [row[0] for row in rows], begun)

    async def _play_tokens(self, registrar: int) -> None:
        dice = self.world.dice(f"registrar {registrar}")
        number = 0
        while await self.world.pause(dice.uniform(*TOKEN_SECONDS)):
            number += 1
            name = f"{self.world.prefix}-registered-{registrar}-{number}"
            answer = await self._call(dice, "POST", "/api/tokens/", {"token": name})
            if answer is not None and answer.status_code == 201:
                self._ids[name] = answer.json()["id"]
                self._note("created", "token", name)
            if self._ids and dice.random() < DELETED:
                await self._delete(dice)

    async def _delete(self, dice: random.Random) -> None:
        name = dice.choice(list(self._ids))
        self._note("deleting", "token", name)
        answer = await self._call(dice, "DELETE", f"/api/tokens/{self._ids.pop(name)}/")
        if answer is not None and answer.status_code == 204:
            self._note("deleted", "token", name)

    async def _play_users(self) -> None:
        dice = self.world.dice("registered users")
        number = 0
        while await self.world.pause(dice.uniform(*USER_SECONDS)):
            number += 1
            name = f"{self.world.prefix}-{number}@example.com"
            body = {"email": name, "password": PASSWORD}
            answer = await self._call(dice, "POST", "/user/register", body)
            if answer is not None and answer.status_code == 201:
                self._note("created", "user", name)

    async def _call(self, dice: random.Random, method: str, path: str, body: Any = None) -> Any:
        """The answer; None where none came."""
        with suppress(*UNREACHABLE):
            return await self.world.call(dice, method, path, body)
        return None

    async def _list_tokens(self, dice: random.Random) -> bool:
        """Note the tokens of this run; False where nothing was answered."""
        begun = self.history.now
        path = f"/api/tokens/?search={self.world.prefix}-registered-&page_size=1000"
        answer = await self._call(dice, "GET", path)
        if answer is None or answer.status_code != 200:
            await asyncio.sleep(PAUSE_SECONDS)
            return False
        page = answer.json()
        assert page["next"] is None
        self._listed("token", [one["token"] for one in page["results"]], begun)
        return True

    def _note(self, what: str, kind: str, name: str) -> None:
        self.history.note("registrar", f"registration.{what}", kind=kind, name=name)

    def _listed(self, kind: str, names: list[str], begun: float) -> None:
        self.history.note("registrar", "registration.listed", kind=kind, names=names, begun=begun)
