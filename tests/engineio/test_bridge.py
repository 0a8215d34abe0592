"""Both ends of a WebSocket that carries the session of another worker, one at a time."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import REGISTRY

from routing_app.core.codes import KICKED, SLOW, Loss
from routing_app.core.delivery.frame import Frame
from routing_app.core.delivery.publication import Publication
from routing_app.engineio import bridge
from routing_app.engineio.bridge import END, FRAMES, BridgeWriter
from routing_app.engineio.remote_sessions import pack
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
