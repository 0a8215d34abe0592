"""Grants as they are now: keys may have been revoked or changed, staff sessions ended, tokens expired."""

from __future__ import annotations

from collections.abc import Collection
from time import time

from routing_app.core.access import keys, staff, staff_sessions
from routing_app.core.access.grants import Grant, GrantKind


def current(held: Collection[Grant]) -> dict[Grant, Grant]:
    """Grants as they are now; those that are missing in the answer are held no longer. Uses the ORM.

    A grant of nobody, or of an access token that has not expired, is as it was. A session whose user has lost
    a permission counts as ended.
    """
    of_keys = keys.grants_now({grant.key_id for grant in held if grant.key_id is not None})
    now = {grant: _now(grant, of_keys) for grant in held}
    return {grant: later for grant, later in now.items() if later is not None}


def _now(grant: Grant, of_keys: dict[int, Grant]) -> Grant | None:
    match grant.kind:
        case GrantKind.KEY:
            return of_keys.get(grant.key_id or 0)
        case GrantKind.STAFF:
            now = staff_grant(grant.session)
            return now if now is not None and now.scopes >= grant.scopes else None
        case _:
            return grant if time() < grant.expires_at else None


def staff_grant(session: str) -> Grant | None:
    """The rights of the member of staff whose session this is now; None where it is nobody's."""
    user = staff_sessions.member(session)
    return None if user is None else staff.grant_of(user, session)
