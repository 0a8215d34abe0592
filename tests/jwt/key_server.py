"""A JWKS on loopback, as good or bad as a test wants it; it counts how often it is asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

import jwt
import pytest

from routing_app.core.jwt.algorithms import KeyKind
from routing_app.core.jwt.jwks import key_set
from routing_app.core.jwt.signature import KnownKey


class KeyServer:
    """`behave` answers instead of the keys, where it is set."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = []
        self.asked = 0
        self.agents: list[str] = []
        self.behave: Callable[[KeyServer, Handler], None] | None = None
        self.entered = Event()
        self.released = Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"of": self}))
        self.url = f"http://127.0.0.1:{self._server.server_port}/jwks"
        self._thread = Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def publish(self, private: Any, kid: str | None, **more: Any) -> None:
        """Offer a key; without `kid` it has none."""
        jwk = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(private.public_key()))
        self.keys.append(jwk | {"use": "sig"} | ({} if kid is None else {"kid": kid}) | more)

    @property
    def key(self) -> KnownKey:
        """The row of the signer."""
        return KnownKey(KeyKind.JWKS, "RS256", "", self.url)

    @property
    def document(self) -> bytes:
        """The answers that it gives."""
        return json.dumps({"keys": self.keys}).encode()

    def stop(self) -> None:
        """End it, and the requests that it holds."""
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Handler(BaseHTTPRequestHandler):
    """One request."""

    of: KeyServer

    def do_GET(self) -> None:
        """Count it, and answer."""
        self.of.asked += 1
        self.of.agents.append(self.headers["User-Agent"])
        if self.of.behave is None:
            self.answer(200, self.of.document)
        else:
            self.of.behave(self.of, self)

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        """An answer, whole."""
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Nothing on stderr."""


class Clock:
    """The time that `jwks` goes by."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now

    def passes(self, seconds: float) -> None:
        """Later."""
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Time passes when the test says so."""
    clock = Clock()
    monkeypatch.setattr("routing_app.core.jwt.jwks.monotonic", clock)
    return clock


@pytest.fixture
def key_servers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], KeyServer]]:
    """As many as a test wants; a busy machine is waited for."""
    for name in ("fetch.STEP_SECONDS", "fetch.TOTAL_SECONDS", "jwks.TOTAL_SECONDS"):
        monkeypatch.setattr(f"routing_app.core.jwt.{name}", 60.0)
    started: list[KeyServer] = []

    def start() -> KeyServer:
        started.append(KeyServer())
        return started[-1]

    yield start
    for server in started:
        server.stop()
    key_set.cache_clear()


@pytest.fixture
def key_server(key_servers: Callable[[], KeyServer]) -> KeyServer:
    """One."""
    return key_servers()


# --- behaviours -------------------------------------------------------------------------------------------


def fails(server: KeyServer, request: Handler) -> None:
    """500."""
    request.answer(500, b"")


def firewall(server: KeyServer, request: Handler) -> None:
    """Refuses programs that do not say who they are."""
    if request.headers["User-Agent"].startswith("Python-urllib"):
        request.answer(403, b"<html>Forbidden</html>")
    else:
        request.answer(200, server.document)


def redirects_once(server: KeyServer, request: Handler) -> None:
    """The keys are at /moved."""
    if request.path == "/moved":
        request.answer(200, server.document)
    else:
        request.answer(302, b"", Location="/moved")


def redirects_for_ever(server: KeyServer, request: Handler) -> None:
    """The keys are always elsewhere."""
    request.answer(307, b"", Location=f"/{server.asked}")


def redirects_to_plain_http(server: KeyServer, request: Handler) -> None:
    """The keys are where anybody on the way could replace them."""
    request.answer(302, b"", Location="http://keys.example/jwks")


def html(server: KeyServer, request: Handler) -> None:
    """A page, with 200."""
    request.answer(200, b"<html>Back soon</html>")


def no_keys(server: KeyServer, request: Handler) -> None:
    """A JWKS without any."""
    request.answer(200, b'{"keys":[]}')


def nonsense(server: KeyServer, request: Handler) -> None:
    """A JWKS with entries that are not keys."""
    request.answer(
        200, b'{"keys":[null,{},{"kty":["RSA"]},{"kty":"RSA","alg":[]},{"kty":"RSA","n":1,"e":{}}]}'
    )


def endless(server: KeyServer, request: Handler) -> None:
    """More than any JWKS has."""
    request.answer(200, b" " * 2_000_000)


def hangs_up(server: KeyServer, request: Handler) -> None:
    """Less than was announced."""
    request.answer(200, server.document[:-5], **{"Content-Length": "100000"})


def sends_what_it_had(server: KeyServer, request: Handler) -> None:
    """The keys of the time when it was asked, once the test releases them."""
    document = server.document
    server.entered.set()
    server.released.wait(100)
    request.answer(200, document)


def silent(server: KeyServer, request: Handler) -> None:
    """No answer before the test releases it."""
    server.entered.set()
    server.released.wait(100)
    request.answer(200, server.document)
