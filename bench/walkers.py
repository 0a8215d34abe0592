"""Walkers that do nothing but answer; EXTRA_APPS=bench installs them into the server that is measured."""

from __future__ import annotations

from routing_app.events.walkers import report, walker


@walker(methods=["websocket"], auth=False)
async def echo_async(text: str) -> None:
    """Report the text, on the event loop."""
    report(text)


@walker(methods=["websocket"], auth=False)
def echo_sync(text: str) -> None:
    """Report the text, in a thread."""
    report(text)
