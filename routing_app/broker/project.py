"""What a Django project needs to have the broker in it: apps, settings, URLs and the ASGI application.

A project's `settings.py` imports it, so what needs settings or models is imported where it is used.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Mapping
from typing import Any, Final

from routing_app.broker.stores import SQLITE_OPTIONS

DEFAULTS: Final = "routing_app.broker.defaults"
APPS: Final = (
    "routing_app.broker.apps.BrokerConfig",
    "routing_app.core.apps.CoreConfig",
    "routing_app.tokens.apps.TokensConfig",
    "sessions_app.apps.SessionsConfig",
    "routing_app.rooms.apps.RoomsConfig",
    "routing_app.events.apps.EventsConfig",
    "routing_app.requests.apps.RequestsConfig",
    "routing_app.stream.apps.StreamConfig",
    "routing_app.console.apps.ConsoleConfig",
)
BEFORE: Final = ("routing_app.core.rest.nul.NulMiddleware",)
BEHIND: Final = (
    "routing_app.core.rest.middleware.OutageMiddleware",
    "routing_app.core.audit.middleware.AuditMiddleware",
)
SQLITE: Final = "django.db.backends.sqlite3"
VALIDATOR: Final = {"NAME": "routing_app.events.passwords.RevokeOnChange"}


def apps() -> list[str]:
    """The broker's apps, for INSTALLED_APPS: none that a project may have as well."""
    return list(APPS)


def settings(own: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The settings of the broker, and of others as it needs them, for a project's `settings.py`.

    `own` are the settings that the project has made before; by default the names of the module that calls.
    Names of `own` win: over the environment where the broker reads them, and over defaults for others. Of
    lists that both fill, both have their part. Raises ImproperlyConfigured.
    """
    own = sys._getframe(1).f_globals if own is None else own
    read = runpy.run_module(DEFAULTS, init_globals={"OWN": own})
    made = {name: value for name, value in read.items() if name.isupper() and name != "OWN"}
    ours = {option.name for option in made["SWITCHBOARD_ENVIRONMENT"].options}
    kept = {name: own[name] for name in made.keys() & own.keys() if name not in ours and own[name]}
    return made | kept | _merged(made, own)


def _merged(made: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """What the project has set, with what the broker needs in it."""
    merged: dict[str, Any] = {}
    if databases := own.get("DATABASES"):
        merged["DATABASES"] = {**databases, "default": _database(databases["default"])}
    if middleware := own.get("MIDDLEWARE"):
        others = [name for name in middleware if name not in (*BEFORE, *BEHIND)]
        merged["MIDDLEWARE"] = [*BEFORE, *others, *BEHIND]
    if (validators := own.get("AUTH_PASSWORD_VALIDATORS")) is not None:
        merged["AUTH_PASSWORD_VALIDATORS"] = [*(one for one in validators if one != VALIDATOR), VALIDATOR]
    if rest := own.get("REST_FRAMEWORK"):
        schema = made["REST_FRAMEWORK"]["DEFAULT_SCHEMA_CLASS"]
        merged["REST_FRAMEWORK"] = {"DEFAULT_SCHEMA_CLASS": schema, **rest}
    return merged


def _database(database: Mapping[str, Any]) -> dict[str, Any]:
    """A database of the project: SQLite with the options that threads need, where it says no other."""
    if database.get("ENGINE") != SQLITE:
        return dict(database)
    return {**database, "OPTIONS": {**SQLITE_OPTIONS, **database.get("OPTIONS", {})}}


def urls(prefix: str = "") -> list[Any]:
    """Django's patterns of the broker, below a prefix such as `broker/`; the form API stands at its root.

    Sockets, `/socket.io/`, `/api/stream` and `/health/` are no patterns: they stand at their paths whatever
    the prefix is.
    """
    from django.urls import include, path

    from routing_app.broker.urls import urlpatterns
    from routing_app.core.rest import mount

    words = prefix.strip("/")
    mount.place(f"/{words}" if words else "", urlpatterns)
    return [path(f"{words}/", include(urlpatterns))] if words else list(urlpatterns)


def asgi(application: Any, *, whole_site: bool = False) -> Any:
    """The application to serve: the broker before a Django project's own ASGI application.

    That may be Channels' `ProtocolTypeRouter`: it is then given the WebSockets of paths that no protocol has.
    With `whole_site` the project's own pages, too, hold to what the broker's paths hold to: ALLOWED_HOSTS,
    revoked networks, the limit of bodies, compression.
    """
    from routing_app.broker.application import join

    return join(application, whole_site)
