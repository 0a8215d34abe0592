"""Binary data within the messages of Socket.IO clients, as the rest of the server carries it.

A buffer becomes the JSON object `{"_base64": "..."}`, which plain sockets, REST and other protocols read, and
the publication says where such objects stand: there Socket.IO clients receive buffers. An object that came as
JSON stays one.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterable
from typing import Any

from routing_app.core.delivery.publication import Path
from routing_app.engineio.socketio import wire


class Base64(dict[str, str]):
    """Binary data as JSON, apart from an object that a client wrote so."""


def as_json(arguments: list[Any]) -> None:
    """Turn all `bytes` within the arguments of an event into Base64."""
    wire.put(arguments, lambda value: Base64(wire.base64_object(value)) if type(value) is bytes else None)


def paths(message: Any) -> tuple[Path, ...]:
    """Where Base64 objects stand in a message."""
    found: list[Path] = []
    # Each value with its key and its parent, so that only the paths that are wanted are written out: a
    # message may be nested deeply.
    waiting: list[tuple[Any, Any]] = [(message, None)]
    while waiting:
        value, way = waiting.pop()
        if isinstance(value, Base64):
            found.append(_written_out(way))
        elif isinstance(value, dict | list):
            waiting += [(child, (key, way)) for key, child in wire.items(value)]
    return tuple(found)


def _written_out(way: Any) -> Path:
    keys = []
    while way is not None:
        key, way = way
        keys.append(key)
    return tuple(reversed(keys))


def as_bytes(message: Any, paths: Iterable[Path]) -> Any:
    """A copy of a message with `bytes` at these paths; parts without any are shared with the message."""
    top = [message]
    copied: set[int] = set()
    for path in paths:
        parent: Any = top
        key: Any = 0
        for next_key in path:
            if id(parent[key]) not in copied:
                parent[key] = parent[key].copy()
                copied.add(id(parent[key]))
            parent, key = parent[key], next_key
        parent[key] = b64decode(parent[key][wire.BASE64])
    return top[0]


def carried_over(before: Any, after: Any) -> Any:
    """A message in place of another: it has binary data where that had some, and it has the JSON of some."""
    top = [after]
    for path in paths(before):
        parent: Any = top
        key: Any = 0
        try:
            for next_key in path:
                parent, key = parent[key], next_key
            data = b64decode(parent[key][wire.BASE64], validate=True)
        except (LookupError, TypeError, ValueError):
            continue  # it is something else now
        parent[key] = Base64(wire.base64_object(data))
    return top[0]
