"""Event streams with hooks: each address is asked about before a stream begins."""

from __future__ import annotations

from tests.hooks.node import NodeBackend
from tests.requests.peer import call
from tests.services.server import Server
from tests.stream.reader import Reader


def test_a_stream_begins_only_where_the_backend_allows_every_address(
    broker: Server, node: NodeBackend, name: str
):
    with node.hooked(broker, "stream", "subscribe", f"token:{name}*"):
        with Reader(broker, f"token:{name}/a", f"token:{name}/private") as refused:
            assert (refused.status, refused.body()) == (403, {"detail": "that is private"})
        with Reader(broker, f"token:{name}/a", "token:elsewhere") as reader:
            assert reader.status == 200
            call(broker, "/api/publish", {"addresses": [f"token:{name}/a"], "message": 1})
            assert reader.messages(1) == [1]
    assert sorted(one["address"] for one in node.asked()) == [
        f"token:{name}/a",
        f"token:{name}/a",
        f"token:{name}/private",
    ]


def test_while_the_backend_fails_a_reader_is_told_to_come_back(broker: Server, node: NodeBackend, name: str):
    hook = ("stream", "subscribe", f"token:{name}", "broken")
    with node.hooked(broker, *hook), Reader(broker, f"token:{name}") as reader:
        assert (reader.status, int(reader.header("Retry-After") or 0) > 0) == (503, True)
    with node.hooked(broker, *hook, fail="open"), Reader(broker, f"token:{name}") as reader:
        assert reader.status == 200
