"""One server on SQLite, whose file lies on a small disk of its own."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from tests.faults.cluster import Node
from tests.faults.proxy import Proxy
from tests.services.server import Server
from tests.services.small_disk import SmallDisk


def alone(stack: ExitStack, folder: Path, database_url: str, **options: str) -> tuple[SmallDisk, Node]:
    """The disk, with a copy of a database, and the server, which is ready; the stack ends both."""
    disk = stack.enter_context(SmallDisk(folder))
    disk.take(Path(database_url.removeprefix("sqlite:///")))
    basic = {"METRICS_OPEN": "yes", "WEBHOOKS_PRIVATE": "yes"}
    on_disk = {"VAR_DIR": str(disk.path), "DATABASE_URL": disk.url}
    server = Server(folder, {**basic, **on_disk, **options}, within=disk.within)
    stack.callback(server.close)
    server.start()
    node = Node(server, stack.enter_context(Proxy(server.port)))
    server.process.wait_until(node.is_ready)
    return disk, node
