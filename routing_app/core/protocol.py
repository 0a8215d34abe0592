"""A protocol as one object: everything of it that the rest of the code has to know.

An installed app that serves a protocol has a module `protocol.py` with one subclass of `Protocol`. It is
found as Django's admin finds `admin.py`; nothing else names it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import module_has_submodule

from routing_app.core import address
from routing_app.core.address import AddressKind

if TYPE_CHECKING:
    from routing_app.core.askable import Askable
    from routing_app.core.delivery.connection import Encoder
    from routing_app.core.worker import Worker

NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,15}")
"""It is a metrics label, a column of 16 characters, and in capitals the prefix of settings."""


class Protocol:
    """One protocol; each worker makes an instance, which holds the protocol's state in this process.

    `sockets` maps a path to a consumer class, or to an ASGI application that serves every WebSocket and every
    HTTP request of that path by itself (Engine.IO's endpoint is one).
    """

    name: ClassVar[str] = ""
    """Metrics label, presence column, prefix of settings, key of `worker.protocols`."""
    label: ClassVar[str] = ""
    """For people; empty: the name."""
    default_origins: ClassVar[str] = "self"
    """The default of `<NAME>_ORIGINS`: `self`, `*`, or origins with commas."""
    sockets: ClassVar[Mapping[str, Any]] = {}
    http: ClassVar[Mapping[str, Any]] = {}
    """Path -> ASGI application of its HTTP requests, which are not Django's: an answer may take hours."""
    urls: ClassVar[str | Sequence[Any]] = ()
    """HTTP paths, as Django's `include` takes them: a module, or a list. It has those of `fast_urls`, too."""
    fast_urls: ClassVar[Sequence[Any]] = ()
    """HTTP paths with asynchronous views that need nothing of Django's middleware, and are spared it."""
    addresses: ClassVar[Mapping[str, AddressKind]] = {}
    """Kind of address -> how its names are checked, and what may be done with them."""
    encoder: ClassVar[Encoder | None] = None
    """A publication as this protocol's clients read it."""
    secret_permission: ClassVar[str] = ""
    """The Django permission, such as `app.change_model`, whose holders see identities and secret addresses
    whole, where these let a client in. Others see them masked. Empty: identities are not secret."""
    keep_rows_seconds: ClassVar[float] = 0.0
    """The row of a worker that is gone stays so much longer: rows of the protocol hang on it."""
    api: ClassVar[Mapping[str, Any]] = {}
    """Operators' REST: prefix below `/api/` -> viewset."""
    openapi_tag: ClassVar[str] = ""
    """The group of its paths in the OpenAPI document; empty: the name."""
    openapi: ClassVar[Callable[[dict[str, Any]], None] | None] = None
    """Adds to the OpenAPI document what its generator cannot see."""
    console_panel: ClassVar[str] = ""
    """Name of a template that `/console/` shows for this protocol."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker

    async def start(self) -> None:
        """Begin what runs beside the connections, before the worker serves its first one."""

    async def stop(self) -> None:
        """End it; the worker cancels afterwards what it was given to spawn."""

    def askable(self, id: str) -> Askable | None:
        """The connection of that id in this process, where its client can be asked and sent to."""
        return None


_registered: dict[str, type[Protocol]] = {}


def registered() -> tuple[type[Protocol], ...]:
    """The protocols of the installed apps, in the order of the apps."""
    return tuple(_registered.values())


def find(name: str) -> type[Protocol] | None:
    """The protocol of that name, if its app is installed."""
    return _registered.get(name)


def discover() -> tuple[type[Protocol], ...]:
    """Import `protocol.py` of every installed app, and register the protocols that are defined there.

    Raises ImproperlyConfigured for a protocol that is not whole, or takes what another one has.
    """
    for app in apps.get_app_configs():
        if module_has_submodule(app.module, "protocol"):
            for protocol in _defined_in(f"{app.name}.protocol"):
                register(protocol)
    return registered()


def _defined_in(name: str) -> list[type[Protocol]]:
    module = import_module(name)
    return [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Protocol)
        and value is not Protocol
        and value.__module__ == name
    ]


def register(protocol: type[Protocol]) -> None:
    """Make a protocol known; a second time changes nothing. Raises ImproperlyConfigured."""
    if _registered.get(protocol.name) is protocol:
        return
    if not NAME.fullmatch(protocol.name):
        raise ImproperlyConfigured(
            f"{_where(protocol)}: expected a name such as chat, but got {protocol.name!r}"
        )
    if protocol.name in _registered:
        raise ImproperlyConfigured(
            f"{_where(protocol)}: the name {protocol.name} belongs to {_where(_registered[protocol.name])}"
        )
    for other in _registered.values():
        _refuse_shared(protocol, other, "socket path", protocol.sockets.keys() & other.sockets.keys())
        _refuse_shared(protocol, other, "HTTP path", protocol.http.keys() & other.http.keys())
        _refuse_shared(protocol, other, "kind of address", protocol.addresses.keys() & other.addresses.keys())
    _registered[protocol.name] = protocol
    for kind, rules in protocol.addresses.items():
        address.register(kind, rules)


def unregister(protocol: type[Protocol]) -> None:
    """Forget a protocol (tests make some of their own)."""
    if _registered.pop(protocol.name, None) is not None:
        for kind in protocol.addresses:
            address.unregister(kind)


def _refuse_shared(protocol: type[Protocol], other: type[Protocol], what: str, shared: Iterable[str]) -> None:
    for one in shared:
        raise ImproperlyConfigured(f"{_where(protocol)}: the {what} {one} belongs to {_where(other)}")


def _where(protocol: type[Protocol]) -> str:
    return f"{protocol.__module__}.{protocol.__qualname__}"
