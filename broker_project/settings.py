"""Settings of Switchboard as a project of its own: `switchboard.settings()`, and what Django needs besides.

`manage.py options` prints all that the environment can change; README.md holds the same table, and a test
keeps them equal.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import switchboard
from routing_app.broker.environment import is_importable

if TYPE_CHECKING:
    from routing_app.broker.defaults import *

BASE_DIR = Path(__file__).resolve().parent.parent
globals().update(switchboard.settings())
_env = SWITCHBOARD_ENVIRONMENT

# --- secrets and safety of Django --------------------------------------------------------------------------
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
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_COOKIES == "yes"
SECURE_HSTS_SECONDS = _env.integer(
    "HSTS_SECONDS",
    0,
    "How long browsers ask this host over HTTPS alone (Strict-Transport-Security); 0: not said.",
    0,
    2**31 - 1,
)
SECURE_SSL_REDIRECT = _env.boolean(
    "HTTPS_REDIRECT",
    False,
    "Pages and REST over plain HTTP are redirected to HTTPS; not sockets, streams, health and metrics.",
)
SECURE_REDIRECT_EXEMPT = ["^healthz$", "^healthcheck$", "^metrics$"]
"""Balancers and Prometheus ask for these over plain HTTP, behind the proxy that ends TLS."""
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
"""Warnings that HSTS leaves out subdomains and the lists of browsers: hosts that are not this server's."""
CSRF_FAILURE_VIEW = "broker_project.forgery.refused"

# --- apps of your own ------------------------------------------------------------------------------------
EXTRA_APPS = _env.words(
    "EXTRA_APPS",
    "",
    "Django apps of your own, with `walkers.py`, `requests.py` or `protocol.py`; `examples.chat` is one.",
    is_importable,
    "names of Python modules that are installed",
)

INSTALLED_APPS = [
    "routing_app.broker.apps.AdminConfig",
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
    *switchboard.apps(),
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
    "routing_app.core.audit.middleware.AuditMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
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
