"""Calls about sessions that another worker owns, over the relay: no load balancer has to be sticky.

A call goes to the owner, which answers it, or says that it has taken it when the answer needs longer. An
owner that says nothing within TAKEN_SECONDS is gone, and its sessions with it.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from base64 import b64decode, b64encode
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, Final

from routing_app.core.codes import BY_CODE, NORMAL, Close
from routing_app.core.engineio.registry import Registry, owner
from routing_app.core.engineio.session import Fault, RequestRefused, Session
from routing_app.core.engineio.wire import Packet, Payload
from routing_app.core.publication import Publication
from routing_app.core.worker import Worker

logger = logging.getLogger(__name__)

CALL: Final = "$engineio.call"
"""Event of a publication to the owner: `[number, caller's worker id, sid, version, verb, payload]`."""
ANSWER: Final = "$engineio.answer"
"""Event of a publication to the caller: `[number, stage, payload]`; a fault has its code as payload."""
TAKEN_SECONDS: Final = 3.0
"""How long an owner may take to say that it has a call."""
TAKEN_AFTER_SECONDS: Final = 0.5
"""How long an owner works on a call before it says so."""
ANSWER_SECONDS: Final = 120.0
"""How long a call may take in all: above the longest silence that a heartbeat allows."""

TAKEN, DONE, REFUSED, CANCEL = "taken", "done", "refused", "cancel"

Verb = Callable[[Session, str, str], Coroutine[Any, Any, str]]
"""Does a thing with a session: (session, caller's worker id, payload) -> payload, or RequestRefused."""


def pack(packets: Sequence[Packet]) -> str:
    """Packets as one text."""
    return json.dumps([p if isinstance(p, str) else [b64encode(p).decode()] for p in packets])


def unpack(text: str) -> list[Packet]:
    """The inverse of `pack`."""
    return [p if isinstance(p, str) else b64decode(p[0]) for p in json.loads(text)]


class Call:
    """One call that waits for its answer."""

    def __init__(self, sid: str, version: int, verb: str) -> None:
        loop = asyncio.get_running_loop()
        self.sid = sid
        self.version = version
        self.verb = verb
        self.taken: asyncio.Future[None] = loop.create_future()
        self.answer: asyncio.Future[str] = loop.create_future()

    def step(self, stage: str, payload: Any) -> None:
        """What the owner said."""
        if not self.taken.done():
            self.taken.set_result(None)
        if self.answer.done():
            return
        if stage == DONE:
            self.answer.set_result(payload)
        elif stage == REFUSED:
            self.answer.set_exception(RequestRefused(Fault(payload)))


class Courier:
    """Makes calls for this process's clients, and serves those of other workers."""

    def __init__(self, worker: Worker, registry: Registry) -> None:
        self.worker = worker
        self._registry = registry
        self._numbers = itertools.count(1)
        self._calls: dict[int, Call] = {}
        self._serving: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._verbs: dict[str, Verb] = {
            "poll": _poll,
            "release": _release,
            "post": _post,
            "close": _close,
        }
        self.listen(CALL, self._called)
        self.listen(ANSWER, self._answered)
        worker.on_drain.append(self._drain)

    def offers(self, verb: str, action: Verb) -> None:
        """Serve one more verb to other workers."""
        self._verbs[verb] = action

    def listen(self, event: str, handler: Callable[[list[Any]], None]) -> None:
        """Have `handler` called with the message of every publication of `event` to this worker."""
        mine = (f"worker:{self.worker.id}",)

        def handle(publication: Publication) -> int:
            if publication.addresses != mine:
                return 0
            handler(publication.message)
            return 1

        self.worker.hub.on(event, handle)

    async def tell(self, worker_id: str, event: str, message: list[Any]) -> None:
        """Send to another worker, in order."""
        publication = Publication((f"worker:{worker_id}",), message, event)
        if not self.worker.relay.offer(publication):
            await self.worker.relay.offer_later(publication)

    # --- the caller's side -------------------------------------------------------------------------------

    async def call(self, sid: str, version: int, verb: str, payload: str = "") -> str:
        """Have the owner do something with a session. Raises RequestRefused, also when there is no owner."""
        number, call = next(self._numbers), Call(sid, version, verb)
        self._calls[number] = call
        head = [number, self.worker.id, sid, version]
        try:
            await self.tell(owner(sid), CALL, [*head, verb, payload])
            async with asyncio.timeout(TAKEN_SECONDS):
                await call.taken
            async with asyncio.timeout(ANSWER_SECONDS):
                return await call.answer
        except TimeoutError:
            raise RequestRefused(Fault.UNKNOWN_SID) from None
        except asyncio.CancelledError:
            await self.tell(owner(sid), CALL, [*head, CANCEL, ""])
            raise
        finally:
            del self._calls[number]

    def _answered(self, message: list[Any]) -> None:
        number, stage, payload = message
        if (call := self._calls.get(number)) is not None:
            call.step(stage, payload)

    def _drain(self, close: Close) -> None:
        """This worker stops: polls that wait here are answered, so that clients ask elsewhere."""
        for call in self._calls.values():
            if call.verb == "poll":
                self.release(call.sid, call.version)

    def release(self, sid: str, version: int) -> None:
        """Have the owner end the poll that is open there."""
        self.worker.spawn(self._release(sid, version))

    async def _release(self, sid: str, version: int) -> None:
        with suppress(RequestRefused):
            await self.call(sid, version, "release")

    # --- the owner's side --------------------------------------------------------------------------------

    def _called(self, message: list[Any]) -> None:
        number, caller, sid, version, verb, payload = message
        key = (caller, number)
        if verb == CANCEL:
            if (task := self._serving.get(key)) is not None:
                task.cancel()
            return
        session = self._registry.find(sid)
        task = self.worker.spawn(self._serve(number, caller, session, version, verb, payload))
        if verb == "poll":
            # What was posted is taken as a whole, whether its client waits for the answer or not.
            self._serving[key] = task
            task.add_done_callback(lambda done: self._serving.pop(key, None))

    async def _serve(
        self, number: int, caller: str, session: Session | None, version: int, verb: str, payload: str
    ) -> None:
        taken = asyncio.ensure_future(self._say_taken(number, caller))
        try:
            answer = await self._perform(session, version, verb, caller, payload)
        except RequestRefused as refused:
            await self.tell(caller, ANSWER, [number, REFUSED, int(refused.fault)])
        except Exception:
            logger.exception("a call about a session failed")
            await self.tell(caller, ANSWER, [number, REFUSED, int(Fault.BAD_REQUEST)])
        else:
            await self.tell(caller, ANSWER, [number, DONE, answer])
        finally:
            taken.cancel()

    async def _say_taken(self, number: int, caller: str) -> None:
        await asyncio.sleep(TAKEN_AFTER_SECONDS)
        await self.tell(caller, ANSWER, [number, TAKEN, None])

    async def _perform(
        self, session: Session | None, version: int, verb: str, caller: str, payload: str
    ) -> str:
        if session is None:
            raise RequestRefused(Fault.UNKNOWN_SID)
        if session.version != version or verb not in self._verbs:
            raise RequestRefused(Fault.BAD_REQUEST)
        return await self._verbs[verb](session, caller, payload)


class RemoteSession:
    """A session of another worker, as the polling transport sees it."""

    def __init__(self, courier: Courier, sid: str, version: int) -> None:
        self._courier = courier
        self._sid = sid
        self._version = version
        self._poll: asyncio.Future[str] | None = None

    def begin_poll(self) -> asyncio.Future[Any]:
        """See Session.begin_poll; a refusal comes with the future. A worker that stops lets none wait."""
        self._poll = asyncio.ensure_future(self._courier.call(self._sid, self._version, "poll"))
        if self._courier.worker.draining:
            self._courier.release(self._sid, self._version)
        return self._poll

    def end_poll(self) -> Payload:
        """See Session.end_poll."""
        assert self._poll is not None
        body, content_type = json.loads(self._poll.result())
        return Payload(b64decode(body), content_type.encode())

    def drop_poll(self) -> None:
        """See Session.drop_poll; cancelling the future has told the owner."""

    def release(self) -> None:
        """See Session.release."""
        self._courier.release(self._sid, self._version)

    async def post(self, packets: list[Packet]) -> None:
        """See Session.post."""
        await self._courier.call(self._sid, self._version, "post", pack(packets))

    async def end(self, close: Close) -> None:
        """See Session.end. Raises RequestRefused when there is no such session any more."""
        await self._courier.call(self._sid, self._version, "close", str(close.code))


async def _poll(session: Session, caller: str, payload: str) -> str:
    ready = session.begin_poll()
    try:
        await ready
    except asyncio.CancelledError:
        session.drop_poll()
        raise
    answer = session.end_poll()
    return json.dumps([b64encode(answer.body).decode(), answer.content_type.decode()])


async def _release(session: Session, caller: str, payload: str) -> str:
    session.release()
    return ""


async def _post(session: Session, caller: str, payload: str) -> str:
    await session.post(unpack(payload))
    return ""


async def _close(session: Session, caller: str, payload: str) -> str:
    session.close(BY_CODE.get(int(payload), NORMAL))
    return ""
