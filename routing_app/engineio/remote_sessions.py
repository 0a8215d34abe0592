"""Sessions that another worker owns: no load balancer has to be sticky."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, Final

from routing_app.core.address import worker_of
from routing_app.core.cluster.calls import CallFailed, CallRefused, Incoming, WorkerGone
from routing_app.core.codes import BY_CODE, NORMAL, Close
from routing_app.core.worker import Worker
from routing_app.engineio.registry import Registry
from routing_app.engineio.session import EngineSession, Fault, RequestRefused
from routing_app.engineio.wire import Packet, Payload

ANSWER_SECONDS: Final = 120.0
"""How long a call may take in all: above the longest silence that a heartbeat allows."""

Verb = Callable[[EngineSession, str, str], Coroutine[Any, Any, str]]
"""An action on a session: (session, caller's worker id, payload) -> payload, or RequestRefused."""


def pack(packets: Sequence[Packet]) -> str:
    """Packets as one string."""
    return json.dumps([p if isinstance(p, str) else [b64encode(p).decode()] for p in packets])


def unpack(packed: str) -> list[Packet]:
    """The inverse of `pack`."""
    return [p if isinstance(p, str) else b64decode(p[0]) for p in json.loads(packed)]


class RemoteSessions:
    """Sessions of other workers for this process's clients, and the sessions of this one for the others."""

    def __init__(self, worker: Worker, registry: Registry, protocol: str) -> None:
        self.worker = worker
        self._registry = registry
        self._protocol = protocol
        self._polls: dict[str, int] = {}
        """Polls that wait here, by session; the value is its protocol version."""
        self.offer("poll", _poll)
        self.offer("release", _release)
        # These are carried out as a whole, even if the client goes away before the answer.
        self.offer("post", _post, stops=False)
        self.offer("close", _close, stops=False)
        worker.on_drain.append(self._drain)

    def offer(self, verb: str, action: Verb, stops: bool = True) -> None:
        """Serve an action to other workers; with `stops` it is cancelled when its caller gives up."""

        async def serve(call: Incoming) -> str:
            sid, version, payload = call.payload
            session = self._registry.find(sid)
            try:
                if session is None:
                    raise RequestRefused(Fault.UNKNOWN_SID)
                if session.version != version:
                    raise RequestRefused(Fault.BAD_REQUEST)
                return await action(session, call.asker, payload)
            except RequestRefused as refused:
                raise CallRefused(int(refused.fault)) from None

        self.worker.calls.serve(f"{self._protocol}.{verb}", serve, stops)

    async def call(self, sid: str, version: int, verb: str, payload: str = "") -> str:
        """Have the owner do something with a session. Raises RequestRefused, also without an owner."""
        calls, name = self.worker.calls, f"{self._protocol}.{verb}"
        try:
            answer: str = await calls.call(worker_of(sid), name, [sid, version, payload], ANSWER_SECONDS)
        except CallRefused as refused:
            raise RequestRefused(Fault(refused.payload)) from None
        except CallFailed:
            raise RequestRefused(Fault.BAD_REQUEST) from None
        except (WorkerGone, TimeoutError):
            raise RequestRefused(Fault.UNKNOWN_SID) from None
        return answer

    async def poll(self, sid: str, version: int) -> str:
        """Wait for the owner's next payload, as `_poll` writes it. Raises RequestRefused."""
        self._polls[sid] = version
        try:
            return await self.call(sid, version, "poll")
        finally:
            self._polls.pop(sid, None)

    def _drain(self, close: Close) -> None:
        """This worker stops: polls that wait here are answered, so that clients ask elsewhere."""
        for sid, version in self._polls.items():
            self.release(sid, version)

    def release(self, sid: str, version: int) -> None:
        """Have the owner end the poll that is open there."""
        self.worker.spawn(self._release(sid, version))

    async def _release(self, sid: str, version: int) -> None:
        with suppress(RequestRefused):
            await self.call(sid, version, "release")


class RemoteSession:
    """A session of another worker, as the polling transport sees it."""

    def __init__(self, sessions: RemoteSessions, sid: str, version: int) -> None:
        self._sessions = sessions
        self._sid = sid
        self._version = version
        self._poll: asyncio.Future[str] | None = None

    def begin_poll(self) -> asyncio.Future[Any]:
        """See EngineSession; a refusal comes with the future. A worker that stops answers at once."""
        self._poll = asyncio.ensure_future(self._sessions.poll(self._sid, self._version))
        if self._sessions.worker.draining:
            self._sessions.release(self._sid, self._version)
        return self._poll

    def end_poll(self) -> Payload:
        """See EngineSession.end_poll."""
        assert self._poll is not None
        body, content_type = json.loads(self._poll.result())
        return Payload(b64decode(body), content_type.encode())

    def drop_poll(self) -> None:
        """See EngineSession.drop_poll; cancelling the future has told the owner."""

    def release(self) -> None:
        """See EngineSession.release."""
        self._sessions.release(self._sid, self._version)

    async def post(self, packets: list[Packet]) -> None:
        """See EngineSession.post."""
        await self._sessions.call(self._sid, self._version, "post", pack(packets))

    async def end(self, close: Close) -> None:
        """See EngineSession.end. Raises RequestRefused when the session has ended."""
        await self._sessions.call(self._sid, self._version, "close", str(close.code))


async def _poll(session: EngineSession, caller: str, payload: str) -> str:
    ready = session.begin_poll()
    try:
        await ready
    except asyncio.CancelledError:
        session.drop_poll()
        raise
    answer = session.end_poll()
    return json.dumps([b64encode(answer.body).decode(), answer.content_type.decode()])


async def _release(session: EngineSession, caller: str, payload: str) -> str:
    session.release()
    return ""


async def _post(session: EngineSession, caller: str, payload: str) -> str:
    await session.post(unpack(payload))
    return ""


async def _close(session: EngineSession, caller: str, payload: str) -> str:
    session.close(BY_CODE.get(int(payload), NORMAL))
    return ""
