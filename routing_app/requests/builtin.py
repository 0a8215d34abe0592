"""The handlers that come with the server. Shapes: README.md, "Built-in requests"."""

from __future__ import annotations

from routing_app.requests import service
from routing_app.requests.handlers import Context, on_request


@on_request("publish", in_order=True)
async def publish(context: Context) -> None:
    """Publish `message` to `addresses`."""
    await context.reply(await service.publish(context.connection, context.message))


@on_request("publish_batch", in_order=True)
async def publish_batch(context: Context) -> None:
    """Publish several messages."""
    await context.reply(await service.publish_batch(context.connection, context.message))


@on_request("history")
async def history(context: Context) -> None:
    """The messages that are kept of `address`."""
    await context.reply(await service.history(context.connection, context.message))


@on_request("subscribe", in_order=True)
async def subscribe(context: Context) -> None:
    """Subscribe to `addresses`; messages that were missed follow the reply."""
    answer, start = await service.subscribe(context.connection, context.message)
    try:
        await context.reply(answer)
    finally:
        start()


@on_request("unsubscribe", in_order=True)
async def unsubscribe(context: Context) -> None:
    """Unsubscribe from `addresses`."""
    await context.reply(await service.unsubscribe(context.connection, context.message))


@on_request("presence")
async def presence(context: Context) -> None:
    """The connections that subscribe to `address`."""
    await context.reply(await service.presence(context.connection, context.message))


@on_request("whoami", in_order=True)
async def whoami(context: Context) -> None:
    """Id, name, scopes and addresses of the asking connection."""
    await context.reply(service.whoami(context.connection))


@on_request("authenticate", in_order=True)
async def authenticate(context: Context) -> None:
    """Take the rights of `api_key`."""
    await context.reply(await service.authenticate(context.connection, context.message))
