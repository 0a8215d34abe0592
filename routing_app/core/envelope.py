"""What crosses the channel layer: one dict with a kind, its sender, and the content of its kind.

| kind | content | says |
|---|---|---|
| items | number, items | publications for one address, in order |
| probe | number | nothing: its echo proves that a subscription is in force |
| hello | | its sender is new, and wants to hear heartbeats |
| heartbeat | number | its sender lives; all its envelopes up to this have left, or were announced |
| unsent | | some envelopes of its sender never left: ask for them |
| ask | after | to each process named: send again everything numbered above this |
| replay | entries, complete | what was asked for: `[number, items]` each, and whether that is all of it |
| goodbye | | its sender ends in order; nothing is missing |
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
"""What serializers raise for a value that they have no form for; layers raise others for lost connections."""


def armour(items: list[Any]) -> list[Any] | None:
    """Items as JSON texts, for values that the layer's serializer has no form for.

    Such are numbers beyond 64 bits, lone surrogates and deep nesting: all of them legal in JSON. None when
    they were armoured already; items that JSON cannot hold either are lost, and counted.
    """
    plain = [item for item in items if not isinstance(item, str)]
    texts = [text for item in plain if (text := _as_json(item)) is not None]
    metrics.LOST.labels(Loss.UNENCODABLE).inc(len(items) - len(texts))
    return texts or None


def _as_json(packed: list[Any]) -> str | None:
    try:
        return json.dumps(packed)
    except Exception:
        logger.exception("a publication cannot be encoded for other processes")
        return None
