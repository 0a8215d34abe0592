"""Settings of the broker, read strictly from the environment and documented where they are read.

`switchboard.settings()` runs this file, each time from the beginning. `OWN` holds what the project's
`settings.py` has set before; it wins over the environment.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from routing_app.broker import logs, secret_key, stores
from routing_app.broker.document_settings import SETTINGS
from routing_app.broker.environment import Environment

OWN: Mapping[str, Any] = globals().get("OWN", {})
SWITCHBOARD_ENVIRONMENT: Environment = Environment(own=OWN)
_env = SWITCHBOARD_ENVIRONMENT

# --- where it listens ------------------------------------------------------------------------------------
HOST = _env.string("HOST", "127.0.0.1", "Address that `serve` listens on.")
PORT = _env.integer("PORT", 8000, "Port that `serve` listens on.", 1, 65535)
WORKERS = _env.integer("WORKERS", 1, "Worker processes; more than one needs REDIS_URL.", 1, 256)
TRUSTED_PROXIES = _env.words(
    "TRUSTED_PROXIES", "", "Addresses or networks whose X-Forwarded-For and -Proto are read."
)
DRAIN_SECONDS = _env.seconds("DRAIN_SECONDS", 10, "Longest time a stopping worker waits for its handlers.")
HTTPS = _env.boolean("HTTPS", False, "TLS; without TLS_CERT with a self-signed certificate in VAR_DIR.")
TLS_CERT = _env.string("TLS_CERT", "", "Certificate chain in PEM form; `serve` then speaks TLS.")
TLS_KEY = _env.string("TLS_KEY", "", "Its private key in PEM form; empty: in the same file.")
PING_INTERVAL = _env.integer(
    "PING_INTERVAL", 25, "Seconds of silence after which a WebSocket is pinged; 0: never."
)
PING_TIMEOUT = _env.integer("PING_TIMEOUT", 20, "Seconds it has to answer before it is dropped.", 1)
COMPRESSION = _env.boolean(
    "COMPRESSION",
    False,
    "Compressed messages (permessage-deflate) and answers (gzip) for clients that take them.",
)

# --- where it keeps things -------------------------------------------------------------------------------
# An installed package may not write beside itself: there it is the folder that the command runs in.
_base = Path(OWN.get("BASE_DIR") or Path.cwd())
_home = _base if (_base / "manage.py").is_file() else Path.cwd()
VAR_DIR = Path(_env.string("VAR_DIR", str(_home / "var"), "Folder of the SQLite file and generated secrets."))
DATABASE_URL = _env.string(
    "DATABASE_URL",
    "",
    "postgres://user:password@host/name or sqlite:///path; empty: switchboard.sqlite3 in VAR_DIR.",
)
REDIS_URL = _env.string(
    "REDIS_URL",
    "",
    "redis://host:port/0, several with commas, or sentinel://; empty: the in-memory layer, for one process.",
)
DATABASE_THREADS = _env.integer(
    "DATABASE_THREADS", 8, "Threads, and pooled connections, a worker uses for the database.", 1, 128
)
DATABASE_SECONDS = _env.seconds(
    "DATABASE_SECONDS",
    10,
    "Longest time of a statement on PostgreSQL, until its connection is given up; 0: any time.",
)

# --- secrets and safety ----------------------------------------------------------------------------------
SECURE_COOKIES: str = _env.string(
    "SECURE_COOKIES",
    "auto",
    "Cookies with `Secure`: `yes`, `no`, or `auto`: over HTTPS, as it is or as a trusted proxy says.",
    ("auto", "yes", "no"),
)
TOKENS_API_OPEN = _env.boolean(
    "TOKENS_API_OPEN", False, "The form API at / without an API key, as the original was."
)
ORIGINS: dict[str, list[str]] = {}
"""`<PROTOCOL>_ORIGINS` of every protocol that is installed; `protocols.py` reads them."""
ACCESS: dict[str, str] = {}
"""`<PROTOCOL>_ACCESS`, `open` or `token`, of every protocol that has it; `protocols.py` reads them."""
TOKEN_LEEWAY_SECONDS = _env.seconds(
    "TOKEN_LEEWAY_SECONDS", 5, "The clock of a signer of tokens may be off by so much."
)

# --- limits ----------------------------------------------------------------------------------------------
MAX_FRAME_BYTES = _env.integer(
    "MAX_FRAME_BYTES", 65536, "Largest inbound frame, but for rooms; larger: 1009.", 128, 2**26
)
MAX_OUTBOX_BYTES = _env.integer(
    "MAX_OUTBOX_BYTES", 2**20, "Backlog of one connection before it is slow.", 2**10
)
MAX_OUTBOX_FRAMES = _env.integer("MAX_OUTBOX_FRAMES", 1000, "The same, counted in frames.", 10)
MAX_CONNECTIONS = _env.integer("MAX_CONNECTIONS", 100_000, "Open sockets a worker holds.", 1)
MAX_CONNECTIONS_PER_PEER = _env.integer(
    "MAX_CONNECTIONS_PER_PEER", 0, "Open sockets one network address may hold in a worker; 0: any number."
)
IPV6_PREFIX = _env.integer(
    "IPV6_PREFIX",
    64,
    "Bits of an IPv6 address that count in every limit per network address.",
    1,
    128,
)
MAX_RECEIVERS = _env.integer("MAX_RECEIVERS", 1000, "Addresses one message may name.", 1)

# --- streams ---------------------------------------------------------------------------------------------
HISTORY_SIZE = _env.integer(
    "HISTORY_SIZE", 0, "Messages kept of each address that no rule of addresses names; 0: none.", 0, 10_000
)
HISTORY_SECONDS = _env.integer("HISTORY_SECONDS", 300, "How long they are kept.", 1, 2_592_000)
IDEMPOTENCY_SECONDS = _env.integer(
    "IDEMPOTENCY_SECONDS", 300, "How long a message with an `id` is not published again.", 1, 2_592_000
)
MAX_SCHEDULED = _env.integer(
    "MAX_SCHEDULED", 100_000, "Messages that may wait to be published later; 0: none."
)

# --- the stream protocol -----------------------------------------------------------------------------------
STREAM_COMMENT_SECONDS = _env.seconds(
    "STREAM_COMMENT_SECONDS", 15, "Seconds between two comments that keep an event stream open.", 0.05
)

# --- the tokens protocol ----------------------------------------------------------------------------------
TOKENS_ALLOW_UNREGISTERED = _env.boolean(
    "TOKENS_ALLOW_UNREGISTERED",
    True,
    "Clients without a registered token may connect (AllowUnregisteredClients).",
)
TOKENS_WIRE_COMPAT = _env.boolean(
    "TOKENS_WIRE_COMPAT",
    False,
    "The original's JSON-string frames, empty replies and spelling, for old clients.",
)
TOKENS_BROADCAST = _env.string(
    "TOKENS_BROADCAST",
    "everyone",
    "Clients that may broadcast over a socket: everyone, registered tokens, none.",
    ("everyone", "registered", "none"),
)
TOKENS_URL = _env.string(
    "TOKENS_URL", "", "http, https or file URL of a table of tokens to import (RegisteredTokensUrl)."
)
if TOKENS_URL and not TOKENS_URL.startswith(("http://", "https://", "file:///")):
    raise ImproperlyConfigured("TOKENS_URL: expected a URL of http, https or file")
TOKENS_REFRESH_SECONDS = _env.seconds(
    "TOKENS_REFRESH_SECONDS", 0, "Import TOKENS_URL again after so many seconds; 0: only at start."
)

# --- the sessions protocol --------------------------------------------------------------------------------
SESSIONS_PUBLIC_URL = _env.string(
    "SESSIONS_PUBLIC_URL", "", "ws:// or wss:// address that players connect to; empty: as they called REST."
).rstrip("/")
if SESSIONS_PUBLIC_URL and not SESSIONS_PUBLIC_URL.startswith(("ws://", "wss://")):
    raise ImproperlyConfigured("SESSIONS_PUBLIC_URL: expected ws://host or wss://host")
SESSIONS_BIND_SECONDS = _env.seconds(
    "SESSIONS_BIND_SECONDS", 30, "How long a new session waits for its player to connect.", 1
)
SESSIONS_GRACE_SECONDS = _env.seconds(
    "SESSIONS_GRACE_SECONDS", 30, "How long a session keeps its slot after its connection was lost."
)
SESSIONS_PROBE_SECONDS = _env.seconds(
    "SESSIONS_PROBE_SECONDS", 3, "At a limit: how long players have to prove that they live; 0: no proof."
)
SESSIONS_PING_SECONDS = _env.seconds("SESSIONS_PING_SECONDS", 30, "Time between two PINGs.", 1)
SESSIONS_PONG_SECONDS = _env.seconds(
    "SESSIONS_PONG_SECONDS", 10, "Time a player has for a PONG; two misses end its session.", 0.1
)
SESSIONS_HEARTBEAT_SECONDS = _env.seconds(
    "SESSIONS_HEARTBEAT_SECONDS", 30, "Time between two heartbeats of a device without WebSockets.", 1
)
SESSIONS_IDLE_SECONDS = _env.seconds(
    "SESSIONS_IDLE_SECONDS", 60, "How long a socket without a session stays open.", 1
)
SESSIONS_TOKEN_SECONDS = _env.seconds(
    "SESSIONS_TOKEN_SECONDS", 86400, "How long an endpoint can be connected to.", 60
)
SESSIONS_FAIL_MODE = _env.string(
    "SESSIONS_FAIL_MODE",
    "closed",
    "When the database is out: closed refuses with 503, open lets everybody play.",
    ("closed", "open"),
)
SESSIONS_HISTORY_DAYS = _env.integer(
    "SESSIONS_HISTORY_DAYS", 90, "Days that the history of sessions is kept; 0: without end."
)

# --- the rooms protocol -----------------------------------------------------------------------------------
ROOMS_PATHS = _env.words(
    "ROOMS_PATHS",
    "/socket.io/",
    "Paths of the Socket.IO endpoint; add /prefix/socket.io/ where a proxy leaves its prefix on.",
    re.compile(r"/([^/?#]+/)+").fullmatch,
    "paths that begin and end with a slash",
)
ROOMS_PING_INTERVAL = _env.seconds("ROOMS_PING_INTERVAL", 25, "Seconds between Engine.IO pings.", 0.05)
ROOMS_PING_TIMEOUT = _env.seconds(
    "ROOMS_PING_TIMEOUT", 20, "Seconds a Socket.IO 3.x or 4.x client has to answer a ping.", 0.05
)
ROOMS_PING_TIMEOUT_V3 = _env.seconds(
    "ROOMS_PING_TIMEOUT_V3", 60, "Seconds beyond the interval a 1.x or 2.x client may be silent.", 0.05
)
ROOMS_MAX_PAYLOAD = _env.integer(
    "ROOMS_MAX_PAYLOAD",
    1_000_000,
    "Bytes of the largest message of rooms: a polling request (larger: 413) or a frame (larger: 1009).",
    1024,
    2**24,
)
ROOMS_MAX_PACKETS = _env.integer("ROOMS_MAX_PACKETS", 5000, "Packets in one polling request.", 16)
ROOMS_MAX_ROOMS = _env.integer("ROOMS_MAX_ROOMS", 1000, "Rooms one client may be in at once.", 1)
ROOMS_BUS_TOKEN = _env.string(
    "ROOMS_BUS_TOKEN",
    "",
    "Shared secret that POST /bus-message then asks for; empty: nothing, as the original.",
)
ROOMS_KEEP_SECONDS = _env.seconds(
    "ROOMS_KEEP_SECONDS",
    30 * 24 * 3600,
    "Empty rooms without note, limit and allow-list are deleted when unused for so long; 0: never.",
)

ROOMS_RECOVERY_SECONDS = _env.seconds(
    "ROOMS_RECOVERY_SECONDS",
    0,
    "How long a Socket.IO 4.6+ client may be away and gets its session back, with what it missed; 0: off.",
)

# --- the events protocol ----------------------------------------------------------------------------------
EVENTS_TOKEN_SECRET = _env.string(
    "EVENTS_TOKEN_SECRET",
    "",
    "Key that login tokens are signed with, 32 or more bytes; empty: of SECRET_KEY.",
)
EVENTS_TOKEN_SECONDS = _env.integer("EVENTS_TOKEN_SECONDS", 43200, "Lifetime of a login token.", 1, 2**28)
EVENTS_EXPIRED_SOCKETS = _env.string(
    "EVENTS_EXPIRED_SOCKETS",
    "close",
    "Sockets whose token expires or is revoked: `close` them, or go on as the `public`.",
    ("close", "public"),
)
EVENTS_RECHECK_SECONDS = _env.seconds(
    "EVENTS_RECHECK_SECONDS", 20, "How often a worker looks whether its sockets' tokens still count.", 0.1
)
EVENTS_REGISTER = _env.boolean("EVENTS_REGISTER", True, "Anybody may register at /user/register.")
EVENTS_SEND_TO_USERS = _env.string(
    "EVENTS_SEND_TO_USERS",
    "everyone",
    "Sockets that may send `user` events: everyone, authenticated, nobody.",
    ("everyone", "authenticated", "nobody"),
)
EVENTS_SEND_TO_CLIENTS = _env.string(
    "EVENTS_SEND_TO_CLIENTS",
    "everyone",
    "Sockets that may send `client` events: everyone, authenticated, nobody.",
    ("everyone", "authenticated", "nobody"),
)
EVENTS_SEND_TO_CHANNELS = _env.string(
    "EVENTS_SEND_TO_CHANNELS",
    "everyone",
    "Sockets that may send to a channel whose row does not say: everyone, authenticated, members, nobody.",
    ("everyone", "authenticated", "members", "nobody"),
)
EVENTS_PUBLIC_WALKERS = _env.string(
    "EVENTS_PUBLIC_WALKERS",
    "public",
    "Sockets that may run walkers with auth=False: `public` ones, as the original; or `everyone`.",
    ("public", "everyone"),
)
EVENTS_WALKER_SECONDS = _env.seconds(
    "EVENTS_WALKER_SECONDS", 30, "Longest time a walker may run; 0: any time."
)
EVENTS_WALKER_NOTIFICATIONS = _env.integer(
    "EVENTS_WALKER_NOTIFICATIONS", 1000, "Notifications one run of a walker may send.", 1
)

# --- the requests protocol --------------------------------------------------------------------------------
REQUESTS_MAX_RUNNING = _env.integer(
    "REQUESTS_MAX_RUNNING", 100, "Handlers that run for one connection before its reading pauses.", 1
)
REQUESTS_MAX_PENDING = _env.integer(
    "REQUESTS_MAX_PENDING", 1000, "Requests to one client that may wait for its answers.", 1
)
REQUESTS_MAX_SUBSCRIPTIONS = _env.integer(
    "REQUESTS_MAX_SUBSCRIPTIONS", 1000, "Addresses that one connection may subscribe to.", 1
)
REQUESTS_MAX_MALFORMED = _env.integer(
    "REQUESTS_MAX_MALFORMED", 100, "Malformed frames that end a connection (1008); 0: none do."
)

# --- webhooks --------------------------------------------------------------------------------------------
WEBHOOK_DAYS = _env.integer(
    "WEBHOOK_DAYS", 7, "Days that ended deliveries of webhooks are kept; 0: without end."
)
WEBHOOKS_PRIVATE = _env.boolean(
    "WEBHOOKS_PRIVATE", False, "Webhooks may call loopback, private and link-local addresses."
)

# --- what is logged and counted --------------------------------------------------------------------------
LOG_LEVEL = _env.string(
    "LOG_LEVEL", "INFO", "Least level that is logged.", ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
)
LOG_FORMAT = _env.string(
    "LOG_FORMAT", "text", "Form of log lines on stderr: `text`, or `json`, an object a line.", logs.FORMATS
)
OTEL_EXPORTER_OTLP_ENDPOINT = _env.string(
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "",
    "A collector of OpenTelemetry (`http://host:4318`), for spans; needs the extra `otel`.",
)
AUDIT_DAYS = _env.integer("AUDIT_DAYS", 365, "Days that the audit log is kept; 0: without end.")
METRICS_OPEN = _env.boolean("METRICS_OPEN", False, "/metrics without an API key.")


def _token_secret() -> str:
    """The configured key for login tokens, or one derived from Django's."""
    if not EVENTS_TOKEN_SECRET:
        return sha256(f"events protocol, login tokens: {SECRET_KEY}".encode()).hexdigest()
    if len(EVENTS_TOKEN_SECRET.encode()) < 32:
        raise ImproperlyConfigured("EVENTS_TOKEN_SECRET: expected 32 or more bytes")
    return EVENTS_TOKEN_SECRET


SECRET_KEY = _env.string(
    "SECRET_KEY", "", "Django's secret; empty: made once and kept in VAR_DIR/secret_key."
) or secret_key.kept_in(VAR_DIR)
SECRET_KEY_FALLBACKS = _env.words(
    "SECRET_KEY_FALLBACKS", "", "Former secrets, whose signatures still count, with commas between."
)
EVENTS_TOKEN_SECRET = _token_secret()
DATABASES = {"default": stores.database(DATABASE_URL, VAR_DIR, DATABASE_THREADS, DATABASE_SECONDS)}
CHANNEL_LAYERS = {"default": stores.channel_layer(REDIS_URL)}
CACHES = {"default": stores.cache(REDIS_URL)}
LOGGING = logs.to_stderr(LOG_LEVEL, LOG_FORMAT)

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "routing_app.core.rest.auth.ApiKeyAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["routing_app.core.rest.auth.HasScope"],
    "EXCEPTION_HANDLER": "routing_app.core.rest.exceptions.answer",
    "DEFAULT_PAGINATION_CLASS": "routing_app.core.rest.auth.Pages",
    "DEFAULT_SCHEMA_CLASS": "routing_app.core.rest.schema.Described",
    "DEFAULT_PARSER_CLASSES": ["routing_app.core.rest.parsers.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["routing_app.core.rest.renderers.AnyStringRenderer"],
    "PAGE_SIZE": 100,
    # The server itself reads X-Forwarded-For, from TRUSTED_PROXIES alone; here it would be anybody's word.
    "NUM_PROXIES": 0,
}
SPECTACULAR_SETTINGS = SETTINGS
