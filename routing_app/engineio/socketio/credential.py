"""The credential of a CONNECT: its `auth` (clients 3.x and 4.x), its own query, or that of the session."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from routing_app.core.access import credentials
from routing_app.core.access.bearer import is_token
from routing_app.core.access.credentials import Presented
from routing_app.core.access.keys import PREFIX
from routing_app.core.hooks.question import MASK, SECRET_FIELDS
from routing_app.engineio.session import EngineSession
from routing_app.engineio.socketio.wire import Packet

TOKEN_FIELD: Final = "token"  # noqa: S105 - a name
"""An access token or an API key, as clients of Socket.IO name it by habit."""


def presented_by(packet: Packet, session: EngineSession, needed: bool) -> Presented | None:
    """The credential that a client connects to a namespace with; None without one.

    `needed`: nobody is let in without.
    """
    of_query = _of_auth if needed else _of_query
    return (
        _of_auth(packet.data or {}) or of_query(packet.query) or session.credential or of_query(session.query)
    )


def without_credentials(auth: Mapping[str, Any]) -> dict[str, Any]:
    """The payload of a CONNECT as a backend is told it."""
    return {name: MASK if name in SECRET_FIELDS else value for name, value in auth.items()}


def _of_auth(fields: Mapping[str, Any]) -> Presented | None:
    """`token`, or the fields that every protocol takes. What is not a string is nobody's credential."""
    if value := fields.get(TOKEN_FIELD):
        return credentials.of_either_kind(value if isinstance(value, str) else "")
    return _of_fields(fields)


def _of_query(fields: Mapping[str, Any]) -> Presented | None:
    """The same, but of a `token` that looks like one of ours: older clients have such a field for their own
    ends, and are let in with it.
    """
    value = fields.get(TOKEN_FIELD)
    if isinstance(value, str) and (is_token(value) or value.startswith(PREFIX)):
        return credentials.of_either_kind(value)
    return _of_fields(fields)


def _of_fields(fields: Mapping[str, Any]) -> Presented | None:
    strings = {name: value for name, value in fields.items() if isinstance(value, str)}
    return credentials.of_fields(strings)
