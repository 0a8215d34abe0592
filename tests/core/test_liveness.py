"""Liveness of workers: by what is received, and only while our own heartbeats come back."""

from __future__ import annotations

import pytest

from routing_app.core.cluster.liveness import GONE_SECONDS, Peers

pytestmark = pytest.mark.once


class Listening:
    """Peers, a clock, and heartbeats of our own that come back once a second while the layer works."""

    def __init__(self) -> None:
        self.time = 100.0
        self.peers = Peers(lambda: self.time)
        self.peers.echo()

    def passes(self, seconds: float, deaf: bool = False) -> None:
        for _ in range(round(seconds * 10)):
            self.time += 0.1
            if not deaf and round(self.time * 10) % 10 == 0:
                self.peers.echo()


@pytest.fixture
def listening() -> Listening:
    return Listening()


def test_a_worker_that_beats_lives(listening: Listening):
    asked = listening.peers.now()
    for _ in range(30):
        listening.passes(1)
        listening.peers.received("a")

        assert not listening.peers.is_gone("a", asked)


def test_a_worker_that_is_silent_is_gone_within_four_seconds_of_the_ask(listening: Listening):
    listening.peers.received("a")
    asked = listening.peers.now()
    listening.passes(GONE_SECONDS - 0.2)
    assert not listening.peers.is_gone("a", asked)

    listening.passes(0.5)
    assert listening.peers.is_gone("a", asked)


def test_one_that_has_never_sent_anything_is_gone_as_late(listening: Listening):
    listening.passes(60)
    asked = listening.peers.now()
    assert not listening.peers.is_gone("never", asked)

    listening.passes(GONE_SECONDS + 0.2)
    assert listening.peers.is_gone("never", asked)


def test_one_that_has_said_goodbye_is_gone_at_once_and_back_when_it_sends_again(listening: Listening):
    listening.peers.received("a")
    listening.peers.left("a")
    assert listening.peers.is_gone("a", listening.peers.now())

    listening.peers.received("a")
    assert not listening.peers.is_gone("a", listening.peers.now())


def test_while_we_are_deaf_nobody_is_gone(listening: Listening):
    listening.peers.received("a")
    asked = listening.peers.now()
    listening.passes(300, deaf=True)
    assert not listening.peers.is_gone("a", asked)

    listening.peers.echo()
    assert not listening.peers.is_gone("a", asked)


def test_a_worker_that_receives_is_new_once_and_again_after_it_was_forgotten(listening: Listening):
    new: list[str] = []
    listening.peers.on_receiver.append(new.append)
    listening.peers.received("only publishes")
    for _ in range(2):
        listening.peers.received("a")
        listening.peers.receives("a")
    assert (new, listening.peers.receivers()) == (["a"], {"a"})

    listening.peers.forget("a")
    assert listening.peers.receivers() == set()
    listening.peers.received("a")
    listening.peers.receives("a")
    listening.passes(61)
    assert listening.peers.receivers() == set()
    listening.peers.received("a")
    listening.peers.receives("a")
    assert new == ["a", "a", "a"]


def test_the_end_of_a_worker_is_told(listening: Listening):
    ended: list[str] = []
    listening.peers.on_left.append(ended.append)
    listening.peers.received("a")
    listening.peers.receives("a")
    listening.peers.left("a")
    assert (ended, listening.peers.receivers()) == (["a"], set())
