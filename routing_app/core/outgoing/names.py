"""Addresses of names, looked up beside the event loop."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Late
from threading import Lock, Thread
from typing import Final

from routing_app.core.outgoing.addresses import is_loopback_name, is_public
from routing_app.core.outgoing.failures import AddressRefused, Unreachable

_lock: Final = Lock()
_running: Final[dict[str, Future[tuple[str, ...]]]] = {}


async def addresses_of(host: str, *, private: bool) -> tuple[str, ...]:
    """The addresses of a name, or of an address in whatever spelling.

    Raises Unreachable where there is none, and AddressRefused where one of them is not of the internet,
    unless `private`.
    """
    check_name(host, private=private)
    return allowed(await asyncio.wrap_future(_look_up(host)), private=private)


def addresses_within(host: str, seconds: float, *, private: bool) -> tuple[str, ...]:
    """The same in a thread that may wait. Raises Unreachable also when the time is up."""
    check_name(host, private=private)
    try:
        found = _look_up(host).result(seconds)
    except Late:
        raise Unreachable("the name does not resolve in time") from None
    return allowed(found, private=private)


def check_name(host: str, *, private: bool) -> None:
    """Raise AddressRefused for a name of this machine, also where it does not resolve, unless `private`."""
    if not private and is_loopback_name(host):
        raise AddressRefused(f"{host} is a private address")


def allowed(addresses: tuple[str, ...], *, private: bool) -> tuple[str, ...]:
    """These addresses. Raises AddressRefused, also where only one of them may not be called."""
    for address in () if private else addresses:
        if not is_public(address):
            raise AddressRefused(f"{address} is a private address")
    return addresses


def _look_up(host: str) -> Future[tuple[str, ...]]:
    """One lookup for all that wait for the same name, so that a slow name server takes one thread a name.

    The thread is a daemon: a lookup cannot be ended, and the process must not wait for it.
    """
    with _lock:
        if (running := _running.get(host)) is not None:
            return running
        future: Future[tuple[str, ...]] = Future()
        # It runs: a waiter that is cancelled must not cancel it for the others.
        future.set_running_or_notify_cancel()
        _running[host] = future
    Thread(target=_resolve, args=(host, future), name="names", daemon=True).start()
    return future


def _resolve(host: str, future: Future[tuple[str, ...]]) -> None:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        outcome: tuple[str, ...] | Exception = tuple(dict.fromkeys(str(one[4][0]) for one in found))
    except (OSError, UnicodeError):
        outcome = Unreachable("the name does not resolve")
    except Exception as error:
        outcome = error
    with _lock:
        del _running[host]
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
