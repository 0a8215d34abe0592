"""Every setting of Switchboard, read strictly from the environment and documented where it is read.

`manage.py options` prints this list; README.md holds the same table and a test keeps them equal.
"""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path

import django_stubs_ext
from django.core.exceptions import ImproperlyConfigured
from django.core.management.utils import get_random_secret_key

from broker_project import logs, stores
from broker_project.environment import Environment, is_importable

django_stubs_ext.monkeypatch()  # lets Django's generic classes be subscripted, so that types are written down

BASE_DIR = Path(__file__).resolve().parent.parent
ENVIRONMENT = _env = Environment()

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
_home = BASE_DIR if (BASE_DIR / "manage.py").is_file() else Path.cwd()
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
DEBUG = _env.boolean("DEBUG", False, "Django's debug pages; never on a public server.")
ALLOWED_HOSTS = _env.words(
    "ALLOWED_HOSTS",
    "*",
    "Host headers that are answered, by sockets and pages; `.example.com`: and all below it.",
)
CSRF_TRUSTED_ORIGINS = _env.words(
    "CSRF_TRUSTED_ORIGINS",
    "",
    "Origins whose forms the admin takes besides the server's own; for a proxy that changes Host.",
    re.compile(r"(?ai)https?://(\*\.)?([a-z0-9._-]+|\[[0-9a-f:.]+])(:[0-9]{1,5})?").fullmatch,
    "origins such as https://example.com",
)
SECURE_COOKIES = _env.string(
    "SECURE_COOKIES",
    "auto",
    "Cookies with `Secure`: `auto` over HTTPS, as it is or as a trusted proxy says; `always`.",
    ("auto", "always"),
)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_COOKIES == "always"
TOKENS_API_OPEN = _env.boolean(
    "TOKENS_API_OPEN", False, "The form API at / without an API key, as the original was."
)
ORIGINS: dict[str, list[str]] = {}
"""`<PROTOCOL>_ORIGINS` of every protocol that is installed; `protocols.py` reads them."""

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
MESSAGE_RATE = _env.integer("MESSAGE_RATE", 0, "Messages a second one connection may send; 0: any number.")
MESSAGE_BURST = _env.integer("MESSAGE_BURST", 100, "Messages it may send at once before the rate applies.", 1)
MAX_RECEIVERS = _env.integer("MAX_RECEIVERS", 1000, "Addresses one message may name.", 1)

# --- streams ---------------------------------------------------------------------------------------------
HISTORY_SIZE = _env.integer(
    "HISTORY_SIZE", 0, "Messages kept of each address that no rule of addresses names; 0: none.", 0, 10_000
)
HISTORY_SECONDS = _env.integer("HISTORY_SECONDS", 300, "How long they are kept.", 1, 2_592_000)
IDEMPOTENCY_SECONDS = _env.integer(
    "IDEMPOTENCY_SECONDS", 300, "How long a message with an `id` is not published again.", 1, 2_592_000
)

# --- the stream protocol -----------------------------------------------------------------------------------
STREAM_COMMENT_SECONDS = _env.seconds(
    "STREAM_COMMENT_SECONDS", 15, "Seconds between two comments that keep an event stream open.", 0.05
)

# --- apps of your own ------------------------------------------------------------------------------------
EXTRA_APPS = _env.words(
    "EXTRA_APPS",
    "",
    "Django apps of your own, with `walkers.py`, `requests.py` or `protocol.py`; `examples.chat` is one.",
    is_importable,
    "names of Python modules that are installed",
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
SESSIONS_RATE = _env.integer(
    "SESSIONS_RATE", 0, "Creates and takeovers a minute of one customer, in a worker; 0: any number."
)
SESSIONS_BURST = _env.integer("SESSIONS_BURST", 10, "Those it may do at once before the rate applies.", 1)
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
EVENTS_LOGIN_RATE = _env.integer(
    "EVENTS_LOGIN_RATE", 20, "Logins a minute, from one address and for one user; 0: any number."
)
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
EVENTS_RATE = _env.integer("EVENTS_RATE", 0, "Events a second one socket may send; 0: any number.")
EVENTS_BURST = _env.integer("EVENTS_BURST", 100, "Events it may send at once before the rate applies.", 1)
EVENTS_USER_RATE = _env.integer(
    "EVENTS_USER_RATE", 0, "Events a second all sockets of a user may send to a worker; 0: any number."
)
EVENTS_USER_BURST = _env.integer(
    "EVENTS_USER_BURST", 200, "Events they may send at once before it applies.", 1
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

# --- what is logged and counted --------------------------------------------------------------------------
LOG_LEVEL = _env.string(
    "LOG_LEVEL", "INFO", "Least level that is logged.", ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
)
METRICS_OPEN = _env.boolean("METRICS_OPEN", False, "/metrics without an API key.")


def _secret_key() -> str:
    """The configured key, or one made on first use and kept in VAR_DIR."""
    if key := _env.string(
        "SECRET_KEY", "", "Django's secret; empty: made once and kept in VAR_DIR/secret_key."
    ):
        return key
    path = VAR_DIR / "secret_key"
    try:
        VAR_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with path.open("x", encoding="utf-8") as file:
                path.chmod(0o600)
                file.write(get_random_secret_key())
        except FileExistsError:
            pass
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ImproperlyConfigured(f"SECRET_KEY: not set, and {path} cannot be kept: {error}") from None


def _token_secret() -> str:
    """The configured key for login tokens, or one derived from Django's."""
    if not EVENTS_TOKEN_SECRET:
        return sha256(f"events protocol, login tokens: {SECRET_KEY}".encode()).hexdigest()
    if len(EVENTS_TOKEN_SECRET.encode()) < 32:
        raise ImproperlyConfigured("EVENTS_TOKEN_SECRET: expected 32 or more bytes")
    return EVENTS_TOKEN_SECRET


SECRET_KEY = _secret_key()
SECRET_KEY_FALLBACKS = _env.words(
    "SECRET_KEY_FALLBACKS", "", "Former secrets, whose signatures still count, with commas between."
)
EVENTS_TOKEN_SECRET = _token_secret()
DATABASES = {"default": stores.database(DATABASE_URL, VAR_DIR, DATABASE_THREADS, DATABASE_SECONDS)}
CHANNEL_LAYERS = {"default": stores.channel_layer(REDIS_URL)}
CACHES = {"default": stores.cache(REDIS_URL)}

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "broker_project.apps.ProjectConfig",
    "routing_app.core.apps.CoreConfig",
    "routing_app.tokens.apps.TokensConfig",
    "sessions_app.apps.SessionsConfig",
    "routing_app.rooms.apps.RoomsConfig",
    "routing_app.events.apps.EventsConfig",
    "routing_app.requests.apps.RequestsConfig",
    "routing_app.stream.apps.StreamConfig",
    *EXTRA_APPS,
]
MIDDLEWARE = [
    "broker_project.cookies.SecureCookies",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "routing_app.core.rest.nul.NulMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "routing_app.core.rest.middleware.OutageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "broker_project" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
ROOT_URLCONF = "broker_project.urls"
ASGI_APPLICATION = "broker_project.asgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
] + [{"NAME": "routing_app.events.passwords.RevokeOnChange"}]
LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "static/"
WHITENOISE_USE_FINDERS = True  # straight from the packages: nothing to collect
WHITENOISE_AUTOREFRESH = False
FILE_UPLOAD_HANDLERS = [
    "routing_app.core.rest.bodies.BoundedForm",
    "django.core.files.uploadhandler.MemoryFileUploadHandler",
    "django.core.files.uploadhandler.TemporaryFileUploadHandler",
]
X_FRAME_OPTIONS = "DENY"
SECURE_CONTENT_TYPE_NOSNIFF = True

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
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "PAGE_SIZE": 100,
    # The server itself reads X-Forwarded-For, from TRUSTED_PROXIES alone; here it would be anybody's word.
    "NUM_PROXIES": 0,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Switchboard",
    "DESCRIPTION": "One broker, five WebSocket protocols: the REST side.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "routing_app.core.rest.schema.document_protocols",
    ],
    # pydantic describes the bodies of walkers in the JSON Schema of OpenAPI 3.1.
    "OAS_VERSION": "3.1.0",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_NAME_OVERRIDES": {
        "TokenSource": "routing_app.tokens.models.Source",
        "Who": "routing_app.events.models.Who",
    },
}

LOGGING = logs.to_stderr(LOG_LEVEL)
