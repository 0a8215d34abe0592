"""Our Daphne: the WebSocket side rewritten for drain, bounded memory and fan-out, plus workers and TLS."""

from typing import Final

STATE: Final = "switchboard.server"
"""ASGI extension of HTTP scopes: `{"draining": bool}`, one dict for the life of the server."""
PIPELINE: Final = "switchboard.pipeline"
"""ASGI extension of HTTP scopes: `(call) -> None`; has it called once when another request waits behind."""
