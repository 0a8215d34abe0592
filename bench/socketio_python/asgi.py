"""The client's `call` gets the return value of a handler."""

from __future__ import annotations

import socketio

server = socketio.AsyncServer(async_mode="asgi")
application = socketio.ASGIApp(server)


@server.on("ask")  # type: ignore[untyped-decorator]
async def ask(sid: str, message: str) -> str:
    """Answer with the message."""
    return message
