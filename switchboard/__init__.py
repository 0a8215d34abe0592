"""Switchboard for people who write code on it: everything public, from one place.

| name | is |
|---|---|
| `publish`, `publish_sync` | send a message to addresses of any protocol |
| `publish_on_commit` | the same when the transaction has committed |
| `publish_later` | the same at a time, or after a delay |
| `walker`, `RootId` | make a function a walker of the events protocol, and type a field that is a user |
| `report`, `current`, `node` | inside a walker: answer, see caller and node, register finders of nodes |
| `notify_users`, `notify_channels`, `notify_clients`, `notify_self` | send to its clients |
| `on_message`, `on_request`, `Context`, `RequestDenied` | handlers of the requests protocol |
| `on_connection`, `on_close`, `on_error` | the same for connections and failures |
| `connection` | a client of the requests protocol, on any worker |
| `apps`, `settings`, `urls`, `asgi` | have the broker in a Django project of your own |
| `Protocol`, `Consumer`, `Refused`, `Refusal` | make a protocol of your own |
| `Publication`, `MESSAGE` | encode a message for its clients |
| `AddressKind`, `AddressError`, `make_address` | give it addresses |
| `Section`, `Unsafe` | have its rows in the file of `export`, and its settings looked at by `doctor` |

Names are imported when they are first used, so that this module can be imported before Django is set up.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from routing_app import __version__ as __version__

if TYPE_CHECKING:
    from routing_app.broker.project import apps, asgi, settings, urls
    from routing_app.core.access.admission import Refused
    from routing_app.core.address import AddressError, AddressKind
    from routing_app.core.address import checked as make_address
    from routing_app.core.codes import Refusal
    from routing_app.core.consumer import Consumer
    from routing_app.core.delivery.publication import MESSAGE, Publication
    from routing_app.core.exports.section import Section
    from routing_app.core.protocol import Protocol
    from routing_app.core.publishing import check_and_publish as publish
    from routing_app.core.publishing import check_and_publish_sync as publish_sync
    from routing_app.core.scheduled.service import publish_later
    from routing_app.core.transactional.service import publish_on_commit
    from routing_app.core.unsafe import Unsafe
    from routing_app.events.nodes import node
    from routing_app.events.notifier import notify_channels, notify_clients, notify_self, notify_users
    from routing_app.events.walker_context import current, report
    from routing_app.events.walkers import RootId, walker
    from routing_app.requests.context import Context
    from routing_app.requests.errors import RequestDenied
    from routing_app.requests.handlers import on_close, on_connection, on_error, on_message, on_request
    from routing_app.requests.remote import connection

__all__ = [
    "MESSAGE",
    "AddressError",
    "AddressKind",
    "Consumer",
    "Context",
    "Protocol",
    "Publication",
    "Refusal",
    "Refused",
    "RequestDenied",
    "RootId",
    "Section",
    "Unsafe",
    "apps",
    "asgi",
    "connection",
    "current",
    "make_address",
    "node",
    "notify_channels",
    "notify_clients",
    "notify_self",
    "notify_users",
    "on_close",
    "on_connection",
    "on_error",
    "on_message",
    "on_request",
    "publish",
    "publish_later",
    "publish_on_commit",
    "publish_sync",
    "report",
    "settings",
    "urls",
    "walker",
]

_NOTIFIER: Final = "routing_app.events.notifier"
_PUBLICATION: Final = "routing_app.core.delivery.publication"
_CONTEXT: Final = "routing_app.events.walker_context"
_PROJECT: Final = "routing_app.broker.project"
_HANDLERS: Final = "routing_app.requests.handlers"
_HOMES: Final = {
    "MESSAGE": (_PUBLICATION, "MESSAGE"),
    "AddressError": ("routing_app.core.address", "AddressError"),
    "AddressKind": ("routing_app.core.address", "AddressKind"),
    "Consumer": ("routing_app.core.consumer", "Consumer"),
    "Context": ("routing_app.requests.context", "Context"),
    "Protocol": ("routing_app.core.protocol", "Protocol"),
    "Publication": (_PUBLICATION, "Publication"),
    "Refusal": ("routing_app.core.codes", "Refusal"),
    "Refused": ("routing_app.core.access.admission", "Refused"),
    "RequestDenied": ("routing_app.requests.errors", "RequestDenied"),
    "RootId": ("routing_app.events.walkers", "RootId"),
    "Section": ("routing_app.core.exports.section", "Section"),
    "Unsafe": ("routing_app.core.unsafe", "Unsafe"),
    "apps": (_PROJECT, "apps"),
    "asgi": (_PROJECT, "asgi"),
    "connection": ("routing_app.requests.remote", "connection"),
    "current": (_CONTEXT, "current"),
    "make_address": ("routing_app.core.address", "checked"),
    "node": ("routing_app.events.nodes", "node"),
    "notify_channels": (_NOTIFIER, "notify_channels"),
    "notify_clients": (_NOTIFIER, "notify_clients"),
    "notify_self": (_NOTIFIER, "notify_self"),
    "notify_users": (_NOTIFIER, "notify_users"),
    "on_close": (_HANDLERS, "on_close"),
    "on_connection": (_HANDLERS, "on_connection"),
    "on_error": (_HANDLERS, "on_error"),
    "on_message": (_HANDLERS, "on_message"),
    "on_request": (_HANDLERS, "on_request"),
    "publish": ("routing_app.core.publishing", "check_and_publish"),
    "publish_later": ("routing_app.core.scheduled.service", "publish_later"),
    "publish_on_commit": ("routing_app.core.transactional.service", "publish_on_commit"),
    "publish_sync": ("routing_app.core.publishing", "check_and_publish_sync"),
    "report": (_CONTEXT, "report"),
    "settings": (_PROJECT, "settings"),
    "urls": (_PROJECT, "urls"),
    "walker": ("routing_app.events.walkers", "walker"),
}
"""Public name -> the module that has it, and its name there."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)
