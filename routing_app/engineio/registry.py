"""The Engine.IO sessions of one process, by id. It begins with the id of the worker that owns the session."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping

from routing_app.core.codes import Close
from routing_app.core.delivery.connection import Peer
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

    def open(self, version: int, peer: Peer, query: Mapping[str, str]) -> EngineSession:
        """A new session. Its seat was taken by the caller, and is given back when it ends."""
        sid = self._worker.id + secrets.token_urlsafe(15)
        session = EngineSession(sid, version, self._options, peer, query, self._forget)
        session.application = self._application(session)
        self._sessions[sid] = session
        return session

    def find(self, sid: str) -> EngineSession | None:
        """The open session of that id, if it is one of this process."""
        return self._sessions.get(sid)

    def _forget(self, session: EngineSession) -> None:
        if self._sessions.pop(session.sid, None) is not None:
            self._worker.seats.leave(session.peer.host)

    def _drain(self, close: Close) -> None:
        """End all sessions, a batch at a time, also those that are in no namespace."""
        loop = asyncio.get_running_loop()
        for number, session in enumerate(list(self._sessions.values())):
            loop.call_later(number // DRAIN_BATCH * DRAIN_PAUSE_SECONDS, session.close, close)
