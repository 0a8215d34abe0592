"""One handler, as README.md would have a user write it."""

from __future__ import annotations

from routing_app.requests.handlers import Context, on_request


@on_request("echo")
async def echo(context: Context) -> None:
    """Answer with the text of the request."""
    await context.reply({"text": context.message["text"]})
