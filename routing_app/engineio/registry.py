"""The Engine.IO sessions of one process, by id. It begins with the id of the worker that owns the session."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from routing_app.core.access.credentials import Presented
from routing_app.core.codes import REVOKED, Close
from routing_app.core.delivery.connection import Peer
from routing_app.core.revocations.known import SLICE, Revoked
from routing_app.core.revocations.names import of_peer
from routing_app.core.worker import DRAIN_BATCH, DRAIN_PAUSE_SECONDS, Worker
from routing_app.engineio.session import Application, EngineOptions, EngineSession


class Registry:
    """Makes sessions, finds them, and drops them when they end."""

    def __init__(
        self, worker: Worker, options: EngineOptions, application: Callable[[EngineSession], Application]
    ) -> None:
        self._worker = worker
        self._options = options
        self._application = application
        self._sessions: dict[str, EngineSession] = {}
        worker.on_drain.append(self._drain)

    def __len__(self) -> int:
        return len(self._sessions)

    def open(
        self,
        version: int,
        peer: Peer,
        query: Mapping[str, str],
        credential: Presented | None = None,
        handshake: Mapping[str, Any] | None = None,
    ) -> EngineSession:
        """A new session. Its seat was taken by the caller, and is given back when it ends."""
        sid = self._worker.id + secrets.token_urlsafe(15)
        session = EngineSession(sid, version, self._options, peer, query, self._forget, credential, handshake)
        session.application = self._application(session)
        self._sessions[sid] = session
        return session

    def find(self, sid: str) -> EngineSession | None:
        """The open session of that id, if it is one of this process."""
        return self._sessions.get(sid)

    async def end_revoked(self, revoked: Revoked) -> None:
        """End the sessions of clients whose network is revoked, also those that are in no namespace."""
        for number, session in enumerate(list(self._sessions.values()), 1):
            if revoked.concern(of_peer(session.peer)):
                session.close(REVOKED)
            if number % SLICE == 0:
                await asyncio.sleep(0)

    def _forget(self, session: EngineSession) -> None:
        if self._sessions.pop(session.sid, None) is not None:
            self._worker.seats.leave(session.peer.host)

    def _drain(self, close: Close) -> None:
        """End all sessions, a batch at a time, also those that are in no namespace."""
        loop = asyncio.get_running_loop()
        for number, session in enumerate(list(self._sessions.values())):
            loop.call_later(number // DRAIN_BATCH * DRAIN_PAUSE_SECONDS, session.close, close)
