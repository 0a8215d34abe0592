"""A server for ASGI: Daphne's HTTP, WebSockets of our own, a drain, worker processes, TLS. No Django."""

from typing import Final

STATE: Final = "switchboard.server"
"""ASGI extension of HTTP scopes: `{"draining": bool}`, one dict for the life of the server."""
PIPELINE: Final = "switchboard.pipeline"
"""ASGI extension of HTTP scopes: `(call) -> None`; has it called once when another request waits behind."""
RESPONSE: Final = "switchboard.response"
"""ASGI extension of HTTP scopes: the response itself, to write a body without an end without waiting. Once it
has begun, it takes `write(data)`, `end()` and `abort()`, which resets the connection; `held()` is how many
bytes the kernel has not taken."""
REQUEST_ID: Final = "switchboard.request_id"
"""ASGI extension of all scopes: the `X-Request-ID` of the request, with which the server itself answers."""
