"""Hooks of the requests protocol: what a backend is asked before, and in place of, a handler."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

from routing_app.core import metrics
from routing_app.core.hooks.question import UNCHANGED, asked_by
from routing_app.core.hooks.refusing import is_sent_away
from routing_app.core.hooks.table import HookSet
from routing_app.core.rest.hooked import Screen, screening
from routing_app.core.worker import current_worker
from routing_app.requests import access
from routing_app.requests.connection import Connection
from routing_app.requests.context import Context
from routing_app.requests.errors import HookDenied, RequestDenied
from routing_app.requests.handlers import Handler

OWN: Final = frozenset(
    ("authenticate", "history", "presence", "publish", "publish_batch", "subscribe", "unsubscribe", "whoami")
)
"""Types of requests that the server answers itself."""


def concern(hooks: HookSet, type: str) -> bool:
    """True when a hook is to be asked about requests of a type."""
    return type not in OWN and hooks.concerns(type)


def handler_of(hooks: HookSet, handler: Handler | None) -> Handler:
    """A handler that asks hooks; what they leave to the server goes on to `handler`, if there is one."""

    async def ask(context: Context) -> None:
        inner = context.connection.inner
        question = asked_by(inner, context.type, context.message, wants_objects=True)
        verdict = await current_worker().hooks.ask(hooks, question)
        if not verdict.allow:
            raise HookDenied(verdict.reason, verdict.unavailable)
        if verdict.answered:
            for partial in verdict.partials:
                await context.partial(partial)
            await (context.error(verdict.error) if verdict.is_error else context.reply(verdict.reply))
        elif handler is not None:
            await handler.function(context)
        elif verdict.unavailable:
            raise HookDenied("", unavailable=True)
        else:
            raise RequestDenied("unhandled", "no handler takes this type of request")

    if handler is None:
        return Handler(ask, "hook", metrics.REQUEST.labels("hook"))
    return Handler(ask, handler.type, handler.times, handler.in_order)


async def screened(client: Connection, hooks: HookSet, addresses: Collection[str], message: Any) -> Any:
    """The message to publish, as hooks let it pass. Raises RequestDenied, and ConnectionClosed for a client
    that the server has sent away meanwhile."""
    verdict = await current_worker().hooks.ask_each(
        hooks, addresses, lambda address: asked_by(client.inner, address, message)
    )
    if not verdict.allow:
        raise HookDenied(verdict.reason, verdict.unavailable)
    if is_sent_away(client.inner):
        raise client.failure()
    # Another key, or less in the same one, while the backend was asked.
    access.check_covered(client.grant.may_publish, addresses)
    return message if verdict.message is UNCHANGED else verdict.message


async def check_read(client: Connection, hooks: HookSet, addresses: Collection[str]) -> None:
    """Raise RequestDenied unless hooks let a client receive or read from all of these addresses."""
    verdict = await current_worker().hooks.ask_each(
        hooks, addresses, lambda address: asked_by(client.inner, address)
    )
    if not verdict.allow:
        raise HookDenied(verdict.reason, verdict.unavailable)
    if client.is_closed:
        raise client.failure()
    access.check_covered(client.grant.may_subscribe, addresses)


def screen_of(client: Connection, hooks: HookSet) -> Screen:
    """The same as `screened` for the messages of a batch, with errors in the words of the REST API."""
    screen = screening(hooks, lambda address, message: asked_by(client.inner, address, message))

    async def screen_while_open(addresses: Sequence[str], message: Any) -> Any:
        content = await screen(addresses, message)
        if is_sent_away(client.inner):
            raise client.failure()
        return content

    return screen_while_open
