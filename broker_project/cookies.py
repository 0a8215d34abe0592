"""Cookies that were made over HTTPS go back over HTTPS alone."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.deprecation import MiddlewareMixin


class SecureCookies(MiddlewareMixin):
    """Marks every cookie of a response over HTTPS as `Secure`, where SECURE_COOKIES is `auto`.

    A setting could not: one server may serve both schemes, and behind a proxy the scheme is known only from
    the request.
    """

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """The response, with its cookies marked."""
        if settings.SECURE_COOKIES == "auto" and request.is_secure():
            for cookie in response.cookies.values():
                cookie["secure"] = True
        return response
