"""Pusher Channels, protocol 7: JSON text frames with an `event`, and often a `channel` and `data`.

The documentation is at https://pusher.com/docs/channels/library_auth_reference/pusher-websockets-protocol.
Events of the server have `data` as a string of JSON, events of clients as a value.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final

SUBSCRIBE: Final = "pusher:subscribe"
UNSUBSCRIBE: Final = "pusher:unsubscribe"
PING: Final = "pusher:ping"
PONG: Final = '{"event":"pusher:pong","data":"{}"}'
EVENT: Final = "message"
"""Event of a message that names none."""
CHANNEL: Final = re.compile(r"[A-Za-z0-9_\-=@,.;]{1,200}")
CLOSED_PREFIXES: Final = ("private-", "presence-", "cache-")
"""Channels that need a signature, or keep a message: this example has public ones only."""


class BadFrame(ValueError):
    """A frame that is not of this protocol."""


class NoSuchChannel(ValueError):
    """The name of a channel that nobody can subscribe to here."""


@dataclass(frozen=True, slots=True)
class PusherEvent:
    """One frame of a client; `channel` is "" where the event has none."""

    event: str
    channel: str = ""


def parse(text: str) -> PusherEvent:
    """Read a client's frame. Raises BadFrame."""
    try:
        frame = json.loads(text)
        event, data = frame["event"], frame.get("data")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise BadFrame("expected an object with an event") from None
    if not isinstance(event, str):
        raise BadFrame("expected event to be a string")
    channel = data.get("channel", "") if isinstance(data, dict) else ""
    if not isinstance(channel, str):
        raise BadFrame("expected channel to be a string")
    return PusherEvent(event, channel)


def check_channel(name: str) -> str:
    """The name as it is. Raises NoSuchChannel."""
    if not CHANNEL.fullmatch(name):
        raise NoSuchChannel("expected 1 to 200 of the characters A-Z a-z 0-9 _ - = @ , . ;")
    if name.startswith(CLOSED_PREFIXES):
        raise NoSuchChannel("only public channels are served")
    return name


def established(socket_id: str, activity_seconds: int) -> str:
    """The first frame of the server."""
    return _dump("pusher:connection_established", socket_id=socket_id, activity_timeout=activity_seconds)


def subscribed(channel: str) -> str:
    """A subscription is in force."""
    return json.dumps({"event": "pusher_internal:subscription_succeeded", "channel": channel, "data": "{}"})


def not_subscribed(channel: str, reason: str) -> str:
    """A subscription is refused."""
    data = json.dumps({"type": "AuthError", "error": reason, "status": 403})
    return json.dumps({"event": "pusher:subscription_error", "channel": channel, "data": data})


def error(message: str) -> str:
    """Something that the client sent is not of this protocol; the connection stays."""
    return _dump("pusher:error", code=None, message=message)


def delivery(channel: str, message: Any) -> str:
    """A message of a channel: `{"event": …, "data": …}` as it is, anything else as the data of EVENT."""
    event, data = EVENT, message
    if isinstance(message, dict) and isinstance(message.get("event"), str):
        event, data = message["event"], message.get("data")
    return json.dumps({"event": event, "channel": channel, "data": json.dumps(data)})


def _dump(event: str, **data: Any) -> str:
    return json.dumps({"event": event, "data": json.dumps(data)})
