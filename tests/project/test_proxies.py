"""Behind a proxy that ends TLS: redirects, cookies, forms, origins, and Django's check of the settings."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from django.test import Client

from tests.services.databases import REPOSITORY, Databases
from tests.services.handshake import ask, shake
from tests.services.running import running
from tests.services.server import Server

DOCUMENTED: Final = {
    "SECURE_COOKIES": "yes",
    "HSTS_SECONDS": "31536000",
    "HTTPS_REDIRECT": "yes",
    "ALLOWED_HOSTS": "switchboard.example.com",
}
SHELLS: Final = ("capacitor://localhost", "tauri://localhost", "null")
PROTOCOLS: Final = ("TOKENS", "SESSIONS", "ROOMS", "EVENTS", "REQUESTS", "STREAM")
SOCKETS: Final = ("/websocket", "/connection", "/bus", "/socket.io/?EIO=4&transport=websocket")
HTTPS: Final = ("X-Forwarded-Proto", "https")
FORWARDED: Final = ("X-Forwarded-For", "203.0.113.9")


@pytest.mark.once
def test_the_documented_settings_pass_djangos_check(tmp_path: Path) -> None:
    known = {name: value for name, value in os.environ.items() if name not in DOCUMENTED}
    result = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=REPOSITORY,
        env={**known, **DOCUMENTED, "VAR_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert "no issues" in result.stdout


@pytest.fixture(scope="module")
def redirecting(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the documented settings, behind a proxy on this machine."""
    shells = dict.fromkeys((f"{name}_ORIGINS" for name in PROTOCOLS), ",".join(SHELLS[:2]))
    options = {**DOCUMENTED, **shells, "TOKENS_ORIGINS": "null", "TRUSTED_PROXIES": "127.0.0.1"}
    options["ALLOWED_HOSTS"] = "switchboard.example.com,127.0.0.1"
    with running(databases, tmp_path_factory.mktemp("redirecting"), **options) as server:
        yield server


@pytest.mark.parametrize(
    ("method", "path", "plain", "secure"),
    [
        ("GET", "/admin/login/", 301, 200),
        ("GET", "/console/", 301, 302),
        ("GET", "/api/clients/", 301, 401),
        ("POST", "/api/publish", 301, 401),
        ("POST", "/sessions", 301, 401),
        ("GET", "/health/live", 200, 200),
        ("GET", "/health/ready", 200, 200),
        ("GET", "/healthz", 200, 200),
        ("GET", "/healthcheck", 200, 200),
        ("GET", "/metrics", 401, 401),
        ("GET", "/api/stream?address=token:a", 401, 401),
        ("GET", "/socket.io/?EIO=4&transport=polling", 200, 200),
    ],
)
def test_pages_are_redirected_and_probes_are_not(
    redirecting: Server, method: str, path: str, plain: int, secure: int
) -> None:
    host = "switchboard.example.com"
    head = ask(redirecting.port, method, path, FORWARDED, host=host)
    assert head.status == plain
    if plain == 301:
        assert head.header("location") == f"https://{host}{path}"
    secured = ask(redirecting.port, method, path, FORWARDED, HTTPS, host=host)
    assert secured.status == secure
    if method == "GET" and plain == 301:
        assert secured.header("strict-transport-security") == "max-age=31536000"


@pytest.mark.parametrize("headers", [(FORWARDED,), (FORWARDED, HTTPS)], ids=["plain", "https"])
def test_sockets_open_whatever_the_scheme(redirecting: Server, headers: Any) -> None:
    for path in ("/ws", *SOCKETS):
        assert shake(redirecting.port, path, *headers).status == 101


@pytest.mark.parametrize(
    "path", ["/websocket", "/connection", "/bus", "/socket.io/?EIO=4&transport=websocket"]
)
def test_origins_of_any_scheme_are_admitted_one_by_one(redirecting: Server, path: str) -> None:
    statuses = [shake(redirecting.port, path, ("Origin", origin)).status for origin in SHELLS]
    assert statuses == [101, 101, 403]


def test_null_is_admitted_where_it_is_listed(redirecting: Server) -> None:
    statuses = [shake(redirecting.port, "/ws", ("Origin", origin)).status for origin in SHELLS]
    assert statuses == [403, 403, 101]


@pytest.mark.parametrize("origin", SHELLS)
def test_a_page_of_a_shell_may_read_streams_and_polls_where_it_is_admitted(
    redirecting: Server, origin: str
) -> None:
    stream = ask(redirecting.port, "GET", "/api/stream?address=token:a", ("Origin", origin))
    poll = ask(redirecting.port, "GET", "/socket.io/?EIO=4&transport=polling", ("Origin", origin))
    admitted = origin != "null"
    assert [stream.status, poll.status] == ([401, 200] if admitted else [403, 403])
    allowed = [head.header("access-control-allow-origin") for head in (stream, poll)]
    assert (allowed == [origin, origin]) is admitted


# --- cookies and forms ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("choice", "scheme", "marked"),
    [
        ("auto", "https", True),
        ("auto", "http", False),
        ("yes", "https", True),
        ("yes", "http", True),
        ("no", "https", False),
        ("no", "http", False),
    ],
)
def test_cookies_are_secure_as_it_is_set(settings: Any, choice: str, scheme: str, marked: bool) -> None:
    settings.SECURE_COOKIES = choice
    settings.SESSION_COOKIE_SECURE = settings.CSRF_COOKIE_SECURE = choice == "yes"
    cookie = Client().get("/admin/login/", secure=scheme == "https").cookies["csrftoken"]
    assert bool(cookie["secure"]) is marked


TOKEN: Final = "a" * 32


@pytest.mark.parametrize(
    ("secure", "headers", "said"),
    [
        (True, {"Origin": "https://other.example"}, "CSRF_TRUSTED_ORIGINS=https://other.example would"),
        (True, {"Origin": "http://testserver:81"}, "CSRF_TRUSTED_ORIGINS=http://testserver:81 would"),
        (True, {"Referer": "https://other.example/page"}, "CSRF_TRUSTED_ORIGINS=https://other.example would"),
        (False, {"Origin": "https://testserver"}, "name it in TRUSTED_PROXIES"),
        (False, {"Origin": "null"}, "Origin: null"),
        (False, {"Origin": "https://&lt;x"}, "CSRF_TRUSTED_ORIGINS"),
        (False, {"Origin": "https://<script>alert(1)"}, "https://&lt;script&gt;alert(1)"),
        (True, {}, "neither Origin nor Referer"),
        (True, {"Referer": "http://testserver/admin/login/"}, "open it by its https:// address"),
        (True, {"Origin": "https://testserver"}, "Load the page again"),
        (False, {"Origin": "http://testserver"}, "Load the page again"),
    ],
    ids=str,
)
def test_a_refused_log_in_says_which_setting_would_admit_it(
    secure: bool, headers: dict[str, str], said: str
) -> None:
    client = Client(enforce_csrf_checks=True)
    client.cookies["csrftoken"] = TOKEN
    answer = client.post("/admin/login/", {"csrfmiddlewaretoken": "b" * 32}, secure=secure, headers=headers)
    page = answer.content.decode()
    assert answer.status_code == 403
    assert said in page
    assert "<script>" not in page


@pytest.mark.parametrize(
    ("choice", "said"), [("yes", "SECURE_COOKIES=auto"), ("auto", "no cookie of this host")]
)
def test_a_lost_cookie_is_explained(settings: Any, choice: str, said: str) -> None:
    settings.SECURE_COOKIES = choice
    answer = Client(enforce_csrf_checks=True).post("/admin/login/", {"csrfmiddlewaretoken": TOKEN})
    assert (answer.status_code, said in answer.content.decode()) == (403, True)
