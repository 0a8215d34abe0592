"""Entry nodes of walkers: the caller's own root, or a node that an app knows how to find.

An app makes rows of its own reachable as nodes, `n:Task:<24 hex digits>`, in its `walkers.py`:

    @node("Task")
    def find_task(hex_id: str) -> Task | None:
        return Task.objects.filter(key=hex_id, owner=current().visitor.user_id).first()

None is "no such node"; `PermissionDenied` (Django's) is "no access". The walker finds the row in
`current().here`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from django.core.exceptions import ImproperlyConfigured, PermissionDenied

from routing_app.events.models import Root
from routing_app.events.walker_context import WalkerCall, running
from routing_app.events.wire import NO_ACCESS, BadReference, reference, root_reference

Finder = Callable[[str], Any]
F = TypeVar("F", bound=Finder)

FINDERS: Final[dict[str, Finder]] = {}


class NoAccess(Exception):
    """The visitor may not enter at this node; the message is the original's."""

    def __init__(self, node: str) -> None:
        super().__init__(NO_ACCESS.format(node))


def node(name: str) -> Callable[[F], F]:
    """Register the finder of the nodes `n:<name>:…`: hex id to object, or None. It may use the ORM."""

    def register(finder: F) -> F:
        if not name or ":" in name or FINDERS.get(name, finder) is not finder:
            raise ImproperlyConfigured(f"the node name {name!r} is malformed or taken")
        FINDERS[name] = finder
        return finder

    return register


def enter(call: WalkerCall) -> None:
    """Fill in `call.here` for the node that `call` names. Uses the ORM.

    Raises BadReference for a node that is malformed or does not exist, NoAccess for one of others.
    """
    kind, name, hex_id = reference(call.node)
    if root_reference(hex_id) == call.visitor.root_id and kind == "n":
        return
    if kind == "n" and name in FINDERS:
        call.here = _find(FINDERS[name], hex_id, call)
    elif kind == "n" and Root.objects.filter(hex_id=hex_id).exists():
        raise NoAccess(root_reference(hex_id))
    else:
        raise BadReference(call.node)


def _find(finder: Finder, hex_id: str, call: WalkerCall) -> Any:
    token = running.set(call)
    try:
        found = finder(hex_id)
    except PermissionDenied:
        raise NoAccess(call.node) from None
    finally:
        running.reset(token)
    if found is None:
        raise BadReference(call.node)
    return found
