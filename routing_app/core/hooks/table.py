"""All hooks of a process, sorted by protocol and step for those that ask."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from routing_app.core.access.patterns import Patterns, is_group
from routing_app.core.hooks.backend import Backend
from routing_app.core.models.hooks import ANY, Hook, On


class HookRow(NamedTuple):
    """An enabled row of the table; `headers` are names in lower case."""

    id: int
    protocol: str
    on: str
    pattern: str
    url: str
    timeout: int
    fail: str
    headers: tuple[str, ...]
    secret: str


class HookSet:
    """The hooks of a step of a protocol, at least one, in order of their ids."""

    __slots__ = ("_hooks", "on")

    def __init__(self, on: str, hooks: Iterable[tuple[Patterns, Backend]]) -> None:
        self.on = on
        self._hooks = tuple(hooks)

    def matching(self, name: str | None) -> list[Backend]:
        """Those to ask about an address, or a type of requests; None: whatever their pattern is."""
        if name is None:
            return [backend for _, backend in self._hooks]
        return [backend for patterns, backend in self._hooks if _concerns(patterns, name)]

    def concerns(self, name: str) -> bool:
        """True when one of them has to be asked."""
        return any(_concerns(patterns, name) for patterns, _ in self._hooks)


def _concerns(patterns: Patterns, name: str) -> bool:
    if patterns.cover(name):
        return True
    # A group of tokens reaches all addresses below it, also those that a pattern names.
    return is_group(name) and patterns.texts[0].startswith(name)


class ProtocolHooks:
    """The hooks of one protocol; each is None where nothing is asked.

    The object stays when rows change, so that a connection may keep it.
    """

    __slots__ = ("connect", "publish", "request", "subscribe")

    def __init__(self) -> None:
        self.use({})

    def use(self, sets: dict[str, HookSet]) -> None:
        """Have these hooks, by their steps, from now on."""
        self.connect = sets.get(On.CONNECT)
        self.subscribe = sets.get(On.SUBSCRIBE)
        self.publish = sets.get(On.PUBLISH)
        self.request = sets.get(On.REQUEST)


class HookTable:
    """All hooks of this process."""

    def __init__(self) -> None:
        self._rows: tuple[HookRow, ...] = ()
        self._backends: dict[HookRow, Backend] = {}
        self._protocols: dict[str, ProtocolHooks] = {}

    @property
    def backends(self) -> Iterable[Backend]:
        """All of them."""
        return self._backends.values()

    def of(self, protocol: str) -> ProtocolHooks:
        """The hooks of a protocol, now and later."""
        if (found := self._protocols.get(protocol)) is None:
            found = self._protocols[protocol] = ProtocolHooks()
            self._fill(protocol, found)
        return found

    def use(self, rows: Iterable[HookRow]) -> None:
        """Have other rows from now on; those that stay the same keep their connections and their breakers."""
        rows = tuple(rows)
        if rows == self._rows:
            return
        before = self._backends
        self._backends = {row: before.get(row) or _backend(row) for row in rows}
        for row in before.keys() - self._backends.keys():
            before[row].close()
        self._rows = rows
        for protocol, hooks in self._protocols.items():
            self._fill(protocol, hooks)

    def _fill(self, protocol: str, hooks: ProtocolHooks) -> None:
        found: dict[str, list[tuple[Patterns, Backend]]] = {}
        for row, backend in self._backends.items():
            if row.protocol in (ANY, protocol):
                found.setdefault(row.on, []).append((Patterns([row.pattern]), backend))
        hooks.use({on: HookSet(on, several) for on, several in found.items()})


def _backend(row: HookRow) -> Backend:
    return Backend(row.id, row.on, row.url, row.timeout / 1000, row.fail, frozenset(row.headers), row.secret)


def read_rows() -> list[HookRow]:
    """All enabled rows. Uses the ORM."""
    return [
        HookRow(
            row.pk,
            row.protocol,
            row.on,
            row.pattern,
            row.url,
            row.timeout,
            row.fail,
            tuple(name.lower() for name in row.headers),
            row.secret,
        )
        for row in Hook.objects.filter(enabled=True).order_by("pk")
    ]
