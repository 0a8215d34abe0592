"""A backend of hooks that allows everything, at next to no cost: it prints its port, and serves."""

from __future__ import annotations

import asyncio
from typing import Any, Final

END: Final = b"\r\n\r\n"
LENGTH: Final = b"content-length:"
BODY: Final = b'{"allow": true}'
ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
    len(BODY),
    BODY,
)


class Backend(asyncio.Protocol):
    """One kept connection."""

    _transport: asyncio.Transport
    _held = b""

    def connection_made(self, transport: Any) -> None:
        """It is open."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each question that is whole."""
        held = self._held + data
        while (end := held.find(END)) >= 0:
            head = held[:end].lower()
            start = head.index(LENGTH) + len(LENGTH)
            whole = end + len(END) + int(head[start:].split(b"\r\n", 1)[0])
            if len(held) < whole:
                break
            held = held[whole:]
            self._transport.write(ANSWER)
        self._held = held


async def main() -> None:
    """Serve."""
    server = await asyncio.get_running_loop().create_server(Backend, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
