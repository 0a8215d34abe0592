"""What stands behind each page: topics of its socket, and calls of REST with their permissions.

Calls are `METHOD path` below `/api/`, in which `{}` is one row.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

CONNECTIONS: Final = "core.view_connectionrecord"
SESSIONS: Final = "sessions_app.view_session"
HISTORY: Final = "sessions_app.view_sessionevent"
LIMITS: Final = "sessions_app.view_limit"
WEBHOOKS: Final = "core.view_webhook"
CHANGE_WEBHOOK: Final = "core.change_webhook"


@dataclass(frozen=True)
class Behind:
    """Topics, and the permission that each call needs."""

    topics: frozenset[str] = frozenset()
    calls: dict[str, str] = field(default_factory=dict)


PUBLISH: Final = {"POST publish": "core.publish"}
DISCONNECT: Final = {"POST disconnect": "core.change_connectionrecord"}

BEHIND: Final = {
    "overview": Behind(frozenset({"overview"})),
    "connections": Behind(frozenset({"connections"})),
    "connection": Behind(
        frozenset({"connection"}), PUBLISH | DISCONNECT | {"POST revocations/": "core.add_revocation"}
    ),
    "addresses": Behind(frozenset({"addresses"})),
    "address": Behind(frozenset({"address"}), PUBLISH | DISCONNECT),
    "trace": Behind(frozenset({"trace"})),
    "try": Behind(calls=PUBLISH),
    "sessions": Behind(
        frozenset({"sessions"}),
        calls={
            "GET sessions/": SESSIONS,
            "GET sessions/totals": SESSIONS,
            "GET sessions/download": SESSIONS,
            "GET sessions/history": HISTORY,
            "GET sessions/history/download": HISTORY,
            "GET sessions/usage": HISTORY,
            "GET sessions/usage/download": HISTORY,
            "GET publishers/{}/limits/": LIMITS,
            "GET publishers/{}/limits/reached": SESSIONS,
            "GET publishers/{}/limits/try": SESSIONS,
            "DELETE sessions/{}/": "sessions_app.change_session",
            "POST sessions/end": "sessions_app.change_session",
        },
    ),
    "webhooks": Behind(
        calls={
            "GET webhooks/": WEBHOOKS,
            "GET webhooks/states": WEBHOOKS,
            "GET webhooks/{}/deliveries": WEBHOOKS,
            "PATCH webhooks/{}/": CHANGE_WEBHOOK,
            "POST webhooks/{}/test": CHANGE_WEBHOOK,
            "POST webhooks/{}/replay": CHANGE_WEBHOOK,
            "POST webhooks/{}/rotate": CHANGE_WEBHOOK,
            "POST deliveries/{}/replay": CHANGE_WEBHOOK,
        }
    ),
    "hooks": Behind(
        calls={
            "GET hooks/": "core.view_hook",
            "GET hooks/states": "core.view_hook",
            "PATCH hooks/{}/": "core.change_hook",
        }
    ),
    "scheduled": Behind(
        calls={
            "GET scheduled/": "core.view_scheduledmessage",
            "DELETE scheduled/{}/": "core.delete_scheduledmessage",
        }
    ),
    "workers": Behind(frozenset({"workers"}), {"POST workers/{}/drain": "core.drain_worker"}),
    "audit": Behind(
        calls={"GET audit/": "core.view_auditentry", "GET audit/download": "core.view_auditentry"}
    ),
    "settings": Behind(frozenset({"settings"})),
}
