"""`switchboard listen|send|request`: the client on the command line."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from switchboard_client.connecting import connect
from switchboard_client.connection import Connection
from switchboard_client.deliveries import Delivery
from switchboard_client.dialing import LATER, may_pass, waits
from switchboard_client.errors import ConnectionClosed, RequestError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it was done, 1 when the server refused or went away, 2 for wrong arguments."""
    options = _parser().parse_args(arguments)
    try:
        asyncio.run(_run(options))
    except KeyboardInterrupt:
        return 130
    except RequestError as error:
        print(_json(error.message), file=sys.stderr)  # noqa: T201
        return 1
    except (ConnectionClosed, OSError, TimeoutError, ValueError) as error:
        print(f"switchboard: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("switchboard", description="Talk to a Switchboard server.")
    url = os.environ.get("SWITCHBOARD_URL", "ws://127.0.0.1:8000/connection")
    parser.add_argument("--url", default=url, help="default: $SWITCHBOARD_URL, or the local server")
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds to wait for an answer")
    commands = parser.add_subparsers(dest="command", required=True)
    listen = commands.add_parser("listen", help="print what is published to addresses, a line each")
    listen.add_argument("address", nargs="+")
    listen.add_argument("--count", type=int, default=0, help="end after so many messages")
    listen.add_argument("--last", type=int, default=0, help="begin with so many messages that are kept")
    listen.add_argument("--recover", action="store_true", help="print what was missed after a reconnect, too")
    send = commands.add_parser("send", help="publish a message to addresses")
    send.add_argument("address", nargs="+")
    send.add_argument("message", help="JSON, or a string")
    send.add_argument("--id", help="the same id is published once")
    request = commands.add_parser("request", help="send a request, print its partial answers and its reply")
    request.add_argument("message", help='a JSON object, such as {"type": "whoami"}')
    return parser


async def _run(options: argparse.Namespace) -> None:
    """A key or a token comes from the environment: others can read a command line."""
    token = os.environ.get("SWITCHBOARD_ACCESS_TOKEN")
    key = None if token else os.environ.get("SWITCHBOARD_API_KEY")
    reconnect = options.command == "listen"
    async with await connect(options.url, key=key, token=token, reconnect=reconnect) as connection:
        await {"listen": _listen, "send": _send, "request": _request}[options.command](connection, options)


async def _listen(connection: Connection, options: argparse.Namespace) -> None:
    deliveries: asyncio.Queue[Delivery | ConnectionClosed] = asyncio.Queue()
    connection.on("delivery", deliveries.put_nowait)
    connection.on("close", deliveries.put_nowait)
    await _subscribe(connection, options)
    print("listening", file=sys.stderr, flush=True)  # noqa: T201
    received = 0
    while not options.count or received < options.count:
        delivery = await deliveries.get()
        if isinstance(delivery, ConnectionClosed):
            raise delivery
        received += 1
        print(_json({"address": delivery.address, "message": delivery.message}), flush=True)  # noqa: T201


async def _subscribe(connection: Connection, options: argparse.Namespace) -> None:
    """Subscribe, for as long as it takes: an outage or a restart of the server is not an answer."""
    for pause in waits(LATER):
        try:
            await connection.subscribe(
                *options.address, recover=options.recover, last=options.last, on_gap=_tell_gap
            )
            return
        except ConnectionClosed:
            await connection.opened()
        except RequestError as error:
            if not may_pass(error.code):
                raise
        await asyncio.sleep(pause)


def _tell_gap(address: str) -> None:
    print(f"switchboard: messages to {address} may be missing", file=sys.stderr, flush=True)  # noqa: T201


async def _send(connection: Connection, options: argparse.Namespace) -> None:
    async with asyncio.timeout(options.timeout):
        outcome = await connection.publish(options.address, _value(options.message), id=options.id)
    print(_json(_own(outcome)))  # noqa: T201


async def _request(connection: Connection, options: argparse.Namespace) -> None:
    message = _value(options.message)
    if not isinstance(message, dict):
        raise ValueError("a request is a JSON object")  # noqa: TRY004 - the user typed it
    request = connection.request(message, timeout=options.timeout)
    async for partial in request:
        print(_json(_own(partial)), flush=True)  # noqa: T201
    print(_json(_own(await request)))  # noqa: T201


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _own(message: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in message.items() if name not in ("key", "direction")}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


if __name__ == "__main__":
    sys.exit(main())
