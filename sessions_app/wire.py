"""DRISC on the wire: the three actions of a player, the five of the server, and the bodies of the REST side.

Sources: the protocol's page "Client Side Messages" for the actions of a player, "Server Side Messages" for
those of the server. A stock player shows an error on any other action, so there is not a sixth.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import orjson

from routing_app.core.json import NotJSON, loads
from routing_app.core.strings import is_clean

MAX_NAME: Final = 100
"""Characters of a session's name ("Initiate Session")."""
MAX_STRING: Final = 255
MAX_VICTIMS: Final = 100


class Malformed(ValueError):
    """A frame is not one of the three messages that a player may send."""


class BadRequest(ValueError):
    """A body cannot be understood; the message is for the caller."""


class Action(StrEnum):
    """An action of a player."""

    REQUESTED = "REQUESTED"
    PONG = "PONG"
    FINISHED = "FINISHED"


OK: Final = '{"action":"OK"}'
EXPIRED: Final = '{"action":"EXPIRED"}'
PING: Final = '{"action":"PING"}'
TERMINATE: Final = '{"action":"TERMINATE"}'


def take_over(session_name: str) -> str:
    """The message to a victim; `session_name` is the name of the session that takes its place."""
    return orjson.dumps({"action": "TAKE_OVER", "sessionName": session_name}).decode()


def parse(text: str) -> Action:
    """The action of a frame; other members of the object are ignored. Raises Malformed."""
    try:
        message = loads(text, surrogates=False)
    except NotJSON:
        raise Malformed("not JSON") from None
    action: Any = message.get("action") if isinstance(message, dict) else None
    try:
        return Action(action)
    except ValueError:
        raise Malformed("no action that a player may send") from None


@dataclass(frozen=True, slots=True)
class Wanted:
    """The session a player asks for; every string may be empty, but one of `offer_id` and `tag` is not."""

    name: str = ""
    offer_id: str = ""
    tag: str = ""
    content_id: str = ""
    device_id: str = ""
    device_name: str = ""
    device_type: str = ""

    @property
    def display_name(self) -> str:
        """The name that other players are shown."""
        return self.name or self.offer_id or self.tag


FIELDS: Final = {
    "sessionName": ("name", MAX_NAME),
    "offerId": ("offer_id", MAX_STRING),
    "tag": ("tag", MAX_STRING),
    "contentId": ("content_id", MAX_STRING),
    "deviceId": ("device_id", MAX_STRING),
    "deviceName": ("device_name", MAX_STRING),
    "deviceType": ("device_type", MAX_STRING),
}
"""Members of the body of `POST /sessions`: the field each one fills, and its longest value."""


def parse_create(body: bytes) -> Wanted:
    """The body of `POST /sessions`. Raises BadRequest."""
    return _wanted(_json_object(body))


def parse_takeover(body: bytes) -> tuple[Wanted, tuple[str, ...]]:
    """The body of `POST /takeover`: what is wanted, and the ids of the sessions to end. Raises BadRequest."""
    members = _json_object(body)
    return _wanted(members), _victims(members)


def members_of(wanted: Wanted, victims: Iterable[str] | None = None) -> dict[str, Any]:
    """The body that asks for this, without members that are empty, and with `sessionIds` for one or many."""
    given = {name: getattr(wanted, field) for name, (field, _) in FIELDS.items()}
    body: dict[str, Any] = {name: value for name, value in given.items() if value}
    return body if victims is None else body | {"sessionIds": list(victims)}


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        members = loads(body, surrogates=False)
    except NotJSON:
        raise BadRequest("The body is not JSON.") from None
    if not isinstance(members, dict):
        raise BadRequest("The body is not a JSON object.")
    return members


def _wanted(members: Mapping[str, Any]) -> Wanted:
    strings = {field: _string(members, name, longest) for name, (field, longest) in FIELDS.items()}
    wanted = Wanted(**strings)
    if bool(wanted.offer_id) == bool(wanted.tag):
        raise BadRequest("Exactly one of offerId and tag is needed.")
    return wanted


def _string(members: Mapping[str, Any], name: str, longest: int) -> str:
    value = members.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadRequest(f"{name} must be a string.")
    if len(value) > longest:
        raise BadRequest(f"{name} has more than {longest} characters.")
    if not is_clean(value):
        raise BadRequest(f"{name} has control characters.")
    return value


def _victims(members: Mapping[str, Any]) -> tuple[str, ...]:
    one, many = members.get("sessionId"), members.get("sessionIds")
    if (one is None) == (many is None):
        raise BadRequest("Exactly one of sessionId and sessionIds is needed.")
    ids = [one] if many is None else many
    if not isinstance(ids, list) or not all(isinstance(id, str) for id in ids):
        raise BadRequest("sessionId must be a string, sessionIds a list of strings.")
    if not 0 < len(ids) <= MAX_VICTIMS:
        raise BadRequest(f"sessionIds names 1 to {MAX_VICTIMS} sessions.")
    return tuple(dict.fromkeys(ids))


def granted(endpoint: str, session_id: str, session_name: str) -> dict[str, Any]:
    """Answer 200 to a create or takeover."""
    return {"endpoint": endpoint, "enabled": True, "sessionId": session_id, "sessionName": session_name}


DISABLED: Final = {"status": "disabled", "message": "Session tracking disabled.", "enabled": False}
"""Answer 200 when the publisher does not track: the player plays as if granted. The documentation tests
`status`, the reference client `enabled`."""


def active_session(session_id: str, wanted: Wanted, started_at: datetime) -> dict[str, Any]:
    """A session in a list of the player's own; the reference client shows `name`."""
    listed = {"sessionId": session_id, "name": wanted.display_name, "startedAt": started_at.isoformat()}
    optional = {name: getattr(wanted, field) for name, (field, _) in FIELDS.items() if name != "sessionName"}
    return listed | {name: value for name, value in optional.items() if value}


def limit_exceeded(
    message: str, take_over_enabled: bool, limit: int, active_sessions: Iterable[dict[str, Any]]
) -> dict[str, Any]:
    """Answer 409: a limit is reached. `active_sessions` is left empty where takeover is off."""
    details = {
        "takeOverEnabled": take_over_enabled,
        "limit": limit,
        "activeSessions": list(active_sessions) if take_over_enabled else [],
    }
    return {"code": "LimitExceeded", "message": message, "details": details}


def error(code: str, message: str) -> dict[str, Any]:
    """Every other refusal; without `details`, which players read as those of a limit."""
    return {"code": code, "message": message}
