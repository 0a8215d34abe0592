"""The walkers of the original's end-to-end example, and a few that show the rest.

Over a socket:  {"type": "walker", "walker": "send_chat_to_group", "context": {"channel_id": "tea"}}
Over HTTP:      POST /walker/send_chat_to_group  {"channel_id": "tea"}
"""

from __future__ import annotations

import asyncio
from typing import Annotated

from pydantic import Field

from switchboard import (
    RootId,
    current,
    notify_channels,
    notify_clients,
    notify_self,
    notify_users,
    report,
    walker,
)

BOTH = ("websocket", "post")


@walker(methods=BOTH)
def send_chat_to_user(root_id: RootId, message: str = "string") -> None:
    """Chat to all sockets of a user."""
    notify_users([root_id], {"type": "chat", "data": {"message": message}})


@walker(methods=BOTH)
def send_chat_to_group(channel_id: str, message: str = "string") -> None:
    """Chat to all sockets on a channel."""
    notify_channels([channel_id], {"type": "chat", "data": {"message": message}})


@walker(methods=BOTH)
def send_chat_to_client(client_id: str, message: str = "string") -> None:
    """Chat to one socket."""
    notify_clients([client_id], {"type": "chat", "data": {"message": message}})


@walker(methods=("websocket", "get"), auth=False)
def about() -> None:
    """Say what this is, to the public."""
    report({"name": "chat", "walkers": ["send_chat_to_user", "send_chat_to_group", "send_chat_to_client"]})


@walker(methods=("websocket", "get"), path="/{name}", as_query="*")
def greet(name: str, times: Annotated[int, Field(ge=1, le=10)] = 1) -> None:
    """Report greetings; `name` stands in the path, `times` in the query."""
    for _ in range(times):
        report(f"Hello, {name}!")


@walker(methods=BOTH)
async def count_down(start: Annotated[int, Field(ge=0, le=10)] = 3) -> None:
    """Notify the caller's socket ten times a second, then report who called; runs on the event loop."""
    for left in range(start, 0, -1):
        notify_self({"type": "countdown", "data": left})
        await asyncio.sleep(0.1)
    report({"root_id": current().visitor.root_id})
