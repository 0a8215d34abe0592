"""The console's socket as a page of it uses it."""

from __future__ import annotations

import json
from contextlib import ExitStack
from itertools import count
from typing import Any, Final

from websockets.sync.client import connect
from websockets.typing import Origin

from tests.services.server import Server

LOG_IN: Final = """
import json
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client
settings.ALLOWED_HOSTS = ["*"]
sessions = {{}}
for name, permissions in {users}.items():
    make = get_user_model().objects.create_superuser if permissions is None else (
        get_user_model().objects.create_user)
    user = make(name, is_staff=True)
    for one in permissions or ():
        app, codename = one.split(".")
        user.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
    client = Client()
    client.force_login(user)
    sessions[name] = client.session.session_key
print("PREPARED", json.dumps(sessions))
"""


def sessions_of(server: Server, **users: list[str] | None) -> dict[str, str]:
    """Session keys of new members of the staff, by name, with permissions; None: a superuser."""
    output = server.manage("shell", "-v0", "-c", LOG_IN.format(users=users))
    found: dict[str, str] = json.loads(output.rpartition("PREPARED ")[2])
    return found


class Refused(Exception):
    """The answer of a topic is an error."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"{status} {detail}")
        self.status = status
        self.detail = detail


UNAVAILABLE: Final = 503


def _is_late(frame: dict[str, Any]) -> bool:
    """True for the answer that a worker was not in time."""
    return "error" in frame and frame["error"]["status"] == UNAVAILABLE


def _data(frame: dict[str, Any]) -> Any:
    """What an answer has. Raises Refused."""
    if "error" in frame:
        raise Refused(frame["error"]["status"], frame["error"]["detail"])
    return frame["data"]


class Console:
    """One open console."""

    def __init__(self, server: Server, session: str) -> None:
        self._ids = count(1)
        self._exit = ExitStack()
        self.server = server
        self.socket = self._exit.enter_context(
            connect(
                f"{server.ws_url}/console/socket",
                origin=Origin(server.url),
                additional_headers={"Cookie": f"sessionid={session}"},
                proxy=None,
                max_queue=None,
                max_size=None,
                open_timeout=60,
            )
        )

    def ask(self, topic: str, **params: Any) -> Any:
        """The one answer of a topic; it is asked for again where a worker was not in time. Raises Refused."""
        while _is_late(frame := self._frame(self._send(topic, params, watch=False))):
            pass
        return _data(frame)

    def watch(self, topic: str, **params: Any) -> int:
        """Watch a topic; returns the id for `next`."""
        return self._send(topic, params, watch=True)

    def next(self, id: int) -> Any:
        """The next data of a watch, which goes on where a worker was not in time; what comes for others
        meanwhile is dropped. Raises Refused.
        """
        while _is_late(frame := self._frame(id)):
            pass
        return _data(frame)

    def _frame(self, id: int) -> Any:
        while (frame := json.loads(self.socket.recv(timeout=60)))["id"] != id:
            pass
        return frame

    def stop(self, id: int) -> None:
        """End a watch."""
        self.socket.send(json.dumps({"id": id, "stop": True}))

    def _send(self, topic: str, params: dict[str, Any], watch: bool) -> int:
        id = next(self._ids)
        self.socket.send(json.dumps({"id": id, "topic": topic, "params": params, "watch": watch}))
        return id

    def close(self) -> None:
        """Leave."""
        self._exit.close()
