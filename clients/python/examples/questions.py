"""Two clients: one answers questions of the other, which it asks through the server.

SWITCHBOARD_API_KEY=sb_... python examples/questions.py ws://127.0.0.1:8000/connection
"""

from __future__ import annotations

import asyncio
import os
import sys

from switchboard_client import Delivery, connect

DESK = "channel:questions"


async def main(url: str) -> None:
    """Ask, and print the answer."""
    key = os.environ["SWITCHBOARD_API_KEY"]
    async with await connect(url, key=key) as expert, await connect(url, key=key) as curious:
        answered = asyncio.Event()

        async def answer(delivery: Delivery) -> None:
            await expert.publish([delivery.message["back_to"]], f"{delivery.message['question']} 42!")

        def read(delivery: Delivery) -> None:
            print(delivery.message)  # noqa: T201
            answered.set()

        expert.on("delivery", answer)
        curious.on("delivery", read)
        await expert.subscribe(DESK)
        own = (await curious.request({"type": "whoami"}))["address"]
        await curious.publish([DESK], {"question": "How many?", "back_to": own})
        await answered.wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
