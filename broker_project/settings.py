"""Every setting of Switchboard, read strictly from the environment and documented where it is read.

`manage.py options` prints this list; README.md holds the same table and a test keeps them equal.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import django_stubs_ext
import environ
from django.core.exceptions import ImproperlyConfigured
from django.core.management.utils import get_random_secret_key

from broker_project.environment import Environment

django_stubs_ext.monkeypatch()  # lets Django's generic classes be subscripted, so that types are written down

BASE_DIR = Path(__file__).resolve().parent.parent
ENVIRONMENT = _env = Environment()

# --- where it listens ------------------------------------------------------------------------------------
HOST = _env.text("HOST", "127.0.0.1", "Address that `serve` listens on.")
PORT = _env.integer("PORT", 8000, "Port that `serve` listens on.", 1, 65535)
WORKERS = _env.integer("WORKERS", 1, "Worker processes; more than one needs REDIS_URL.", 1, 256)
TRUSTED_PROXIES = _env.words(
    "TRUSTED_PROXIES", "", "Addresses or networks whose X-Forwarded-For and -Proto are believed."
)
DRAIN_SECONDS = _env.seconds("DRAIN_SECONDS", 10, "Longest time a stopping worker waits for its handlers.")
HTTPS = _env.boolean("HTTPS", False, "TLS; without TLS_CERT with a self-signed certificate in VAR_DIR.")
TLS_CERT = _env.text("TLS_CERT", "", "Certificate chain in PEM form; `serve` then speaks TLS.")
TLS_KEY = _env.text("TLS_KEY", "", "Its private key in PEM form; empty: in the same file.")
PING_INTERVAL = _env.integer(
    "PING_INTERVAL", 25, "Seconds of silence after which a WebSocket is asked for a sign of life; 0: never."
)
PING_TIMEOUT = _env.integer("PING_TIMEOUT", 20, "Seconds it has to answer before it is dropped.", 1)

# --- where it keeps things -------------------------------------------------------------------------------
VAR_DIR = Path(
    _env.text("VAR_DIR", str(BASE_DIR / "var"), "Folder of the SQLite file and generated secrets.")
)
DATABASE_URL = _env.text(
    "DATABASE_URL",
    "",
    "postgres://user:password@host/name or sqlite:///path; empty: switchboard.sqlite3 in VAR_DIR.",
)
REDIS_URL = _env.text("REDIS_URL", "", "redis://host:port/0; empty: the in-memory layer, for one process.")
DATABASE_THREADS = _env.integer(
    "DATABASE_THREADS", 8, "Threads, and pooled connections, a worker uses for the database.", 1, 128
)

# --- secrets and safety ----------------------------------------------------------------------------------
DEBUG = _env.boolean("DEBUG", False, "Django's debug pages; never on a public server.")
ALLOWED_HOSTS = _env.words("ALLOWED_HOSTS", "*", "Host headers that are answered.")
TOKENS_API_OPEN = _env.boolean(
    "TOKENS_API_OPEN", False, "The form API at / without an API key, as the original was."
)
ORIGINS = {
    line: _env.words(
        f"{line.upper()}_ORIGINS",
        default,
        f"Browser origins that may open a {line} socket: `self` (the server's own host), `*`, or a list.",
    )
    for line, default in (
        ("tokens", "self"),
        ("events", "self"),
        ("requests", "self"),
        ("rooms", "*"),
        ("sessions", "*"),
    )
}

# --- limits ----------------------------------------------------------------------------------------------
MAX_FRAME_BYTES = _env.integer("MAX_FRAME_BYTES", 65536, "Largest inbound frame; larger: 1009.", 128, 2**26)
MAX_OUTBOX_BYTES = _env.integer(
    "MAX_OUTBOX_BYTES", 2**20, "Backlog of one connection before it is slow.", 2**10
)
MAX_OUTBOX_FRAMES = _env.integer("MAX_OUTBOX_FRAMES", 1000, "The same, counted in frames.", 10)
MAX_CONNECTIONS = _env.integer("MAX_CONNECTIONS", 100_000, "Open sockets a worker holds.", 1)
MAX_CONNECTIONS_PER_PEER = _env.integer(
    "MAX_CONNECTIONS_PER_PEER", 0, "Open sockets one network address may hold in a worker; 0: any number."
)
MESSAGE_RATE = _env.integer("MESSAGE_RATE", 0, "Messages a second one connection may send; 0: any number.")
MESSAGE_BURST = _env.integer("MESSAGE_BURST", 100, "Messages it may send at once before the rate applies.", 1)
MAX_RECEIVERS = _env.integer("MAX_RECEIVERS", 1000, "Addresses one message may name.", 1)

# --- the token line --------------------------------------------------------------------------------------
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
TOKENS_BROADCAST = _env.text(
    "TOKENS_BROADCAST",
    "everyone",
    "Who may broadcast over a socket: everyone, registered tokens, none.",
    ("everyone", "registered", "none"),
)
TOKENS_URL = _env.text(
    "TOKENS_URL", "", "http, https or file URL of a table of tokens to import (RegisteredTokensUrl)."
)
if TOKENS_URL and not TOKENS_URL.startswith(("http://", "https://", "file:///")):
    raise ImproperlyConfigured("TOKENS_URL: expected a URL of http, https or file")
TOKENS_REFRESH_SECONDS = _env.seconds(
    "TOKENS_REFRESH_SECONDS", 0, "Import TOKENS_URL again after so many seconds; 0: only at start."
)

# --- the rooms line --------------------------------------------------------------------------------------
ROOMS_PATHS = _env.words(
    "ROOMS_PATHS",
    "/socket.io/",
    "Paths of the Socket.IO endpoint; add /prefix/socket.io/ where a proxy leaves its prefix on.",
)
if not all(re.fullmatch(r"/([^/?#]+/)+", path) for path in ROOMS_PATHS):
    raise ImproperlyConfigured("ROOMS_PATHS: expected paths that begin and end with a slash")
ROOMS_PING_INTERVAL = _env.seconds("ROOMS_PING_INTERVAL", 25, "Seconds between Engine.IO pings.", 0.05)
ROOMS_PING_TIMEOUT = _env.seconds(
    "ROOMS_PING_TIMEOUT", 20, "Seconds a Socket.IO 3.x or 4.x client has to answer a ping.", 0.05
)
ROOMS_PING_TIMEOUT_V3 = _env.seconds(
    "ROOMS_PING_TIMEOUT_V3", 60, "Seconds beyond the interval a 1.x or 2.x client may be silent.", 0.05
)
ROOMS_MAX_PAYLOAD = _env.integer(
    "ROOMS_MAX_PAYLOAD", 1_000_000, "Largest body of a Socket.IO polling request; larger: 413.", 1024
)
ROOMS_MAX_PACKETS = _env.integer("ROOMS_MAX_PACKETS", 5000, "Packets in one polling request.", 16)
ROOMS_BUS_TOKEN = _env.text(
    "ROOMS_BUS_TOKEN",
    "",
    "Shared secret that POST /bus-message then asks for; empty: nothing, as the original.",
)
ROOMS_KEEP_SECONDS = _env.seconds(
    "ROOMS_KEEP_SECONDS",
    30 * 24 * 3600,
    "Empty rooms without note, limit and allow-list are deleted when unused for so long; 0: never.",
)

# --- what is logged and counted --------------------------------------------------------------------------
LOG_LEVEL = _env.text(
    "LOG_LEVEL", "INFO", "Least level that is logged.", ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
)
METRICS_OPEN = _env.boolean("METRICS_OPEN", False, "/metrics without an API key.")


def _secret_key() -> str:
    """The configured key, or one made on first use and kept in VAR_DIR."""
    if key := _env.text(
        "SECRET_KEY", "", "Django's secret; empty: made once and kept in VAR_DIR/secret_key."
    ):
        return key
    path = VAR_DIR / "secret_key"
    try:
        VAR_DIR.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("x", encoding="utf-8") as file:
                path.chmod(0o600)
                file.write(get_random_secret_key())
        except FileExistsError:
            pass
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ImproperlyConfigured(f"SECRET_KEY: not set, and {path} cannot be kept: {error}") from None


def _database() -> dict[str, Any]:
    """Django's database dict: SQLite in WAL mode, or PostgreSQL with psycopg's pool."""
    url = DATABASE_URL or f"sqlite:///{VAR_DIR}/switchboard.sqlite3"
    if not url.startswith(("sqlite:///", "postgres://", "postgresql://")):
        raise ImproperlyConfigured(
            "DATABASE_URL: expected sqlite:///path or postgres://user:password@host/name"
        )
    try:
        config: dict[str, Any] = dict(environ.Env.db_url_config(url))
    except ValueError as error:
        raise ImproperlyConfigured(f"DATABASE_URL: {error}") from None
    return _sqlite(config) if url.startswith("sqlite") else _postgresql(config)


def _sqlite(config: dict[str, Any]) -> dict[str, Any]:
    config["OPTIONS"] = {
        "timeout": 20,
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA busy_timeout=20000;",
    }
    # Threads use the test database, so it has to be a file.
    config["TEST"] = {"NAME": str(VAR_DIR / "test.sqlite3")}
    return config


def _postgresql(config: dict[str, Any]) -> dict[str, Any]:
    pool = {"min_size": 1, "max_size": DATABASE_THREADS + 4, "timeout": 10}
    config["OPTIONS"] = {**config.get("OPTIONS", {}), "pool": pool}
    config["CONN_HEALTH_CHECKS"] = True  # a restart of the database fails nobody afterwards
    return config


def _channel_layer() -> dict[str, Any]:
    """The pub/sub layer on Redis, or the in-memory one of a single process."""
    if not REDIS_URL:
        return {"BACKEND": "routing_app.core.layers.ProcessChannelLayer"}
    if not REDIS_URL.startswith(("redis://", "rediss://", "unix://")):
        raise ImproperlyConfigured("REDIS_URL: expected redis://host:port/number")
    return {"BACKEND": "routing_app.core.redis_layer.RedisLayer", "CONFIG": {"hosts": [REDIS_URL]}}


SECRET_KEY = _secret_key()
DATABASES = {"default": _database()}
CHANNEL_LAYERS = {"default": _channel_layer()}

INSTALLED_APPS = [
    "daphne",
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
    "routing_app.rooms.apps.RoomsConfig",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
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
]
LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "static/"
WHITENOISE_USE_FINDERS = True  # straight from the packages: nothing to collect
WHITENOISE_AUTOREFRESH = False
X_FRAME_OPTIONS = "DENY"
SECURE_CONTENT_TYPE_NOSNIFF = True

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "routing_app.core.auth.ApiKeyAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["routing_app.core.auth.HasScope"],
    "DEFAULT_PAGINATION_CLASS": "routing_app.core.auth.Pages",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_PARSER_CLASSES": [
        "routing_app.core.parsers.BoundedJSONParser",
        "rest_framework.parsers.FormParser",
        "rest_framework.parsers.MultiPartParser",
    ],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "PAGE_SIZE": 100,
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
    "ENUM_NAME_OVERRIDES": {"TokenSource": "routing_app.tokens.models.Source"},
}


def _names_no_path(record: logging.LogRecord) -> bool:
    """False for uvicorn's lines about handshakes, which hold query strings."""
    return '"WebSocket' not in str(record.msg)


LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"no_paths": {"()": "django.utils.log.CallbackFilter", "callback": _names_no_path}},
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    "loggers": {
        # Access lines hold query strings, and query strings hold tokens.
        "daphne.access": {"level": "CRITICAL", "propagate": False},
        "django.channels.server": {"level": "CRITICAL", "propagate": False},
        "uvicorn.access": {"level": "CRITICAL", "propagate": False},
        "uvicorn.error": {"filters": ["no_paths"]},
    },
}
