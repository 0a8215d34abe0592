"""The line on plain ASGI servers: nothing of it hangs on our own."""

from __future__ import annotations

import pytest

from tests.conftest import ServerFactory
from tests.tokens.client import form, refusal
from tests.tokens.conftest import Connect

# The core's own test of runners is on both stacks.
pytestmark = pytest.mark.once


@pytest.mark.parametrize("runner", ["daphne", "uvicorn"])
def test_plain_asgi_server_speaks_the_protocol(server: ServerFactory, connect: Connect, runner: str) -> None:
    broker = server(runner, SWITCHBOARD_API_KEY="", TOKENS_ALLOW_UNREGISTERED="no", TOKENS_API_OPEN="yes")
    broker.api_key = ""
    for token in ("abc1", "group/item1"):
        form(broker, "registerToken", token=token)
    one, two = connect(broker, "abc1"), connect(broker, "group/item1")

    one.send("abc1,group/|Hello")
    one.send(b"\xff")

    assert two.next_frame() == "Hello"
    assert one.next_frame() == "Hello"
    # Plain Daphne refuses 1003 from an application, so everywhere but on our server its stand-in goes out.
    assert one.close_code() == 4020
    assert refusal(broker, "unknown") == 403
    form(broker, "unregisterToken", token="group/item1")
    assert two.close_code() == 4403
