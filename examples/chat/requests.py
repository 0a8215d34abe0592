"""Handlers of the requests protocol: an answer in pieces, and a question to the client.

{"direction": "REQUEST", "key": 1, "type": "count", "to": 3}
{"direction": "REQUEST", "key": 2, "type": "greet"}
"""

from __future__ import annotations

from switchboard import Context, on_request

MOST = 100


@on_request("count")
async def count(context: Context) -> None:
    """Count from 0 in partial answers."""
    to = context.message.get("to")
    if not isinstance(to, int) or not 0 <= to <= MOST:
        await context.error({"message": f"expected `to` from 0 to {MOST}"})
        return
    for n in range(to):
        await context.partial({"n": n})
    await context.reply({"done": True})


@on_request("greet")
async def greet(context: Context) -> None:
    """Ask the client for its name, and greet it."""
    answer = await context.connection.request({"type": "name?"}, timeout=60)
    await context.reply({"text": f"Hello, {answer.get('name', 'stranger')}!"})
