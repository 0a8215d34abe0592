"""Plain ASGI applications that the tests put behind our server: `tests.server.apps:app`, by path.

With PATIENCE in its environment a server waits for its clients as long as that says: for what they send or
answer at the end of a connection, and for their first request where it is replaced.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError
from typing import Any
from urllib.parse import parse_qs

from switchboard_server import drain, http_connection, websocket

logger = logging.getLogger(__name__)

Scope = dict[str, Any]

if seconds := os.environ.get("PATIENCE"):
    names = {
        drain: ["FIRST_REQUEST_SECONDS"],
        http_connection: ["LINGER_SECONDS"],
        websocket: ["CLOSE_TIMEOUT", "CLOSE_LIMIT"],
    }
    for module, constants in names.items():
        for name in constants:
            setattr(module, name, float(seconds))

COUNTS: dict[str, Any] = {
    "open": 0,
    "cleaned": 0,
    "received": 0,
    "in_order": 1,
    "thrown": 0,
    "codes": [],
    "gone": 0,
    "answered": 0,
    "waiting": 0,
}
"""`waiting`: requests and handshakes that have come, and that an application takes its time with."""
GO = asyncio.Event()
STOP: list[Callable[[], None]] = []
"""What the server gives the application to stop it."""
WRITERS: list[Any] = []
HUGE = b"\x82\x7f" + (100_000).to_bytes(8, "big") + b"x" * 100_000
"""A whole server frame of 100 kB."""


async def app(scope: Scope, receive: Any, send: Any) -> None:
    """Dispatch by path; a socket's path names one of the functions below."""
    if scope["type"] == "lifespan":
        STOP.append(scope["extensions"]["switchboard.stop"])
        return
    if scope["type"] == "http":
        await _http(scope, receive, send)
        return
    assert (await receive())["type"] == "websocket.connect"
    query = {name: values[-1] for name, values in parse_qs(scope["query_string"].decode()).items()}
    await SOCKETS[scope["path"]](scope, receive, send, query)


async def echo(scope: Scope, receive: Any, send: Any, query: dict[str, str]) -> None:
    """Send back what comes."""
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})


async def close(scope: Scope, receive: Any, send: Any, query: dict[str, str]) -> None:
    """Close with a code and reason after the accept, and say what the disconnect says."""
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.close", "code": int(query["code"]), "reason": query.get("reason", "")})
    COUNTS["codes"].append((await receive())["code"])


async def told(scope: Scope, receive: Any, send: Any, query: dict[str, str]) -> None:
    """Remember the code of the disconnect."""
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        pass
    COUNTS["codes"].append(message["code"])


async def undecided(scope: Scope, receive: Any, send: Any, query: dict[str, str]) -> None:
    """Wait before the accept, and remember the code of the disconnect."""
    COUNTS["waiting"] += 1
    COUNTS["codes"].append((await receive())["code"])


async def refuse(scope: Scope, receive: Any, send: Any, query: dict[str, str]) -> None:
    """Close before the accept."""
    await send({"type": "websocket.close", "code": 4000})


async def deny(scope: Scope, receive: Any, send: Any, query: dict[str, str]) -> None:
    """Answer the handshake with a response of its own."""
    headers = [(b"content-type", b"text/plain"), (b"x-why", b"no seat")]
    await send({"type": "websocket.http.response.start", "status": 409, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": b"no ", "more_body": True})
    await send({"type": "websocket.http.response.body", "body": b"seat"})


async def last_protocol(scope: Scope, receive: Any, send: Any, query: dict[str, str]) -> None:
    """Accept the last subprotocol offered, with a header of its own."""
    headers = [(b"x-served-by", b"tests")]
    await send({"type": "websocket.accept", "subprotocol": scope["subprotocols"][-1], "headers": headers})
    await receive()


async def foreign_protocol(scope: Scope, receive: Any, send: Any, query: dict[str, str]) -> None:
    """Accept a subprotocol that was not offered."""
    await send({"type": "websocket.accept", "subprotocol": "invented"})


async def fail(scope: Scope, receive: Any, send: Any, query: dict[str, str]) -> None:
    """Raise, before or after the accept."""
    if query.get("when") != "before":
        await send({"type": "websocket.accept"})
    raise RuntimeError("a handler failed")


async def leave(scope: Scope, receive: Any, send: Any, query: dict[str, str]) -> None:
    """Return with the socket open."""
    await send({"type": "websocket.accept"})


async def wait_to_accept(scope: Scope, receive: Any, send: Any, query: dict[str, str]) -> None:
    """Accept after /go."""
    COUNTS["waiting"] += 1
    await GO.wait()
    await send({"type": "websocket.accept"})
    await receive()


async def sleep(scope: Scope, receive: Any, send: Any, query: dict[str, str]) -> None:
    """Never answer the handshake."""
    await asyncio.sleep(3600)


async def whoami(scope: Scope, receive: Any, send: Any, query: dict[str, str]) -> None:
    """Say what the scope says about the client, and which process serves it."""
    await send({"type": "websocket.accept"})
    text = json.dumps({"client": scope["client"], "scheme": scope["scheme"], "pid": os.getpid()})
    await send({"type": "websocket.send", "text": text})
    await receive()


async def cleans(scope: Scope, receive: Any, send: Any, query: dict[str, str]) -> None:
    """Count in, count out after a clean-up that takes a moment."""
    await send({"type": "websocket.accept"})
    COUNTS["open"] += 1
    while (await receive())["type"] == "websocket.receive":
        pass
    await asyncio.sleep(0.1)
    COUNTS["cleaned"] += 1
    if path := os.environ.get("CLEANED_FILE"):
        with open(path, "a") as file:  # noqa: ASYNC230, PTH123 - one byte each
            file.write(".")


async def stuck(scope: Scope, receive: Any, send: Any, query: dict[str, str]) -> None:
    """Ignore the disconnect."""
    await send({"type": "websocket.accept"})
    await asyncio.sleep(3600)


async def wait_to_read(scope: Scope, receive: Any, send: Any, query: dict[str, str]) -> None:
    """Receive nothing until /go, then count messages that are numbers, and answer `done` with the total."""
    WRITERS.append(scope["extensions"]["switchboard.writer"])
    await send({"type": "websocket.accept"})
    await GO.wait()
    while (message := await receive())["type"] == "websocket.receive":
        if message["text"] == "done":
            await send({"type": "websocket.send", "text": str(COUNTS["received"])})
            continue
        COUNTS["in_order"] &= int(message["text"]) == COUNTS["received"]
        COUNTS["received"] += 1


async def offer(scope: Scope, receive: Any, send: Any, query: dict[str, str]) -> None:
    """Offer frames through the writer whether they are read or not; beyond 1 MiB the reader is slow."""
    writer = scope["extensions"]["switchboard.writer"]
    WRITERS.append(writer)
    await send({"type": "websocket.accept"})
    for _ in range(int(query["frames"])):
        writer.write(HUGE)
        if writer.held() > 2**20:
            writer.close(4100, "reader too slow")
            COUNTS["thrown"] += writer.abort()
        await asyncio.sleep(0)
    COUNTS["codes"].append((await receive())["code"])


async def push(scope: Scope, receive: Any, send: Any, query: dict[str, str]) -> None:
    """Send through ASGI whether it is read or not."""
    await send({"type": "websocket.accept"})
    for _ in range(int(query["frames"])):
        await send({"type": "websocket.send", "bytes": b"x" * 100_000})
    await send({"type": "websocket.close"})
    await receive()


async def drained(scope: Scope, receive: Any, send: Any, query: dict[str, str]) -> None:
    """When told to, write 8 MiB at once; say when the writer says that all is with the kernel."""
    writer = scope["extensions"]["switchboard.writer"]
    await send({"type": "websocket.accept"})
    await receive()
    for _ in range(80):
        writer.write(HUGE)
    held = writer.held()
    COUNTS["received"] += 1
    event = asyncio.Event()
    writer.notify_drained(event.set)
    await event.wait()
    await send({"type": "websocket.send", "text": f"{held > 0} {writer.held()}"})
    await receive()


SOCKETS = {
    f"/{function.__name__}": function
    for function in (
        echo,
        close,
        told,
        undecided,
        refuse,
        deny,
        last_protocol,
        foreign_protocol,
        fail,
        leave,
        wait_to_accept,
        sleep,
        whoami,
        cleans,
        stuck,
        wait_to_read,
        offer,
        push,
        drained,
    )
}


async def _http(scope: Scope, receive: Any, send: Any) -> None:
    if scope["path"] == "/wait":
        await GO.wait()
    while (message := await receive()).get("more_body") and scope["path"] != "/early":
        pass
    if message["type"] == "http.disconnect":
        return
    if scope["path"] == "/go":
        GO.set()
    if scope["path"] == "/wait_to_answer":
        COUNTS["waiting"] += 1
        await GO.wait()
    if (answer := ANSWERS.get(scope["path"])) is not None:
        await answer(receive, send)
        return
    COUNTS["answered"] += 1
    state = scope["extensions"]["switchboard.server"]
    stats = {
        **COUNTS,
        "pid": os.getpid(),
        "client": scope["client"],
        "scheme": scope["scheme"],
        "draining": state["draining"],
        "root_path": scope["root_path"],
        "open_writers": sum(writer.open for writer in WRITERS),
        "held": sum(writer.held() for writer in WRITERS),
        "path": scope["path"],
    }
    await send({"type": "http.response.start", "status": 503 if state["draining"] else 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(stats).encode()})


async def _fail(receive: Any, send: Any) -> None:
    raise RuntimeError("a handler failed")


async def _nothing(receive: Any, send: Any) -> None:
    """Return without an answer."""


async def _stop(receive: Any, send: Any) -> None:
    """Have the server end in order, as an operator does over REST."""
    STOP[0]()
    await _answer(202)(receive, send)


async def _waits(receive: Any, send: Any) -> None:
    """Wait in a thread for a task of the loop that does not end."""
    loop = asyncio.get_running_loop()

    def wait() -> None:
        logger.warning("waits for the loop")
        try:
            asyncio.run_coroutine_threadsafe(asyncio.sleep(3600), loop).result()
        except CancelledError:
            logger.warning("the wait was cancelled")

    await asyncio.to_thread(wait)


async def _sleeps(receive: Any, send: Any) -> None:
    """Do something in a thread that does not end."""

    def forever() -> None:
        logger.warning("sleeps")
        time.sleep(3600)

    await asyncio.to_thread(forever)


async def _gone(receive: Any, send: Any) -> None:
    """Wait until the client has gone."""
    COUNTS["waiting"] += 1
    assert (await receive())["type"] == "http.disconnect"
    COUNTS["gone"] += 1


def _answer(
    status: int, *parts: bytes, fails: bool = False, headers: Any = ()
) -> Callable[[Any, Any], Coroutine[Any, Any, None]]:
    """Answer with a body in parts, and fail behind them or not."""

    async def answer(receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for part in parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        if fails:
            raise RuntimeError("a handler failed")
        await send({"type": "http.response.body"})

    return answer


LENGTH = [(b"content-length", b"5")]
ANSWERS = {
    "/raise": _fail,
    "/stop": _stop,
    "/nothing": _nothing,
    "/gone": _gone,
    "/waits": _waits,
    "/sleeps": _sleeps,
    "/stream": _answer(200, b"one", b"two"),
    "/large": _answer(200, *([bytes(2**20)] * 101)),
    "/empty": _answer(204, headers=[(b"content-length", b"0")]),
    "/unchanged": _answer(304),
    "/short": _answer(200, b"1234", headers=LENGTH),
    "/long": _answer(200, b"123456", headers=LENGTH),
    "/break": _answer(200, b"one", fails=True),
    "/break-out": _answer(200, headers=[(b"x-name", b"a\r\nInjected: b")]),
    "/break-out-name": _answer(200, headers=[(b"x-name: a\r\nInjected", b"b")]),
}
