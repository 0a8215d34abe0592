"""The backend in Node that answers hooks, and rows of hooks that ask it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

from tests.services.ports import LOOPBACK
from tests.services.process import Process
from tests.services.server import Server
from tests.services.waiting import wait_until

PROGRAM: Final = Path(__file__).with_name("backend.js")
_LISTENS: Final = "listening on "


class NodeBackend:
    """`backend.js` as a process; it answers by its rules, and tells what it was asked."""

    def __init__(self, folder: Path) -> None:
        self._process = Process(["node", PROGRAM], log=folder / "backend")

    def __enter__(self) -> Self:
        self._process.wait_until(lambda: _LISTENS in self._process.log_text())
        port = self._process.log_text().partition(_LISTENS)[2].split()[0]
        self.url = f"http://{LOOPBACK}:{port}"
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.stop()

    def trust(self, secret: str) -> None:
        """Take questions that are signed with this secret, too."""
        self._call("trust", secret)

    def forget(self) -> None:
        """Count what is asked from here on."""
        self._call("forget")

    def asked(self) -> list[dict[str, Any]]:
        """The questions since `forget`, in the order in which they came."""
        questions: list[dict[str, Any]] = self._call("asked")["asked"]
        return questions

    def about(self, address: str) -> list[dict[str, Any]]:
        """The questions about one address."""
        return [one for one in self.asked() if one["address"] == address]

    def held(self) -> int:
        """Questions of hooks at `/held` that wait."""
        return int(self._call("asked")["held"])

    def release(self, number: int = 1) -> None:
        """Answer what is held, once so many questions are."""
        wait_until(lambda: self.held() >= number)
        self._call("release")

    def _call(self, path: str, body: Any = None) -> Any:
        return _call("POST", f"{self.url}/test/{path}", body)

    @contextmanager
    def hooked(
        self, server: Server, protocol: str, on: str, pattern: str = "*", at: str = "rules", **fields: Any
    ) -> Iterator[int]:
        """A hook of a server for the time of a context; its id."""
        url = f"{self.url}/{at}"
        row = {"protocol": protocol, "on": on, "pattern": pattern, "url": url, "timeout": 60_000, **fields}
        made = operate(server, "POST", "/api/hooks/", row)
        self.trust(made["secret"])
        try:
            yield int(made["id"])
        finally:
            operate(server, "DELETE", f"/api/hooks/{made['id']}/")


def operate(server: Server, method: str, path: str, body: Any = None) -> Any:
    """Call a server's API as its operator."""
    return _call(method, server.url + path, body, {"X-API-Key": server.api_key})


def _call(method: str, url: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    given = {"Content-Type": "application/json", **(headers or {})}
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, data, given, method=method), timeout=60
        ) as answer:
            raw = answer.read()
            return json.loads(raw) if raw else None
    except urllib.error.HTTPError as error:
        with error:
            raise AssertionError((error.code, error.read())) from None


def refusals(server: Server, protocol: str, reason: str) -> float:
    """What `/metrics` counts as refused for a reason."""
    request = urllib.request.Request(f"{server.url}/metrics", headers={"X-API-Key": server.api_key})
    with urllib.request.urlopen(request) as answer:
        lines = answer.read().decode().splitlines()
    wanted = f'switchboard_refused_total{{protocol="{protocol}",reason="{reason}"}} '
    return sum(float(line.removeprefix(wanted)) for line in lines if line.startswith(wanted))
