"""The ways in which a call can fail. Their text is for operators, and quotes nothing of the call."""

from __future__ import annotations


class CallFailed(Exception):
    """A call has no answer."""


class AddressRefused(CallFailed):
    """The URL leads to an address that calls may not go to; nothing was sent."""


class Unreachable(CallFailed):
    """No connection came about: the name does not resolve, nobody listens, TLS failed. Nothing was sent."""


class AnswerLate(CallFailed):
    """The time was up. The receiver may have the call."""


class AnswerBroken(CallFailed):
    """The connection was lost, or what came was not HTTP. The receiver may have the call."""
