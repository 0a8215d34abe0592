"""Switchboard's application, and beside it `/garbage`: what only a garbage collection can free.

`tests.project.garbage:application`, as a server imports it.
"""

from __future__ import annotations

import gc
import json
from collections import Counter
from typing import Any, Final

from django.db.models import Model
from django.views import View
from rest_framework.fields import Field

from broker_project.asgi import application as broker

OURS: Final = ("routing_app", "sessions_app", "switchboard", "switchboard_server")
OF_ONE_REQUEST: Final = (Model, View, Field)
"""Django and DRF tie these to each other; a collection of young objects frees them."""
Scope = dict[str, Any]


async def application(scope: Scope, receive: Any, send: Any) -> None:
    """Serve."""
    if scope["type"] != "http" or scope["path"] != "/garbage":
        await broker(scope, receive, send)
        return
    gc.disable()  # what there is from now on is for the next question
    body = json.dumps(_collect()).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


def _collect() -> dict[str, int]:
    """Collect, and count by type the objects of ours that kept each other alive, beside OF_ONE_REQUEST."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    gc.set_debug(0)
    found, known = list(gc.garbage), {id(one) for one in gc.garbage}
    gc.garbage.clear()
    ours = [one for one in found if type(one).__module__.partition(".")[0] in OURS]
    long = [one for one in ours if not isinstance(one, OF_ONE_REQUEST)]
    return dict(Counter(type(one).__qualname__ for one in long if _keeps_itself(one, known)))


def _keeps_itself(one: object, known: set[int]) -> bool:
    """True when an object refers to itself, over others of the garbage."""
    seen: set[int] = set()
    open = [one]
    while open:
        for other in gc.get_referents(open.pop()):
            if other is one:
                return True
            if id(other) in known and id(other) not in seen:
                seen.add(id(other))
                open.append(other)
    return False
