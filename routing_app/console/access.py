"""Who may see which page and topic, and do which act: members of the staff, by Django's permissions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from routing_app.core.access import masking, staff, staff_sessions
from routing_app.core.access.masking import SecretAccess
from routing_app.core.delivery.connection import Connection

VIEW_CONNECTIONS: Final = "core.view_connectionrecord"
VIEW_WORKERS: Final = "core.view_workerrecord"
VIEW_WEBHOOKS: Final = "core.view_webhook"
VIEW_SETTINGS: Final = "core.view_settings"
VIEW_SESSIONS: Final = "sessions_app.view_session"
VIEW_MESSAGES: Final = staff.VIEW_MESSAGES
PUBLISH: Final = staff.PUBLISH
DISCONNECT: Final = staff.DISCONNECT
REVOKE: Final = "core.add_revocation"
TRACE: Final = "core.trace"
READ_BODIES: Final = "core.read_bodies"
DRAIN: Final = "core.drain_worker"

ACTS: Final = {
    "disconnect": DISCONNECT,
    "revoke": REVOKE,
    "publish": PUBLISH,
    "trace": TRACE,
    "bodies": READ_BODIES,
    "messages": VIEW_MESSAGES,
    "drain": DRAIN,
    "connections": VIEW_CONNECTIONS,
    "webhooks": VIEW_WEBHOOKS,
    "change-webhook": "core.change_webhook",
    "workers": VIEW_WORKERS,
    "end-session": "sessions_app.change_session",
    "session-history": "sessions_app.view_sessionevent",
    "limits": "sessions_app.view_limit",
    "hooks": "core.view_hook",
    "change-hook": "core.change_hook",
    "withdraw": "core.delete_scheduledmessage",
}
"""Act that a page offers -> the permission that it needs. REST and topics check it again."""


@dataclass(frozen=True, slots=True)
class Member:
    """A member of the staff with the permissions of this moment."""

    name: str
    permissions: frozenset[str]
    secrets: SecretAccess


@dataclass(eq=False, slots=True)
class Viewer:
    """The user of one open console, on one socket."""

    session: str
    member: Member
    connection: Connection

    @property
    def user(self) -> str:
        """The name of the user."""
        return self.member.name

    def has_perm(self, name: str) -> bool:
        """True while the user has a permission; it is looked at again every three seconds."""
        return name in self.member.permissions

    def is_another(self, member: Member) -> bool:
        """True when permissions have changed."""
        return member != self.member


def member_of(session: str) -> Member | None:
    """The member of the staff whose session this is now; None for every other session. Uses the ORM."""
    user: Any = staff_sessions.member(session)
    if user is None:
        return None
    return Member(str(user), frozenset(user.get_all_permissions()), masking.of_user(user))


def members(sessions: Iterable[str]) -> dict[str, Member | None]:
    """The same for several sessions. Uses the ORM."""
    return {session: member_of(session) for session in sessions}


def acts_of(user: Any) -> list[str]:
    """Names of the acts that a user may do. Uses the ORM."""
    return [act for act, permission in ACTS.items() if user.has_perm(permission)]
