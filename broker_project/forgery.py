"""The page that says why a form was refused, and which setting would admit it."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import REASON_INSECURE_REFERER, REASON_NO_CSRF_COOKIE, REASON_NO_REFERER
from django.utils.html import format_html

PAGE: Final = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>403 Forbidden</title></head>
<body><h1>Forbidden</h1><p>{}</p><p>{}</p></body>
</html>
"""
RELOAD: Final = "Load the page again, then send the form again."
BY_REASON: Final = {
    REASON_NO_REFERER: "The browser says neither Origin nor Referer: allow it to send them to this site.",
    REASON_INSECURE_REFERER: "The page came over plain HTTP: open it by its https:// address.",
}


def refused(request: HttpRequest, reason: str = "") -> HttpResponse:
    """403 for a form that Django's check against cross-site forgery has refused; `reason` is Django's."""
    page = format_html(PAGE, f"The form was refused: {reason}", advice(request, reason))
    return HttpResponse(page, status=403, headers={"Cache-Control": "no-store"})


def advice(request: HttpRequest, reason: str) -> str:
    """The remedy, in one or two sentences."""
    if reason == REASON_NO_CSRF_COOKIE:
        return _missing_cookie(request)
    if reason in BY_REASON:
        return BY_REASON[reason]
    page = request.headers.get("Origin") or request.headers.get("Referer", "")
    if not page or ("Origin" not in reason and "Referer" not in reason):
        return RELOAD
    origin = urlsplit(page)
    if origin.scheme not in {"http", "https"} or not origin.netloc:
        return (
            "The browser does not say which page has sent it (Origin: null): open the page by its own "
            "address, not from a file or in a sandbox."
        )
    if origin.netloc == request.get_host() and origin.scheme == "https":
        return (
            "The page came over HTTPS, and the request over plain HTTP from "
            f"{request.META['REMOTE_ADDR']}. If that is a proxy which ends TLS, name it in TRUSTED_PROXIES, "
            "and have it send X-Forwarded-Proto."
        )
    return (
        f"CSRF_TRUSTED_ORIGINS={origin.scheme}://{origin.netloc} would admit this page; so would a proxy "
        f"that passes on the Host header, which says {request.get_host()}."
    )


def _missing_cookie(request: HttpRequest) -> str:
    if settings.SECURE_COOKIES == "yes" and not request.is_secure():
        return (
            "SECURE_COOKIES=yes, and this request came over plain HTTP, where browsers keep no such cookie. "
            "Use HTTPS; behind a proxy that ends TLS, name it in TRUSTED_PROXIES; or set SECURE_COOKIES=auto."
        )
    return f"The browser has sent no cookie of this host. Allow its cookies. {RELOAD}"
