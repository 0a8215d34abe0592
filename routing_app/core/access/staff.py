"""Rights of a member of the staff: Django's permissions, per model."""

from __future__ import annotations

from typing import Any, Final

from routing_app.core.access import masking
from routing_app.core.access.grants import Grant, GrantKind
from routing_app.core.access.patterns import EVERYTHING, NOTHING
from routing_app.core.models import Scope

VIEW_MESSAGES: Final = "core.view_messages"
PUBLISH: Final = "core.publish"
DISCONNECT: Final = "core.change_connectionrecord"
PERMISSIONS: Final = {
    Scope.READ: VIEW_MESSAGES,
    Scope.PUBLISH: PUBLISH,
    Scope.MANAGE: DISCONNECT,
    Scope.ADMIN: "core.change_apikey",
}
"""The permission that stands for a scope where no model is concerned: over sockets and event streams."""


def grant_of(user: Any, session: str = "") -> Grant:
    """The rights of an active member of the staff as they are now. Uses the ORM."""
    scopes = frozenset(scope.value for scope, permission in PERMISSIONS.items() if user.has_perm(permission))
    return Grant(
        GrantKind.STAFF,
        str(user),
        scopes=scopes,
        subscribe=EVERYTHING if Scope.READ in scopes else NOTHING,
        publish=EVERYTHING if Scope.PUBLISH in scopes else NOTHING,
        secrets=masking.of_user(user),
        session=session,
    )
