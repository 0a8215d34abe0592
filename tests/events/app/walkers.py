"""Walkers that do what can go right and wrong."""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import date
from enum import Enum
from typing import Any

from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.contrib.auth.models import Group, User
from django.core.exceptions import PermissionDenied
from django.db import OperationalError
from django.db.models.signals import post_save
from django.dispatch import receiver

from routing_app.events.credentials import issue
from routing_app.events.walkers import (
    RootId,
    current,
    node,
    notify_channels,
    notify_clients,
    notify_self,
    notify_users,
    report,
    walker,
)

SOCKET = ("websocket", "post")


@walker(methods=SOCKET)
def typed(val: int, text: str = "x", when: date | None = None, tags: list[str] = []) -> None:  # noqa: B006
    """Fields of several types."""
    report({"val": val, "text": text, "when": when, "tags": tags})


@walker(methods=SOCKET)
def divide(a: int, b: int) -> None:
    report(a / b)


@walker(methods=SOCKET)
def raise_secret() -> None:
    raise LookupError("the secret text of an exception")


@walker(methods=SOCKET)
async def raise_secret_async() -> None:
    raise LookupError("the secret text of an exception")


@walker(methods=SOCKET)
def without_database() -> None:
    """As the ORM fails while the database is out, or its disk is full."""
    raise OperationalError("database or disk is full")


@walker(methods=SOCKET)
async def without_database_async() -> None:
    """The same on the loop."""
    raise OperationalError("database or disk is full")


@walker(auth=False)
def make_user(name: str, email: str, password: str) -> None:
    """Make a user with a token; hashing the password as usual would be slow."""
    encoded = PBKDF2PasswordHasher().encode(password, "salt", iterations=1)
    user = User.objects.create(username=name, email=email, password=encoded)
    issued = issue(user)
    assert issued
    report([email, user.root.reference, issued[0], str(user.pk)])


@walker(methods=SOCKET)
def stop_iteration() -> None:
    next(iter(()))


@walker(methods=SOCKET)
def leave() -> None:
    sys.exit(3)


@walker(methods=SOCKET)
async def leave_async() -> None:
    sys.exit(3)


@walker(methods=SOCKET)
async def await_cancelled() -> None:
    task = asyncio.create_task(asyncio.sleep(3600))
    task.cancel()
    await task


@walker(methods=SOCKET)
def hang() -> None:
    """Until it has run longer than it may: one that slept for so long might wake up first."""
    while not current().late:
        time.sleep(0.05)


@walker(methods=SOCKET)
async def hang_async() -> None:
    await asyncio.sleep(3600)


@walker(methods=SOCKET)
def flood(number: int) -> None:
    for index in range(number):
        notify_self({"flood": index})


@walker(methods=SOCKET)
async def flood_async(number: int) -> None:
    for index in range(number):
        notify_self({"flood": index})


@walker(methods=SOCKET)
def narrate(number: int) -> None:
    for index in range(number):
        notify_self({"step": index})
        notify_channels([current().channel_id], {"step on channel": index})
    report("told")


@walker(methods=SOCKET)
async def narrate_async(number: int) -> None:
    for index in range(number):
        notify_self({"step": index})
        notify_channels([current().channel_id], {"step on channel": index})
    report("told")


@walker(methods=SOCKET)
async def wait_for(channel_id: str) -> None:
    """Say on a channel that it waits, and wait until `release` is called with it."""
    going = GOING.setdefault(channel_id, asyncio.Event())
    notify_channels([channel_id], {"waits": channel_id})
    await going.wait()
    report("released")


GOING: dict[str, asyncio.Event] = {}


@walker(methods=SOCKET)
async def release(channel_id: str) -> None:
    GOING.setdefault(channel_id, asyncio.Event()).set()


@walker(methods=SOCKET)
def tell(root_ids: list[RootId], channel_ids: list[str], client_ids: list[str], data: dict[str, Any]) -> None:
    notify_users(root_ids, data)
    notify_channels(channel_ids, data)
    notify_clients(client_ids, data)


@walker(methods=SOCKET)
async def tell_async(
    root_ids: list[RootId], channel_ids: list[str], client_ids: list[str], data: dict[str, Any]
) -> None:
    notify_users(root_ids, data)
    notify_channels(channel_ids, data)
    notify_clients(client_ids, data)


@walker(methods=SOCKET)
def make_group(name: str) -> None:
    """A signal tells about it."""
    Group.objects.create(name=name)
    report(Group.objects.filter(name=name).count())


@walker(methods=SOCKET)
async def make_group_async(name: str) -> None:
    await Group.objects.acreate(name=name)
    report(await Group.objects.filter(name=name).acount())


@receiver(post_save, sender=Group)
def group_saved(instance: Group, **kwargs: Any) -> None:
    notify_channels([f"group {instance.name}"], {"group": instance.name})


@walker(methods=SOCKET)
def whoami() -> None:
    call = current()
    report(
        {
            "root_id": call.visitor.root_id,
            "client_id": call.client_id,
            "channel_id": call.channel_id,
            "node": call.node,
            "here": call.here,
        }
    )


@walker(methods=SOCKET)
def email() -> None:
    user = current().visitor.user()
    report(user.get_username() if user else None)


@walker(methods=("websocket", "post", "get"), auth=False)
def public() -> None:
    report({"root_id": current().visitor.root_id})


@walker
def only_post() -> None:
    report("posted")


@walker(methods=("put", "delete", "get"), path="{shelf}/{slot}", as_query=["note"])
def store(shelf: str, slot: int, note: str = "", weight: float = 0.0, tags: list[str] = []) -> None:  # noqa: B006
    report({"shelf": shelf, "slot": slot, "note": note, "weight": weight, "tags": tags})


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@walker(methods=("get",), path="{colour}")
def choose(colour: Colour, sizes: list[int] | None = None) -> None:
    report({"colour": colour, "sizes": sizes})


@walker(auth=False)
def deactivate_silently(user_id: int) -> None:
    """As after a message that was lost: neither signal nor publication tells of it."""
    User.objects.filter(pk=user_id).update(is_active=False)


@walker(methods=SOCKET)
def report_much(size: int, letter: str = "x") -> None:
    report(letter * size)


@walker(methods=SOCKET)
def notify_much(channel_id: str, size: int) -> None:
    notify_channels([channel_id], {"x": "x" * size})


@walker(methods=SOCKET)
async def notify_much_async(channel_id: str, size: int) -> None:
    notify_channels([channel_id], {"x": "x" * size})


@walker(methods=SOCKET)
def report_odd() -> None:
    report(object())


@node("Task")
def find_task(hex_id: str) -> dict[str, str] | None:
    """`…aa` exists, `…bb` belongs to somebody else, no other exists."""
    if hex_id.endswith("bb"):
        raise PermissionDenied
    return {"task": hex_id} if hex_id.endswith("aa") else None
