"""The pages of the console, in the order of the menu.

A page is one entry here, a template, and a module `static/console/js/pages/<name>.js`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from django.urls import reverse

from routing_app.console import try_it
from routing_app.console.access import TRACE, VIEW_CONNECTIONS, VIEW_SESSIONS, VIEW_SETTINGS, VIEW_WORKERS


@dataclass(frozen=True, slots=True)
class Page:
    """One page."""

    name: str
    """Of its route, its template `console/<name>.html`, and its module `pages/<name>.js`."""
    path: str
    """Below `/console/`, as Django's `path` takes it."""
    title: str
    permission: str = ""
    """That it needs beside staff; empty: none."""
    group: str = ""
    """The heading in the menu that it stands under; empty: it is not in the menu."""
    within: str = ""
    """The page that the menu shows as current where this one is not in the menu."""
    context: Callable[[], dict[str, Any]] = dict
    """What its template needs beside what every page has."""

    @property
    def template(self) -> str:
        """Name of its template."""
        return f"console/{self.name}.html"

    @property
    def module(self) -> str:
        """Path of its module among the static files."""
        return f"console/js/pages/{self.name}.js"

    def may(self, user: Any) -> bool:
        """True when a member of the staff may see it. Uses the ORM."""
        return not self.permission or user.has_perm(self.permission)


LIVE, CLIENTS, SERVER = "Live", "Clients and backends", "Server"

PAGES: Final = (
    Page("overview", "", "Overview", group=LIVE),
    Page("connections", "connections/", "Connections", VIEW_CONNECTIONS, LIVE),
    Page("connection", "connections/<str:id>/", "Connection", VIEW_CONNECTIONS, within="connections"),
    Page("addresses", "addresses/", "Addresses", VIEW_CONNECTIONS, LIVE),
    Page("address", "addresses/one/", "Address", VIEW_CONNECTIONS, within="addresses"),
    Page("trace", "trace/", "Trace", TRACE, LIVE),
    Page("try", "try/", "Try it", group=LIVE, context=try_it.context),
    Page("sessions", "sessions/", "Sessions", VIEW_SESSIONS, CLIENTS),
    Page("webhooks", "webhooks/", "Webhooks", "core.view_webhook", CLIENTS),
    Page("hooks", "hooks/", "Hooks", "core.view_hook", CLIENTS),
    Page("scheduled", "scheduled/", "Scheduled", "core.view_scheduledmessage", CLIENTS),
    Page("workers", "workers/", "Workers", VIEW_WORKERS, SERVER),
    Page("audit", "audit/", "Audit", "core.view_auditentry", SERVER),
    Page("settings", "settings/", "Settings", VIEW_SETTINGS, SERVER),
)


def menu_of(user: Any, current: Page) -> list[dict[str, Any]]:
    """Groups with their pages, those that a user may see: `{"title", "pages": [{"page", "url", "current"}]}`.

    Uses the ORM.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for page in PAGES:
        if page.group and page.may(user):
            current_one = page.name in (current.name, current.within)
            entry = {"page": page, "url": reverse(f"console:{page.name}"), "current": current_one}
            groups.setdefault(page.group, []).append(entry)
    return [{"title": title, "pages": pages} for title, pages in groups.items()]
