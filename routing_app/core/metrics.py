"""The counters that /metrics shows. Labels never hold a token, an address or an id."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge

from routing_app.core.tally import counter

CONNECTIONS: Final = Gauge(
    "switchboard_connections", "Open connections of this worker.", ["protocol"], multiprocess_mode="livesum"
)
OPENED: Final = counter("switchboard_opened_total", "Connections accepted.", ["protocol"])
CLOSED: Final = counter(
    "switchboard_closed_total", "Connections that ended, by the name of their close.", ["protocol", "close"]
)
WAITING: Final = Gauge(
    "switchboard_waiting",
    "Sessions of this worker whose client is away and may come back.",
    ["protocol"],
    multiprocess_mode="livesum",
)
RECOVERIES: Final = counter(
    "switchboard_recoveries_total",
    "Clients that asked for their old session: recovered, or new where it cannot be.",
    ["protocol", "outcome"],
)
RECEIVED: Final = counter("switchboard_received_total", "Frames read from clients.", ["protocol"])
PUBLISHED: Final = counter("switchboard_published_total", "Messages given to the hub.")
DELIVERED: Final = counter("switchboard_delivered_total", "Frames put into outboxes.")
LOST: Final = Counter(
    "switchboard_lost_total", "Messages, or frames to one connection, that were lost.", ["reason"]
)
REFUSED: Final = Counter(
    "switchboard_refused_total", "What clients sent and was refused.", ["protocol", "reason"]
)
KEY_FETCHES: Final = Counter(
    "switchboard_jwks_fetches_total", "Fetches of keys that publishers offer at a URL.", ["outcome"]
)
ENVELOPES: Final = Counter("switchboard_envelopes_total", "Envelopes over the channel layer.", ["direction"])
LAYER_ERRORS: Final = Counter("switchboard_layer_errors_total", "Failed calls of the channel layer.")
ADDRESSES: Final = Gauge(
    "switchboard_addresses", "Addresses that have a connection in this worker.", multiprocess_mode="livesum"
)
WRITES: Final = counter("switchboard_writes_total", "Rows written by grouped transactions.", ["outcome"])
TASKS: Final = Gauge(
    "switchboard_tasks", "asyncio tasks of this worker, counted every 5 s.", multiprocess_mode="livesum"
)
