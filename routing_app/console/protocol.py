"""The console's socket as a protocol, so that seats, drain and clean-up are those of every socket."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, ClassVar, Final

from routing_app.console import access
from routing_app.console.consumer import ConsoleConsumer
from routing_app.console.reading import Readings
from routing_app.console.watches import Watches
from routing_app.core.codes import EXPIRED
from routing_app.core.database import query
from routing_app.core.protocol import Protocol

if TYPE_CHECKING:
    from routing_app.core.worker import Worker

logger = logging.getLogger(__name__)

CHECK_SECONDS: Final = 3.0
"""Between two looks at sessions and permissions: what is lost ends within five seconds."""


class Console(Protocol):
    """Sockets of operators; their connections are not listed among those of clients."""

    name = "console"
    label = "Console"
    access = False
    of_operators = True
    sockets: ClassVar = {"/console/socket": ConsoleConsumer}
    urls = "routing_app.console.urls"

    def __init__(self, worker: Worker) -> None:
        super().__init__(worker)
        self.readings = Readings(worker)
        self._open: set[Watches] = set()
        self._checking: asyncio.Task[None] | None = None

    def opened(self, watches: Watches) -> None:
        """A console has been opened: its user is looked at again and again from now on."""
        self._open.add(watches)
        if self._checking is None or self._checking.done():
            self._checking = self.worker.spawn(self._check_all())

    def closed(self, watches: Watches) -> None:
        """A console has been closed."""
        self._open.discard(watches)
        watches.stop_all()

    async def _check_all(self) -> None:
        while self._open:
            await asyncio.sleep(CHECK_SECONDS)
            try:
                await self.check()
            except Exception as error:
                logger.warning("console: sessions cannot be checked: %s", type(error).__name__)

    async def check(self) -> None:
        """End consoles whose session has ended, and topics that their users may see no longer."""
        opened = tuple(self._open)
        now = await query(access.members, {one.viewer.session for one in opened})
        for watches in opened:
            member = now[watches.viewer.session]
            if member is None:
                watches.viewer.connection.close(EXPIRED)
            elif watches.viewer.is_another(member):
                watches.viewer.member = member
                watches.check()
