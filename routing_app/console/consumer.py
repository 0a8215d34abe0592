"""The console's socket, `/console/socket`: for pages of this server with a session of staff."""

from __future__ import annotations

from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING

from django.conf import settings

from routing_app.console import access, wire
from routing_app.console.access import Viewer
from routing_app.console.watches import Watches
from routing_app.core.access.admission import Refused
from routing_app.core.codes import MALFORMED, ORIGIN, UNAUTHENTICATED, Refusal
from routing_app.core.consumer import Consumer
from routing_app.core.database import query
from routing_app.core.hooks.table import ProtocolHooks

if TYPE_CHECKING:
    from routing_app.console.protocol import Console


class ConsoleConsumer(Consumer):
    """One open page."""

    protocol: Console

    async def admit(self) -> str | None:
        """Let in a member of the staff, whose browser says that a page of this server asks."""
        if self.header(b"origin") is None:  # a cookie alone does not say who asks
            raise Refused(ORIGIN, Refusal.ORIGIN)
        self._session = _cookie(self.header(b"cookie") or "", settings.SESSION_COOKIE_NAME)
        member = await query(access.member_of, self._session)
        if member is None:
            raise Refused(UNAUTHENTICATED)
        self._member = member
        # A hook of every protocol is not asked: a backend that is down would lock out who has to mend it.
        self.hooked = ProtocolHooks()
        return None

    async def opened(self) -> None:
        """Nothing is sent until a topic is asked for."""
        viewer = Viewer(self._session, self._member, self.connection)
        self.watches = Watches(viewer, self.protocol.readings)
        self.protocol.opened(self.watches)

    async def received(self, text: str) -> None:
        """One frame."""
        try:
            frame = wire.parse(text)
        except wire.ConsoleWireError:
            self.refuse(Refusal.MALFORMED)
            self.connection.close(MALFORMED)
            return
        if isinstance(frame, wire.Stop):
            self.watches.stop(frame.id)
        else:
            self.watches.ask(frame)

    def closed(self) -> None:
        """End all watches."""
        self.protocol.closed(self.watches)


def _cookie(header: str, name: str) -> str:
    """The value of a cookie; empty where there is none."""
    try:
        morsel = SimpleCookie(header).get(name)
    except CookieError:
        return ""
    return morsel.value if morsel is not None else ""
