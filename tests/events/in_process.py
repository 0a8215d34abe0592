"""Sockets of the events protocol on the worker of this process, and users for them."""

from __future__ import annotations

import json
import secrets
from typing import Any

from channels.testing import WebsocketCommunicator
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User

from broker_project.asgi import application
from routing_app.events import credentials

SECONDS = 60.0
"""How long a frame may take on a busy machine; nothing is measured with it."""


def socket_on(channel: str, credential: str = "") -> WebsocketCommunicator:
    """A socket that asks for a channel, not connected yet; without a credential it is the public's."""
    return WebsocketCommunicator(application, f"/websocket?channel_id={channel}&auth={credential}")


async def connected(channel: str, credential: str = "") -> tuple[WebsocketCommunicator, dict[str, Any]]:
    """The same, connected, and the data of its connection frame."""
    socket = socket_on(channel, credential)
    accepted, _ = await socket.connect(SECONDS)
    assert accepted
    hello = await frame(socket)
    assert hello["type"] == "connection"
    return socket, hello["data"]


async def frame(socket: WebsocketCommunicator) -> Any:
    """The next frame."""
    return json.loads(await socket.receive_from(SECONDS))


async def close_code(socket: WebsocketCommunicator) -> int:
    """The code with which the server ends a socket; no frame comes before it."""
    return int((await socket.receive_output(SECONDS))["code"])


def new_user() -> User:
    """Somebody. Uses the ORM."""
    return get_user_model().objects.create_user(secrets.token_hex(6))


def token_of(user: User) -> str:
    """A new login token. Uses the ORM."""
    issued = credentials.issue(user)
    assert issued is not None
    return issued[0]
