"""Pages that may open a socket: the whole matrix."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing_app.core.access.origin import allowed, is_pattern

pytestmark = pytest.mark.once

GOOD = ("https://good.example",)
PORT = ("https://good.example:8443",)
WILD = ("https://*.good.example",)
SELF = ("self",)


@pytest.mark.parametrize(
    ("origin", "host", "patterns", "expected"),
    [
        # No browser sends a handshake without an Origin; a page with a `null` one has none to show.
        (None, "good.example", GOOD, True),
        (None, "good.example", (), True),
        ("null", "good.example", GOOD, False),
        ("null", "null", SELF, False),
        ("null", "good.example", ("*",), True),
        ("", "good.example", GOOD, False),
        ("", "", SELF, False),
        ("https://good.example", "x", (), False),
        # exact
        ("https://good.example", "x", GOOD, True),
        ("http://good.example", "x", GOOD, False),
        ("https://bad.example", "x", GOOD, False),
        ("https://bad.example", "x", ("https://other.example", "https://bad.example"), True),
        # case: scheme and host have none
        ("HTTPS://GOOD.Example", "x", GOOD, True),
        ("https://good.example", "x", ("HTTPS://Good.Example",), True),
        # port
        ("https://good.example:443", "x", GOOD, True),
        ("https://good.example", "x", ("https://good.example:443",), True),
        ("https://good.example:8443", "x", GOOD, False),
        ("https://good.example:8443", "x", PORT, True),
        ("http://good.example:8443", "x", PORT, False),
        ("https://good.example", "x", PORT, False),
        ("https://good.example:0", "x", GOOD, False),
        ("https://good.example:99999", "x", GOOD, False),
        ("https://good.example:x", "x", GOOD, False),
        # subdomains, and the tricks that look like them
        ("https://sub.good.example", "x", GOOD, False),
        ("https://good.example.evil.com", "x", GOOD, False),
        ("https://evilgood.example", "x", GOOD, False),
        ("https://a.good.example", "x", WILD, True),
        ("https://a.b.good.example", "x", WILD, True),
        ("https://good.example", "x", WILD, False),
        ("https://evilgood.example", "x", WILD, False),
        ("https://a.good.example.evil.com", "x", WILD, False),
        ("https://a.good.example:444", "x", WILD, False),
        ("http://a.good.example", "x", WILD, False),
        ("https://good.example.", "x", GOOD, False),
        # what no browser sends
        ("https://user@good.example", "x", GOOD, False),
        ("https://@good.example", "x", GOOD, False),
        ("https://evil.com@good.example", "x", GOOD, False),
        ("https://good.example@evil.com", "x", GOOD, False),
        ("https://good.example/", "x", GOOD, False),
        ("https://good.example/path", "x", GOOD, False),
        ("https://good.example?x", "x", GOOD, False),
        ("https://good.example#x", "x", GOOD, False),
        ("https://evil.com#.good.example", "x", WILD, False),
        ("https://evil.com\\.good.example", "x", WILD, False),
        ("https://good.example https://evil.com", "x", GOOD, False),
        ("good.example", "x", GOOD, False),
        ("//good.example", "x", GOOD, False),
        ("javascript://good.example", "x", GOOD, False),
        ("https://[::1", "x", GOOD, False),
        # the server's own host
        ("http://good.example", "good.example", SELF, True),
        ("https://good.example", "good.example", SELF, True),
        ("http://good.example:80", "good.example", SELF, True),
        ("http://good.example", "GOOD.example:80", SELF, True),
        ("http://localhost:8000", "localhost:8000", SELF, True),
        ("http://localhost:8001", "localhost:8000", SELF, False),
        ("http://localhost", "localhost:8000", SELF, False),
        ("http://localhost:8000", "localhost", SELF, False),
        ("http://evil.com", "good.example", SELF, False),
        ("http://evil.com", "", SELF, False),
        ("http://good.example", "user@good.example", SELF, False),
        ("http://good.example", "good.example/x", SELF, False),
        ("http://good.example", "self", GOOD, False),
        # IPv6
        ("http://[::1]:8000", "[::1]:8000", SELF, True),
        ("http://[::1]", "[::1]", SELF, True),
        ("http://[::1]:8000", "[::1]:8001", SELF, False),
        ("http://[::2]:8000", "[::1]:8000", SELF, False),
        ("http://[::1]:8000", "x", ("http://[::1]:8000",), True),
        # pages of app shells, extensions and files: literally, one by one
        ("capacitor://localhost", "x", ("capacitor://localhost",), True),
        ("Capacitor://LocalHost", "x", ("capacitor://localhost",), True),
        ("capacitor://localhost", "localhost", SELF, False),
        ("capacitor://localhost:1", "x", ("capacitor://localhost",), False),
        ("ionic://localhost", "x", ("capacitor://localhost",), False),
        ("chrome-extension://abc", "x", ("chrome-extension://abc",), True),
        ("chrome-extension://abcd", "x", ("chrome-extension://abc",), False),
        ("file://", "x", ("file://",), True),
        ("file://x", "x", ("file://",), False),
        ("file://", "", SELF, False),
        ("null", "x", ("null",), True),
        ("null", "x", ("file://",), False),
        # an asterisk in an Origin is not a pattern
        ("https://*.good.example", "x", WILD, False),
        ("https://*.a.good.example", "x", WILD, False),
        ("https://*", "*", SELF, False),
        ("*", "x", WILD, False),
        # several patterns
        ("http://localhost:8000", "localhost:8000", ("https://good.example", "self"), True),
        ("https://good.example", "localhost:8000", ("https://good.example", "self"), True),
        ("https://evil.com", "localhost:8000", ("https://good.example", "self"), False),
        # a pattern that is none admits nobody
        ("https://good.example", "x", ("good.example",), False),
        ("https://good.example", "x", ("",), False),
        ("https://good.example", "x", ("https://*",), False),
    ],
)
def test_origin_matrix(origin: str | None, host: str, patterns: tuple[str, ...], expected: bool):
    assert allowed(origin, host, patterns) is expected


@given(st.text(), st.text())
def test_no_header_is_an_error(origin: str, host: str):
    assert allowed(origin, host, ("https://only.good.example",)) is (
        origin.lower() in ("https://only.good.example", "https://only.good.example:443")
    )
    allowed(origin, host, SELF)


@pytest.mark.parametrize(
    "text",
    [
        "self",
        "*",
        "https://good.example",
        "http://[::1]:8000",
        "https://*.good.example",
        "HTTP://x",
        "capacitor://localhost",
        "chrome-extension://abc",
        "file://",
        "null",
    ],
)
def test_a_pattern_that_admits_somebody_is_valid(text: str):
    assert is_pattern(text)


@pytest.mark.parametrize(
    "text",
    [
        "good.example",
        "https://good.example/",
        "https://*",
        "https://a.*.example",
        "https://*.*.example",
        "chrome-extension://*",
        "chrome-extension://*.x",
        "file:///",
        "://x",
        "",
        "Self",
    ],
)
def test_a_pattern_that_would_admit_nobody_is_refused(text: str):
    assert not is_pattern(text)
