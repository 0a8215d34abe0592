"""Handshakes of the requests protocol: each input that was reported, with its right answer."""

from __future__ import annotations

from io import BytesIO

import pytest
from django.core.handlers.asgi import ASGIRequest

from routing_app.requests.access import _of_session

pytestmark = pytest.mark.django_db(transaction=True)

COOKIES = {"a NUL": '"\\000"', "a NUL within": '"abc\\000def"'}


@pytest.mark.parametrize("cookie", COOKIES.values(), ids=COOKIES)
async def test_a_nul_in_the_cookie_of_a_session_gives_no_rights(cookie: str) -> None:
    headers = [
        (b"host", b"localhost"),
        (b"origin", b"http://localhost"),
        (b"cookie", f"sessionid={cookie}".encode()),
    ]
    scope = {"type": "http", "method": "GET", "path": "/connection", "scheme": "http", "headers": headers}
    request = ASGIRequest(scope, BytesIO())

    assert "\0" in request.COOKIES["sessionid"]
    assert await _of_session(scope) is None
