"""Receipts: negotiated by subprotocol, so that peers which know none are never sent one."""

from __future__ import annotations

from tests.requests.conftest import Connect
from tests.services.server import Server


def test_a_message_that_asks_for_a_receipt_gets_one(broker: Server, connect: Connect) -> None:
    peer = connect(broker, receipts=True)
    assert peer.socket.subprotocol == "wyre.receipt"
    peer.send({"type": "note", "text": "a", "key": "m1", "receipt": True})

    assert peer.next() == {"receipt": True, "key": "m1", "direction": "REPLY"}


def test_nothing_else_gets_one(broker: Server, connect: Connect) -> None:
    peer = connect(broker, receipts=True)
    peer.send({"type": "note", "text": "a", "key": "m1"})
    peer.send({"type": "note", "text": "a", "receipt": True})
    peer.send({"type": "note", "text": "a", "key": "m2", "receipt": "yes"})
    peer.send({"type": "note", "text": "a", "key": "m3", "receipt": False})

    assert peer.silent() == []


def test_without_the_subprotocol_the_fields_are_the_applications_own(
    broker: Server, connect: Connect
) -> None:
    peer = connect(broker)
    peer.send({"type": "note", "text": "a", "key": "m1", "receipt": True})

    assert peer.silent() == []


def test_a_send_of_the_server_waits_for_the_clients_receipt(broker: Server, connect: Connect) -> None:
    peer = connect(broker, receipts=True)
    peer.send({"direction": "REQUEST", "type": "send me", "key": "k", "send": {"n": 1}})
    message = peer.next()
    assert message == {"n": 1, "receipt": True, "key": message["key"]}
    assert peer.silent() == [], "the send has not returned"
    peer.send({"receipt": True, "key": message["key"], "direction": "REPLY"})

    assert peer.next() == {"received": True, "key": "k", "direction": "REPLY"}


def test_a_receipt_may_be_waited_for_in_vain(broker: Server, connect: Connect) -> None:
    peer = connect(broker, receipts=True)
    peer.send({"direction": "REQUEST", "type": "send me", "key": "k", "send": {}, "timeout": 0.1})
    peer.next()

    assert peer.next() == {"received": False, "key": "k", "direction": "REPLY"}


def test_without_the_subprotocol_a_send_of_the_server_is_a_plain_message(
    broker: Server, connect: Connect
) -> None:
    peer = connect(broker)
    peer.send({"direction": "REQUEST", "type": "send me", "key": "k", "send": {"n": 1}})

    assert peer.next() == {"n": 1}
    assert peer.next()["received"] is True
