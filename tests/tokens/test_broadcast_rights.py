"""TOKENS_BROADCAST: who may broadcast over a socket (decision 25)."""

from __future__ import annotations

import pytest

from tests.conftest import ServerFactory
from tests.services.server import Server
from tests.services.waiting import wait_until
from tests.tokens.client import form
from tests.tokens.conftest import Connect


def test_decision_25_everyone_may_by_default(broker: Server, connect: Connect, name: str) -> None:
    receiver, sender = connect(broker, name), connect(broker)

    sender.send(f"{name}|x")

    sender.received()
    assert receiver.received() == ["x"]


@pytest.mark.once
def test_decision_25_registered_tokens_only(server: ServerFactory, connect: Connect) -> None:
    broker = server(TOKENS_BROADCAST="registered")
    form(broker, "registerToken", token="known")
    form(broker, "registerToken", token="former")
    form(broker, "unregisterToken", token="former")
    receiver = connect(broker, "receiver")
    senders = {token: connect(broker, token) for token in ("known", "former", "unknown", None)}

    for token, sender in senders.items():
        sender.send(f"receiver|{token}")
        sender.send("Echo:echo stays")
        assert sender.received() == ["echo stays"]

    assert receiver.received() == ["known"]

    senders[None].send("RegisterToken:known")
    senders[None].send("receiver|now known")
    senders[None].received()
    assert receiver.received() == ["now known"]

    form(broker, "unregisterToken", token="known")

    def is_refused() -> bool:
        senders["known"].send("receiver|after")
        senders["known"].received()
        return receiver.received() == []

    wait_until(is_refused)


@pytest.mark.once
def test_decision_25_nobody(server: ServerFactory, connect: Connect) -> None:
    broker = server(TOKENS_BROADCAST="none")
    client = connect(broker, "abc1")

    client.send("abc1|by socket")
    assert client.received() == []

    assert form(broker, "broadcast", message="abc1|by API").status == 200
    assert client.next_frame() == "by API"
