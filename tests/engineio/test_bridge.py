"""Both ends of a WebSocket that carries the session of another worker, one at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import REGISTRY

from routing_app.core.codes import KICKED, NORMAL, SLOW, UNAVAILABLE, Loss
from routing_app.core.delivery.connection import Limits, Peer
from routing_app.core.delivery.frame import Frame
from routing_app.core.delivery.publication import Publication
from routing_app.engineio import bridge
from routing_app.engineio.bridge import END, FRAMES, Bridges, BridgeWriter
from routing_app.engineio.remote_sessions import pack
from routing_app.engineio.request import EngineRequest
from routing_app.engineio.session import EngineOptions, EngineSession, Fault, RequestRefused
from routing_app.engineio.websocket import PacketSocket
from tests.services.waiting import until

pytestmark = pytest.mark.once

NEVER = 3600.0


# --- the owner's end -------------------------------------------------------------------------------------


class Relay:
    """Takes as many publications as it has room for."""

    def __init__(self) -> None:
        self.room = 0
        self.refused = 0
        self.taken: list[tuple[str, Any]] = []

    def offer(self, publication: Publication) -> bool:
        if not self.room:
            self.refused += 1
            return False
        self.room -= 1
        self.taken.append((publication.event, publication.message))
        return True


@pytest.fixture
def relay() -> Relay:
    """One without room."""
    return Relay()


@pytest.fixture
def writer(relay: Relay) -> BridgeWriter:
    """The owner's end of the bridge with number 7."""
    worker: Any = SimpleNamespace(relay=relay)
    return BridgeWriter(worker, "holder", 7)


def lost() -> float:
    """Frames that were thrown away since their client does not read."""
    return REGISTRY.get_sample_value("switchboard_lost_total", {"reason": Loss.SLOW}) or 0.0


LAST_WORDS = (FRAMES, [7, pack(["4last words"])])
KICKED_OUT = (END, [7, KICKED.code, False])


async def test_the_end_comes_behind_what_waited_for_room(
    relay: Relay, writer: BridgeWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge, "RETRY_SECONDS", NEVER)
    writer.write([Frame("4last words")])
    relay.room = 2

    writer.close(KICKED)

    assert relay.taken == [LAST_WORDS, KICKED_OUT]


@pytest.mark.parametrize("room", [0, 1])
async def test_the_end_is_tried_again_until_there_is_room(
    relay: Relay, writer: BridgeWriter, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    monkeypatch.setattr(bridge, "RETRY_SECONDS", 0.001)
    relay.room = room
    writer.write([Frame("4last words")])
    writer.close(KICKED)
    refused = relay.refused
    await until(lambda: relay.refused > refused)

    relay.room = 2

    await until(lambda: len(relay.taken) == 2)
    assert relay.taken == [LAST_WORDS, KICKED_OUT]
    assert relay.room == room  # each went once


async def test_an_abort_comes_in_place_of_what_waited_for_room(
    relay: Relay, writer: BridgeWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge, "RETRY_SECONDS", 0.001)
    before = lost()
    writer.write([Frame("4unread"), Frame("4unread")])

    writer.abort(SLOW)

    assert lost() == before + 2
    assert writer.held_frames() == 0
    refused = relay.refused
    await until(lambda: relay.refused > refused)
    relay.room = 2
    await until(lambda: relay.taken)
    assert relay.taken == [(END, [7, SLOW.code, True])]


# --- the holder ------------------------------------------------------------------------------------------


class Owner:
    """A session that polls, and its owner, which answers the holder without a way in between."""

    def __init__(self) -> None:
        relay = Relay()
        relay.room = 1000
        self.tasks: list[asyncio.Task[None]] = []
        self.worker: Any = SimpleNamespace(
            id="holder",
            relay=relay,
            hub=SimpleNamespace(on=lambda *_: None),
            on_drain=[],
            spawn=lambda coroutine: self.tasks.append(asyncio.ensure_future(coroutine)),
        )
        self.session = EngineSession("sid", 4, EngineOptions(), Peer(), {}, lambda session: None)
        self.called: list[str] = []
        self.on_call: Callable[[str], Coroutine[Any, Any, None]] | None = None
        """Runs behind each call, before its answer."""
        self._verbs: dict[str, Any] = {}
        self.bridges = Bridges(self, Limits(1 << 20, 1 << 10))  # type: ignore[arg-type]

    def offer(self, verb: str, action: Any, stops: bool = True) -> None:
        self._verbs[verb] = action

    async def call(self, sid: str, version: int, verb: str, payload: str = "") -> str:
        self.called.append(verb)
        if not self.session.open:
            raise RequestRefused(Fault.UNKNOWN_SID)
        answer: str = "" if verb == "close" else await self._verbs[verb](self.session, "holder", payload)
        if self.on_call is not None:
            await self.on_call(verb)
        return answer

    async def settled(self) -> None:
        """Wait for the calls that nobody waits for."""
        await asyncio.gather(*self.tasks)


class Socket:
    """A WebSocket at the holder; `accepts` is False where it breaks within the handshake."""

    def __init__(self, *packets: str, accepts: bool = True) -> None:
        self._accepts = accepts
        self._messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        for packet in packets:
            self._messages.put_nowait({"type": "websocket.receive", "text": packet})
        self.sent: list[Any] = []
        request = EngineRequest(4, "websocket", "sid", {})
        self.channel = PacketSocket({}, self._messages.get, self._send, request, 1000)

    async def _send(self, message: dict[str, Any]) -> None:
        if not self._accepts:
            raise OSError("gone")
        self.sent.append(message.get("code", message.get("text")))
        if message["type"] == "websocket.close":
            self._messages.put_nowait({"type": "websocket.disconnect"})


@pytest.fixture
async def owner() -> Any:
    """An owner whose session ends with the test."""
    one = Owner()
    yield one
    one.session.close()


async def serve(owner: Owner, socket: Socket, seconds: float = 60) -> None:
    """Have the holder carry the session over this WebSocket."""
    await owner.bridges.serve("sid", 4, socket.channel, seconds)


def may_move(session: EngineSession) -> bool:
    """True when another WebSocket may carry it, and polls wait until then."""
    waits = not session.begin_poll().done()
    session.drop_poll()
    return waits and session.begin_upgrade()


async def test_a_websocket_that_breaks_within_its_handshake_leaves_the_session_to_another(owner: Owner):
    with pytest.raises(OSError, match="gone"):
        await serve(owner, Socket(accepts=False))

    await owner.settled()
    assert may_move(owner.session)


async def test_a_probe_that_is_cancelled_leaves_the_session_to_another_websocket(owner: Owner):
    probed = asyncio.Event()

    async def note(verb: str) -> None:
        if verb == "probed":
            probed.set()

    owner.on_call = note
    serving = asyncio.ensure_future(serve(owner, Socket("2probe")))
    await probed.wait()

    serving.cancel()

    with pytest.raises(asyncio.CancelledError):
        await serving
    await owner.settled()
    assert may_move(owner.session)


async def test_a_session_ends_with_the_task_that_carries_it(owner: Owner):
    receiving = asyncio.Event()

    async def note(verb: str) -> None:
        if verb == "receive":
            receiving.set()

    owner.on_call = note
    serving = asyncio.ensure_future(serve(owner, Socket("2probe", "5", "4hello")))
    await receiving.wait()

    serving.cancel()

    with pytest.raises(asyncio.CancelledError):
        await serving
    await owner.settled()
    assert owner.session.closed_with is UNAVAILABLE


async def test_a_move_that_has_begun_may_outlast_the_limit_of_the_probe(owner: Owner):
    """The limit has passed as soon as the holder waits for anything: for the owner, whose answer counts."""
    moved = asyncio.Event()

    async def take_turns(verb: str) -> None:
        if verb == "moved":
            try:
                for _ in range(5):
                    await asyncio.sleep(0)
            finally:
                moved.set()

    owner.on_call = take_turns
    socket = Socket("5")
    serving = asyncio.ensure_future(serve(owner, socket, seconds=0))

    await moved.wait()

    assert owner.session.on_websocket
    owner.session.close()
    socket.channel.close()
    await serving
    assert owner.called == ["upgrade", "moved", "close"]


@pytest.mark.parametrize("verb", ["moved", "receive"])
async def test_a_session_whose_owner_did_not_answer_in_time_ends_at_both(owner: Owner, verb: str):
    async def too_late(called: str) -> None:
        if called == verb:
            raise RequestRefused(Fault.UNKNOWN_SID)

    owner.on_call = too_late
    socket = Socket("2probe", "5", "4hello")

    await serve(owner, socket)

    await owner.settled()
    assert socket.sent[-1] == UNAVAILABLE.portable_code
    assert owner.called[-1] == "stay"
    assert owner.session.closed_with is UNAVAILABLE


async def test_a_websocket_that_finds_another_one_moving_does_not_disturb_it(owner: Owner):
    assert owner.session.begin_upgrade()
    broken, late = Socket(accepts=False), Socket("2probe", "5")

    with pytest.raises(OSError, match="gone"):
        await serve(owner, broken)
    await serve(owner, late)

    assert late.sent[-1] == NORMAL.code
    assert owner.session.upgrading
    assert owner.called == ["upgrade", "upgrade"]


async def test_a_move_that_comes_behind_its_end_is_refused(owner: Owner):
    async def call(verb: str, payload: str = "") -> str:
        return await owner.call("sid", 4, verb, payload)

    assert await call("upgrade")
    await call("stay")

    with pytest.raises(RequestRefused):
        await call("moved", "[7, false]")

    assert not owner.session.on_websocket
