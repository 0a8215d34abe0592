"""The owner's end of a session whose client has come back at another worker."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from routing_app.core.cluster.calls import Incoming
from routing_app.core.codes import GAP
from routing_app.engineio.remote_sessions import pack
from routing_app.engineio.socketio import elsewhere
from routing_app.engineio.socketio.elsewhere import LEFT, Elsewhere, RemoteCarrier

pytestmark = pytest.mark.once


class Socket:
    """The session of a client that may leave."""

    def __init__(self, end: Elsewhere, carrier: RemoteCarrier) -> None:
        self.writer = SimpleNamespace(carrier=carrier)
        self.ends: list[object] = []
        self._end = end

    def close(self) -> None:
        self.ends.append(LEFT)
        self._end.ended(self)  # type: ignore[arg-type]

    def lost(self, close: object) -> None:
        self.ends.append(close)


@pytest.mark.parametrize(("code", "end"), [(LEFT, LEFT), (GAP.code, GAP)])
async def test_a_client_that_goes_while_its_worker_asks_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, code: int, end: object
) -> None:
    """The question that was under way ends behind it."""
    monkeypatch.setattr(elsewhere, "SILENCE_SECONDS", 0.0)
    monkeypatch.setattr(elsewhere, "PULL_SECONDS", 0.01)
    errors: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    worker: Any = SimpleNamespace(id="owner", calls=SimpleNamespace(serve=lambda *_, **__: None))
    owner = Elsewhere(worker, "rooms", {})
    carrier = RemoteCarrier(lambda: owner._gone("key"))
    socket: Any = Socket(owner, carrier)
    owner._carriers["key"] = carrier, socket

    asking = asyncio.ensure_future(owner._pull(Incoming("holder", ["key", 100], None)))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    await owner._detach(Incoming("holder", ["key", code], None))  # type: ignore[arg-type]

    assert await asking == [pack([]), LEFT if code == LEFT else None]
    for _ in range(5):
        await asyncio.sleep(0)
    assert errors == []
    assert socket.ends == [end]
