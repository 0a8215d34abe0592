"""Every close code of a socket and every error code of an API, once.

Documentation, metrics and tests read them from here. Ranges tell a client what to do next:
4000-4099 stay away, 4100-4199 come back later, 4200-4299 come back now. Codes below 4000 are RFC 6455's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Advice(StrEnum):
    """Advice to a client after a close."""

    STAY_AWAY = "stay away"
    LATER = "come back later"
    NOW = "come back now"


@dataclass(frozen=True, slots=True)
class Close:
    """One way a connection ends: the code on the wire, its name in metrics, the reason text sent along.

    `portable` replaces codes that an application may not send through a stock Daphne (all but 1000 and
    3000-4999); it is what goes out when the server does not offer the frame writer.

    `before_accept` is for a refusal that comes before the connection is open: the client sees its HTTP
    status, and the code goes to the ASGI server alone. `refused_status` is that status where it is not the
    one of its advice.
    """

    code: int
    name: str
    reason: str
    advice: Advice
    portable: int = 0
    before_accept: bool = False
    refused_status: int = 0

    @property
    def portable_code(self) -> int:
        """A code that every ASGI server can send."""
        return self.portable or self.code

    @property
    def status(self) -> int:
        """The HTTP status of a handshake that is refused with it, where the server can say so."""
        return self.refused_status or (403 if self.advice is Advice.STAY_AWAY else 503)


NORMAL: Final = Close(1000, "normal", "", Advice.STAY_AWAY)
UNSUPPORTED_DATA: Final = Close(1003, "unsupported_data", "text frames only", Advice.STAY_AWAY, 4020)
INVALID_TEXT: Final = Close(1007, "invalid_text", "text is not UTF-8", Advice.STAY_AWAY, 4021)
POLICY: Final = Close(1008, "policy", "not allowed", Advice.STAY_AWAY, 4022)
TOO_BIG: Final = Close(1009, "too_big", "message too big", Advice.STAY_AWAY, 4023)
INTERNAL: Final = Close(1011, "internal", "internal error", Advice.LATER, 4110)
RESTART: Final = Close(1012, "restart", "server restarts", Advice.NOW, 4212)

UNAUTHENTICATED: Final = Close(
    4000, "unauthenticated", "credentials missing or wrong", Advice.STAY_AWAY, before_accept=True
)
TERMINATED: Final = Close(4001, "terminated", "the session is bound elsewhere", Advice.STAY_AWAY)
TAKEN_OVER: Final = Close(4002, "taken_over", "another session took the slot", Advice.STAY_AWAY)
KICKED: Final = Close(4003, "kicked", "disconnected by an operator", Advice.STAY_AWAY)
EXPIRED: Final = Close(4005, "expired", "credentials expired", Advice.STAY_AWAY)
FORBIDDEN: Final = Close(4006, "forbidden", "not permitted", Advice.STAY_AWAY)
ORIGIN: Final = Close(4007, "origin", "origin not allowed", Advice.STAY_AWAY, before_accept=True)
MALFORMED: Final = Close(4009, "malformed", "not this protocol", Advice.STAY_AWAY)
REVOKED: Final = Close(4008, "revoked", "credentials revoked", Advice.STAY_AWAY)
TOKEN_UNREGISTERED: Final = Close(4403, "token_unregistered", "token was unregistered", Advice.STAY_AWAY)

SLOW: Final = Close(4100, "slow", "reader too slow", Advice.LATER)
LIMITED: Final = Close(4101, "limited", "beyond a rate limit", Advice.LATER, refused_status=429)
CROWDED: Final = Close(4102, "crowded", "too many connections", Advice.LATER, before_accept=True)
UNAVAILABLE: Final = Close(4103, "unavailable", "a backing service is down", Advice.LATER)
SILENT: Final = Close(4104, "silent", "no PONG came", Advice.LATER)

GAP: Final = Close(4200, "gap", "messages may have been lost", Advice.NOW)


def kicked(code: int, reason: str) -> Close:
    """The close of an operator, with a code of its own from 4000 to 4999, whose range is the advice."""
    ranges = {41: Advice.LATER, 42: Advice.NOW}
    return Close(code, KICKED.name, reason, ranges.get(code // 100, Advice.STAY_AWAY))


CLOSES: Final = tuple(value for value in globals().values() if isinstance(value, Close))
BY_CODE: Final = {close.code: close for close in CLOSES}
REGISTERED: Final = range(1000, 1016)
"""Codes that RFC 6455 and its registry at IANA know."""


def known_code(code: int) -> str:
    """A code as a label of metrics; `other` for one of 2,000 that clients and operators may make up."""
    return str(code) if code in BY_CODE or code in REGISTERED else "other"


class Loss(StrEnum):
    """Why a message did not reach somebody: the `reason` label of `switchboard_lost_total`."""

    SLOW = "slow"
    CLOSED = "closed"
    FAILED = "failed"
    LAYER_DOWN = "layer_down"
    LAYER_BACKLOG = "layer_backlog"
    LAYER_GAP = "layer_gap"
    UNENCODABLE = "unencodable"
    STORE_DOWN = "store_down"
    WORKER_DIED = "worker_died"
    """What a worker had taken and not sent yet when it died: one for each of the others that has seen it, as
    nobody knows how many messages it was."""
    UNREPORTED = "unreported"
    """Webhooks are not told of a message."""


class Refusal(StrEnum):
    """Why something a client sent was refused: the `reason` label of `switchboard_refused_total`."""

    HOST = "host"
    ORIGIN = "origin"
    PATH = "path"
    GATE = "gate"
    RATE = "rate"
    CROWDED = "crowded"
    TOO_BIG = "too_big"
    BINARY = "binary"
    MALFORMED = "malformed"
    FORBIDDEN = "forbidden"
    HOOK = "hook"
    REVOKED = "revoked"
    UNAVAILABLE = "unavailable"
    EXCEPTION = "exception"
