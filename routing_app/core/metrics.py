"""What /metrics shows. Labels never hold a token, an address or an id.

`docs/metrics.md` is made of the sentences here: `manage.py metrics` prints them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from routing_app import __version__
from routing_app.core.codes import Loss, Refusal
from routing_app.core.described import any_thread_counter, counter, durations, gauge, late_gauge
from routing_app.core.durations import LONG

BUILD: Final = gauge(
    "switchboard_build_info", "1, with the version of the server as its label.", ["version"], mode="livemax"
)
CONNECTIONS: Final = gauge("switchboard_connections", "Open connections of this worker.", ["protocol"])
OPENED: Final = counter("switchboard_opened_total", "Connections accepted.", ["protocol"])
CLOSED: Final = counter(
    "switchboard_closed_total", "Connections that ended, by the name of their close.", ["protocol", "close"]
)
WAITING: Final = gauge(
    "switchboard_waiting", "Sessions of this worker whose client is away and may come back.", ["protocol"]
)
RECOVERIES: Final = counter(
    "switchboard_recoveries_total",
    "Clients that asked for their old session: recovered, or new where it cannot be.",
    ["protocol", "outcome"],
)
RECEIVED: Final = counter("switchboard_received_total", "Frames read from clients.", ["protocol"])
PUBLISHED: Final = counter("switchboard_published_total", "Messages given to the hub.")
DELIVERED: Final = counter("switchboard_delivered_total", "Frames put into outboxes.")
LOST: Final = any_thread_counter(
    "switchboard_lost_total", "Messages, or frames to one connection, that were lost.", ["reason"]
)
REFUSED: Final = any_thread_counter(
    "switchboard_refused_total", "What clients sent and was refused.", ["protocol", "reason"]
)
HOOKS: Final = counter(
    "switchboard_hooks_total", "Questions to hooks, by the step and the outcome.", ["on", "outcome"]
)
HOOKS_LEFT_ALONE: Final = gauge(
    "switchboard_hooks_left_alone",
    "Hooks that this worker does not ask, since they failed too often in a row.",
)
KEY_FETCHES: Final = any_thread_counter(
    "switchboard_jwks_fetches_total",
    "Fetches of keys that issuers or publishers offer at a URL.",
    ["outcome"],
)
ENVELOPES: Final = any_thread_counter(
    "switchboard_envelopes_total", "Envelopes over the channel layer.", ["direction"]
)
LAYER_ERRORS: Final = any_thread_counter(
    "switchboard_layer_errors_total", "Failed calls of the channel layer."
)
ADDRESSES: Final = gauge("switchboard_addresses", "Addresses that have a connection in this worker.")
WRITES: Final = counter("switchboard_writes_total", "Rows written by grouped transactions.", ["outcome"])
TASKS: Final = gauge("switchboard_tasks", "asyncio tasks of this worker, counted about every second.")
WEBHOOK_ATTEMPTS: Final = any_thread_counter(
    "switchboard_webhook_attempts_total",
    "Calls of webhooks: done, retry, failed, or gone (410).",
    ["outcome"],
)
WEBHOOK_PENDING: Final = gauge(
    "switchboard_webhook_pending",
    "Deliveries that wait for their next attempt, of webhooks that are on.",
    mode="livemax",
)
CLOSE_CODES: Final = counter(
    "switchboard_close_codes_total",
    "Connections that ended, by the code of the end that closed; `other` where the code is the client's own.",
    ["protocol", "code"],
)
HANDSHAKE: Final = durations(
    "switchboard_handshake_seconds",
    "From a handshake to its answer, where the client was let in.",
    ["protocol"],
)
TIMED: Final = 8
"""One of so many frames of a connection is timed, the first among them: to time one takes 0.5 µs."""
HANDLE: Final = durations(
    "switchboard_handle_seconds",
    f"From a frame that was read until it is handled: of each connection the first, then one of {TIMED}.",
    ["protocol"],
)
PUBLISH: Final = durations(
    "switchboard_publish_seconds",
    "From a publish, or its arrival from another worker, until it is given to the sockets of this worker. "
    "Publications of one turn of the event loop count alike, with the time of the slowest.",
)
RELAY: Final = durations(
    "switchboard_relay_seconds",
    "From a publish in one worker to its arrival in another: of each envelope the oldest message.",
)
POLL: Final = durations(
    "switchboard_poll_seconds", "Waits of polls until they are answered.", ["protocol"], LONG
)
QUERY: Final = durations(
    "switchboard_query_seconds", "Queries beside the event loop, with the wait for a thread."
)
WRITE_WAIT: Final = durations(
    "switchboard_write_wait_seconds", "Waits of grouped writes until their transaction begins."
)
WRITE: Final = durations("switchboard_write_seconds", "Transactions of grouped writes.")
REQUEST: Final = durations(
    "switchboard_request_seconds",
    "Runs of handlers of the requests protocol, by what they are for.",
    ["type"],
)
SESSION_CREATE: Final = durations(
    "switchboard_session_create_seconds",
    "Requests of players for a session, by the status of the answer.",
    ["status"],
)
WEBHOOK: Final = durations(
    "switchboard_webhook_seconds", "Calls of webhooks, until they have answered or failed.", ["outcome"]
)
HOOK: Final = durations("switchboard_hook_seconds", "Questions to hooks, by the step.", ["on"])
LOOP_LAG: Final = durations(
    "switchboard_loop_lag_seconds",
    "By how much the event loop is late, looked at four times a second; about 1 ms is the timer's own.",
)
OUTBOX_BYTES: Final = gauge(
    "switchboard_outbox_bytes", "Bytes that wait for clients to read them, counted about every second."
)
TRACED: Final = gauge("switchboard_traced_connections", "Connections of this worker that an operator traces.")
REDIS_UP: Final = late_gauge(
    "switchboard_redis_up",
    "1 while all servers of REDIS_URL carry envelopes, with several workers the smallest value; "
    "only with REDIS_URL.",
    "livemin",
)
DATABASE_POOL: Final = gauge(
    "switchboard_database_pool",
    "Connections of the pool by state: used, idle; and waiting, the threads that want one. Only PostgreSQL.",
    ["state"],
)
REST: Final = "api"
"""The label that REST has in place of a protocol."""
OUTCOMES_OF_WRITES: Final = ("committed", "failed")
OUTCOMES_OF_ATTEMPTS: Final = ("done", "retry", "failed", "gone")


def show_zeros(protocols: Iterable[str]) -> None:
    """Show the version, and at 0 what alerts look at: Prometheus sees no growth where samples begin at 1."""
    BUILD.labels(__version__).set(1)
    for loss in Loss:
        LOST.labels(loss)
    for protocol in (*protocols, REST):
        for refusal in Refusal:
            REFUSED.labels(protocol, refusal)
    for outcome in OUTCOMES_OF_WRITES:
        WRITES.labels(outcome)
    for outcome in OUTCOMES_OF_ATTEMPTS:
        WEBHOOK_ATTEMPTS.labels(outcome)
