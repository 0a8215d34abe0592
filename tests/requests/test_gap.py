"""Lost publications of other processes are told, on a connection that stays open."""

from __future__ import annotations

import redis

from tests.requests.conftest import Connect
from tests.requests.peer import call
from tests.services.server import Server


def test_a_gap_is_a_message_and_no_close(mortals: tuple[Server, Server], connect: Connect) -> None:
    """A dead peer cannot send again the messages that the broken connection has lost."""
    survivor, victim = mortals
    peer = connect(survivor, f"?key={survivor.api_key}")
    peer.ask("subscribe", addresses=["channel:gap"])
    call(victim, "/api/publish", {"addresses": ["channel:gap"], "message": 1})
    assert peer.next()["message"] == 1
    victim.kill()
    with redis.Redis.from_url(survivor.env["REDIS_URL"]) as client:
        assert client.client_kill_filter(_type="pubsub")

    assert peer.next(timeout=60) == {"type": "gap"}
    assert peer.ask("whoami")["addresses"] == ["channel:gap"]
