"""Steps of open connections that a hook refuses."""

from __future__ import annotations

from routing_app.core.codes import Advice, Refusal
from routing_app.core.delivery.connection import Connection
from routing_app.core.hooks.question import Verdict


def refusal_of(verdict: Verdict) -> Refusal:
    """The reason that is counted for a verdict that refuses."""
    return Refusal.UNAVAILABLE if verdict.unavailable else Refusal.HOOK


def is_sent_away(connection: Connection) -> bool:
    """True when the server has ended a connection for good while the backend was asked.

    A message of its client goes out no more; one of a client that has left, or is to come back, does.
    """
    close = connection.close_sent
    return close is not None and close.advice is Advice.STAY_AWAY
