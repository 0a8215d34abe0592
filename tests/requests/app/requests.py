"""Handlers of the tests: what an app of one's own would have."""

from __future__ import annotations

import asyncio

from django.db import OperationalError

from routing_app.requests.errors import Answered, ConnectionClosed, RequestError
from routing_app.requests.handlers import (
    Connection,
    Context,
    RequestDenied,
    on_close,
    on_connection,
    on_error,
    on_message,
    on_request,
)
from routing_app.requests.remote import connection

log: list[object] = []
"""Events of this app, for a test that asks with `log`."""


@on_request("echo")
async def echo(context: Context) -> None:
    await context.reply(context.message)


@on_request("count")
async def count(context: Context) -> None:
    """As in README.md of the protocol, and asked by the examples of both clients."""
    for n in range(context.message["to"]):
        await context.partial({"n": n})
    await context.reply({"done": True})


@on_request("question")
async def question(context: Context) -> None:
    """The transcript's request: two partials, then the reply."""
    await context.partial({"n": 1})
    await context.partial({"n": 2})
    await context.reply({"answer": "ok"})


@on_request("fail")
async def fail(context: Context) -> None:
    await context.error({"message": "nope", "code": 7})


@on_request()
async def untyped(context: Context) -> None:
    """Requests without a handler of their type; the transcript's first one has no type."""
    if context.message.get("question"):
        await question(context)
        return
    raise RequestDenied("unhandled", "nobody takes this")


@on_request("boom")
async def boom(context: Context) -> None:
    raise RuntimeError("a secret of the server")


@on_request("outage")
async def outage(context: Context) -> None:
    """The error of the ORM while the database is out."""
    raise OperationalError("a secret address of the database")


@on_request("silent")
async def silent(context: Context) -> None:
    """Ends without an answer."""


@on_request("late")
async def late(context: Context) -> None:
    await asyncio.sleep(context.message["seconds"])
    await context.reply({"late": True})


@on_request("twice")
async def twice(context: Context) -> None:
    await context.reply({"n": 1})
    refused = []
    for answer in (context.reply, context.error, context.partial):
        try:
            await answer({"n": 2})
        except Answered:
            refused.append(answer.__name__)
    log.append(refused)


@on_request("partials")
async def partials(context: Context) -> None:
    for n in range(context.message["count"]):
        await context.partial({"n": n, "padding": context.message.get("padding", "")})
    await context.reply({"done": True})


@on_request("ask me")
async def ask_me(context: Context) -> None:
    """Ask the asking client back, and answer with what came."""
    request = context.connection.request(context.message["ask"], timeout=context.message.get("timeout"))
    try:
        pieces = [piece["n"] async for piece in request]
        await context.reply({"pieces": pieces, "got": (await request).message})
    except RequestError as error:
        await context.reply({"error": error.message})
    except TimeoutError:
        await context.reply({"timeout": True})
    except ConnectionClosed as closed:
        log.append([closed.code, closed.reason])


@on_request("ask other")
async def ask_other(context: Context) -> None:
    """Ask another connection, wherever it is."""
    timeout = context.message.get("timeout")
    request = connection(context.message["id"]).request(context.message["ask"], timeout=timeout)
    try:
        async for piece in request:
            await context.partial({"piece": piece})
        await context.reply({"got": await request})
    except RequestError as error:
        await context.reply({"error": error.message})
    except TimeoutError:
        await context.reply({"timeout": True})
    except ConnectionClosed as closed:
        await context.reply({"closed": [closed.code, closed.reason]})


@on_request("give up")
async def give_up(context: Context) -> None:
    """Ask another connection, and cancel the wait when a part of its answer has come."""
    request = connection(context.message["id"]).request(context.message["ask"])
    await anext(aiter(request))
    request.cancel()
    await context.reply({"cancelled": request.done})


@on_request("send me")
async def send_me(context: Context) -> None:
    try:
        await context.connection.send(context.message["send"], timeout=context.message.get("timeout"))
        await context.reply({"received": True})
    except TimeoutError:
        await context.reply({"received": False})


@on_request("close me")
async def close_me(context: Context) -> None:
    await context.reply({"bye": True})
    await context.connection.close(context.message["code"], context.message["reason"])


@on_request("log")
async def read_log(context: Context) -> None:
    await context.reply({"log": log})


@on_request("clear log")
async def clear_log(context: Context) -> None:
    log.clear()
    await context.reply()


@on_message("note")
async def note(context: Context) -> None:
    log.append(context.message["text"])


@on_message()
async def other_message(context: Context) -> None:
    log.append(["untyped", context.message])


@on_message("tell me")
async def tell_me(context: Context) -> None:
    await context.connection.send({"type": "told", "text": context.message["text"]})


@on_connection
async def came(connection: Connection) -> None:
    log.append("came")


@on_close
async def left(connection: Connection, code: int, reason: str) -> None:
    log.append(["left", code, reason])


@on_error
def failed(connection: Connection, error: Exception) -> None:
    log.append(["error", type(error).__name__])
