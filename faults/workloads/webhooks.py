"""A receiver of webhooks that is slow and fails: every session that was made is reported to it."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any, Final

from faults.history import of
from faults.world import Workload, World, uuid_text
from tests.services.ports import LOOPBACK
from tests.services.waiting import until

FAILS: Final = 0.2
"""The share of calls that it answers with 500."""
SETTLE_SECONDS: Final = 60.0


class Webhooks(Workload):
    """One webhook for `session.created`; its changes are those that the players of `sessions` made."""

    name = "webhooks"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._dice = world.dice("receiver")
        self._server: asyncio.Server | None = None
        self._callers: set[asyncio.StreamWriter] = set()

    async def begin(self) -> None:
        """Listen, and make the webhook."""
        self._server = await asyncio.start_server(self._serve, LOOPBACK, 0)
        port = self._server.sockets[0].getsockname()[1]
        body = {"name": "attack", "url": f"http://{LOOPBACK}:{port}/", "events": ["session.created"]}
        await self.world.made("/api/webhooks/", body)

    async def confirm(self) -> None:
        """Attempts that failed are made again after seconds; then what the database holds is the truth."""
        statement = "SELECT session_id FROM sessions_app_sessionevent WHERE kind = 'created'"
        made = {uuid_text(row[0]) for row in await self.world.sql(statement)}
        for session in sorted(made):
            self.history.note("database", "change.committed", change=session)
        await self.world.sql("UPDATE core_delivery SET next_at = CURRENT_TIMESTAMP WHERE status = 'pending'")
        with suppress(AssertionError):
            await until(lambda: made <= self._reported(), SETTLE_SECONDS)
        for session in sorted(self._reported() - made):
            self.history.note("database", "change.rolled_back", change=session)

    async def leave(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()
        while self._callers:
            for writer in list(self._callers):
                writer.transport.abort()
            await asyncio.sleep(0.01)

    def _reported(self) -> set[str]:
        return {one["change"] for one in of(self.history, "hook.received")}

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._callers.add(writer)
        try:
            with suppress(OSError, asyncio.IncompleteReadError, ValueError):
                while True:
                    await self._answer(reader, writer)
        finally:
            writer.close()
            self._callers.discard(writer)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in head[1:] if line)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        body = json.loads(await reader.readexactly(int(headers["content-length"])))
        await asyncio.sleep(self._dice.uniform(0, 0.05))
        fails = self._dice.random() < FAILS and not self.world.stop.is_set()
        if not fails:
            self._note(headers["webhook-id"], body)
        status = "500 Internal Server Error" if fails else "204 No Content"
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
        await writer.drain()

    def _note(self, delivery: str, body: Any) -> None:
        self.history.note("receiver", "hook.received", change=body["data"]["id"], delivery=delivery)
