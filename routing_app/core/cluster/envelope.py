"""The envelope that crosses the channel layer: one dict with a kind, its sender, and the content of its kind.

| kind | content | says |
|---|---|---|
| items | number, hole, items | publications for one address, in order, each with the time it was published |
| probe | number | nothing: its echo proves that a subscription is in force |
| hello | number, hole, at, next | its sender is new, or waits for the receiver, and wants a heartbeat |
| heartbeat | number, hole, at, next | its sender lives, and `number` was its last envelope |
| ask | after | to the process named: `[number, seconds, round]`, send again what is above and not older |
| replay | round, entries, last, number, lost_at, at | what was asked for: `[number, items]` each |
| goodbye | number, hole, at, next, unsent | its sender ends in order; whether it could not send something |

`hole` is the last envelope that never left live: a process that has not got it asks. It is None, but in a
goodbye, from a process that receives nothing, and cannot be asked. `at` is the clock of the sender, and times
are by that clock; its next heartbeat follows within `next` seconds. With the last part of a replay everything
up to `number` is answered for; lost publications are from before `lost_at`.
"""

from __future__ import annotations

import json
import logging
from typing import Any, Final

from routing_app.core import metrics
from routing_app.core.codes import Loss

logger = logging.getLogger(__name__)

Envelope = dict[str, Any]

UNENCODABLE: Final = (TypeError, ValueError, ArithmeticError, RecursionError)
"""Errors of serializers for a value without a form; layers raise others for lost connections."""


def armour(items: list[Any]) -> bool:
    """Put JSON strings in the place of items, for values that the layer's serializer has no form for.

    Such are numbers beyond 64 bits, lone surrogates and deep nesting: all of them legal in JSON. Items that
    JSON cannot hold either are lost, counted and taken out; so are those that were armoured before, and are
    refused all the same. False when nothing is left.
    """
    strings = []
    for item in items:
        if isinstance(item, str):
            continue
        try:
            strings.append(json.dumps(item))
        except Exception:
            logger.exception("a publication cannot be encoded for other processes")
    metrics.LOST.labels(Loss.UNENCODABLE).inc(len(items) - len(strings))
    items[:] = strings
    return bool(strings)
