"""Two handlers, as README.md would have a user write them."""

from __future__ import annotations

from collections.abc import Mapping

from routing_app.core.database import query
from routing_app.core.models import ConnectionRecord
from routing_app.requests.handlers import Context, on_request


@on_request("echo")
async def echo(context: Context) -> None:
    """Answer with the text of the request."""
    await context.reply({"text": context.message["text"]})


@on_request("read")
async def read(context: Context) -> None:
    """Answer with the text of the request, and with the row of the connection that it came by."""
    row = await query(_row, context.connection.id)
    await context.reply({"text": context.message["text"], "row": row})


def _row(id: str) -> Mapping[str, object] | None:
    return ConnectionRecord.objects.filter(pk=id).values("protocol", "peer", "identity").first()
