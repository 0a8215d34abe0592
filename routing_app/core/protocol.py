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
from routing_app.core.codes import REVOKED

if TYPE_CHECKING:
    from routing_app.core.askable import Askable
    from routing_app.core.delivery.connection import Connection, Encoder
    from routing_app.core.exports.section import Section
    from routing_app.core.jwt.kinds import TokenKind
    from routing_app.core.revocations.known import Revoked
    from routing_app.core.revocations.names import Carried
    from routing_app.core.unsafe import Unsafe
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
    access: ClassVar[bool] = True
    """Has `<NAME>_ACCESS`. False: its own credentials are its access."""
    commands: ClassVar[frozenset[str]] = frozenset({"connect"})
    """Commands that rate limits may name (`models.rate_limits.Command`); each has to be asked for."""
    asks: ClassVar[frozenset[str]] = frozenset()
    """Steps beside those commands that hooks may be asked about (`models.hooks.On`)."""
    subscribes_anywhere: ClassVar[bool] = False
    """True where its clients understand messages to addresses of all protocols."""
    own_requests: ClassVar[frozenset[str]] = frozenset()
    """Types of requests that it answers by itself: no hook is asked about them."""
    usual_limits: ClassVar[Sequence[tuple[str, str, float, int]]] = ()
    """Rate limits that need no row: command, per, rate and burst; a row for the command takes their place."""
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
    token_kind: ClassVar[TokenKind[Any, Any] | None] = None
    """JWTs of its own, which `manage.py checktoken` and `gentoken` know."""
    secret_permission: ClassVar[str] = ""
    """The Django permission, such as `app.change_model`, whose holders see identities and secret addresses
    whole, where these let a client in. Others see them masked. Empty: identities are not secret."""
    keep_rows_seconds: ClassVar[float] = 0.0
    """The row of a worker that is gone stays so much longer: rows of the protocol hang on it."""
    api: ClassVar[Mapping[str, Any]] = {}
    """Operators' REST: prefix below `/api/` -> viewset."""
    exports: ClassVar[Sequence[type[Section[Any]]]] = ()
    """Lists of `manage.py export` and `import`: what operators set up of it."""
    openapi_tag: ClassVar[str] = ""
    """The group of its paths in the OpenAPI document; empty: the name."""
    openapi: ClassVar[Callable[[dict[str, Any]], None] | None] = None
    """Adds to the OpenAPI document what its generator cannot see."""
    of_operators: ClassVar[bool] = False
    """Its sockets are operators': the console does not show them among the connections of clients."""
    console_panel: ClassVar[str] = ""
    """Name of a template that the console shows for this protocol, where it is tried."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker

    @classmethod
    def unsafe_settings(cls) -> Iterable[Unsafe]:
        """Settings of its own that are unsafe as they are; `<NAME>_ACCESS` and `<NAME>_ORIGINS` are known."""
        return ()

    @classmethod
    def console_data(cls) -> Mapping[str, Any]:
        """JSON that its panel of the console reads (`panel.data` in `static/console/js/try/panel.js`)."""
        return {}

    async def start(self) -> None:
        """Begin what runs beside the connections, before the worker serves its first one."""

    async def stop(self) -> None:
        """End it; the worker cancels afterwards what it was given to spawn."""

    def askable(self, id: str) -> Askable | None:
        """The connection of that id in this process, where its client can be asked and sent to."""
        return None

    def revocable(self, connection: Connection) -> Iterable[Carried]:
        """The names of a connection that may be revoked, beside its network address and its grant's.

        Where they change, the protocol asks `worker.revocations.concern_connection` again.
        """
        return ()

    def end_revoked(self, connection: Connection) -> None:
        """End a connection that is revoked."""
        connection.close(REVOKED)

    async def revoked(self, revoked: Revoked) -> None:
        """End what is revoked, and is not a connection of the hub."""


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


def kinds_of(protocol: Protocol) -> frozenset[str] | None:
    """The kinds of addresses from which clients of a protocol can receive; None: all."""
    return None if protocol.subscribes_anywhere else frozenset(protocol.addresses)


def _refuse_shared(protocol: type[Protocol], other: type[Protocol], what: str, shared: Iterable[str]) -> None:
    for one in shared:
        raise ImproperlyConfigured(f"{_where(protocol)}: the {what} {one} belongs to {_where(other)}")


def _where(protocol: type[Protocol]) -> str:
    return f"{protocol.__module__}.{protocol.__qualname__}"
