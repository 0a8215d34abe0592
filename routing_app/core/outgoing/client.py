"""POSTs to others, bounded in time and size. `httpx` is imported with the first: that takes a while."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from routing_app import __version__
from routing_app.core.outgoing.failures import AnswerLate

if TYPE_CHECKING:
    from routing_app.core.outgoing.http import Http

MAX_ANSWER_BYTES: Final = 64 * 1024
OURS: Final = {
    "content-type": "application/json",
    "user-agent": f"Switchboard/{__version__}",
    # What is packed would have to be unpacked to be bounded.
    "accept-encoding": "identity",
}
"""Headers of every call, unless the caller has others."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a receiver has answered; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    is_whole: bool = True
    """False where the body had more than MAX_ANSWER_BYTES, which are all that was read."""


class Client:
    """Calls for one event loop; connections are kept for the next call for a few seconds.

    Every name is resolved here, every address checked, and the connection made to the address that was
    checked. Redirects are not followed, cookies not kept, proxies not used.
    """

    def __init__(self, *, private: bool) -> None:
        """`private`: calls may go to loopback, private and link-local addresses, too."""
        self._private = private
        self._http: Http | None = None
        self._making = asyncio.Lock()

    async def post(self, url: str, body: bytes, headers: Mapping[str, str], timeout: float) -> Answer:
        """The answer, whatever its status, after `timeout` seconds at the latest. Raises CallFailed."""
        http = self._http or await self._make()
        try:
            async with asyncio.timeout(timeout):
                return await http.post(url, body, {**OURS, **headers})
        except TimeoutError:
            raise AnswerLate(f"no answer within {timeout:g} s") from None

    async def close(self) -> None:
        """Close the connections that were kept; the next call opens others."""
        http, self._http = self._http, None
        if http is not None:
            await http.close()

    async def _make(self) -> Http:
        async with self._making:
            if self._http is None:
                self._http = await asyncio.to_thread(_new_http, self._private)
            return self._http


def _new_http(private: bool) -> Http:
    from routing_app.core.outgoing.http import Http  # noqa: PLC0415 - only where something is called

    return Http(private=private)
