"""Asynchronous views without Django's request cycle, where its price shows.

Under ASGI every request of Django starts a thread for signals and middleware: about 1 ms. The views of a fast
table need neither, so they get the same request and are answered at once. Every path of the table has the
same view in `urls.py`: Django's own tests, reversed URLs and the limits of bodies find it there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, wraps
from io import BytesIO
from typing import Any, Final

from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.core.handlers.asgi import ASGIRequest, get_script_prefix
from django.http import HttpRequest, HttpResponse, JsonResponse, QueryDict
from django.urls import Resolver404, ResolverMatch, get_resolver, set_script_prefix

from routing_app.core.audit import calls
from routing_app.core.rest import mount
from routing_app.core.rest.bodies import Gone

logger = logging.getLogger(__name__)

Scope = dict[str, Any]
Header = tuple[str, str]
RawHeader = tuple[bytes, bytes]

COMMON_TYPES: Final = frozenset({"application/json", "application/x-www-form-urlencoded"})
"""Content types without parameters, of which Django's parser finds nothing more to say."""
LARGE_DIGITS: Final = 6
"""Digits of the length of a body that may be over a limit."""
NO_QUERY: Final = QueryDict("")
NOT_GUESSED: Final = (b"x-content-type-options", b"nosniff")
PATHS: Final = 4096
"""Paths that are remembered with the view that serves them."""


@dataclass(slots=True)  # never changed; `frozen` would take a microsecond for each
class JsonAnswer:
    """A JSON answer as bytes, for views that are asked often: Django's response takes 20 µs to make."""

    body: bytes
    headers: tuple[Header, ...] = ()

    def as_response(self) -> HttpResponse:
        """Django's response of the same."""
        return HttpResponse(self.body, content_type="application/json", headers=dict(self.headers))


Answering = Callable[..., Coroutine[Any, Any, "JsonAnswer | HttpResponse"]]


def view_of(answer: Answering) -> Callable[[HttpRequest], Coroutine[Any, Any, HttpResponse]]:
    """Django's view of a function that answers; `FastViews` calls the function itself."""

    @wraps(answer)
    async def view(request: HttpRequest) -> HttpResponse:
        answered = await answer(request)
        return answered.as_response() if isinstance(answered, JsonAnswer) else answered

    view.answer = answer  # type: ignore[attr-defined]  # as Django marks views
    return view


class FastHeaders(Mapping[str, str]):
    """Headers of a scope, asked for by their names in any case: most views ask for two or three."""

    __slots__ = ("_raw",)

    def __init__(self, scope: Mapping[str, Any]) -> None:
        self._raw: Sequence[RawHeader] = scope["headers"]

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a header; of several with that name as Django joins them."""
        raw = _raw_name(name)
        values = [value for key, value in self._raw if key == raw]
        return b",".join(values).decode("latin-1") if values else default

    def __getitem__(self, name: str) -> str:
        value: str | None = self.get(name)
        if value is None:
            raise KeyError(name)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name.decode("latin-1") for name, _ in self._raw))

    def __len__(self) -> int:
        return len({name for name, _ in self._raw})


@lru_cache(maxsize=256)
def _raw_name(name: str) -> bytes:
    return name.lower().encode("latin-1")


class FastRequest(ASGIRequest):
    """Django's request, whose parts are made when they are asked for: most views need two or three."""

    def __init__(self, scope: Scope, body: bytes) -> None:
        self.headers = FastHeaders(scope)  # type: ignore[assignment]  # Django's is a mapping, too
        if len(self.headers.get("Content-Length", "")) >= LARGE_DIGITS:
            self._complete(scope, body)  # Django compares the length with its limit
            return
        self.scope = scope
        self.method = scope["method"].upper()
        self.resolver_match = None
        self._body = body
        self._read_started = self._post_parse_error = False

    def __getattr__(self, name: str) -> Any:
        """An attribute that is not there yet: the content type where that is easy, else all of Django's."""
        if "_is_complete" in self.__dict__:
            raise AttributeError(name)
        if name == "content_type":
            kind: str = self.headers.get("Content-Type", "")
            if kind in COMMON_TYPES:
                self.content_type = kind
                return kind
        self._complete(dict(self.scope), self._body)
        return getattr(self, name)

    def _complete(self, scope: Scope, body: bytes) -> None:
        self._is_complete = True
        super().__init__(scope, BytesIO(body))

    @cached_property
    def GET(self) -> QueryDict:  # type: ignore[override]  # noqa: N802 - Django's name
        """The fields of the query string."""
        query: bytes = self.scope.get("query_string") or b""
        return QueryDict(query.decode()) if query else NO_QUERY


class FastViews:
    """Serves the views of the module `urls`; every other path goes to `http`.

    `Bodies` stands before it: a body has a known length, and is within the limit of its path or empty.
    """

    def __init__(self, http: Any, urls: str) -> None:
        self._http = http
        self._resolver = get_resolver(urls)
        self._match = lru_cache(PATHS)(self._resolve)

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Serve one ASGI HTTP scope."""
        view = self._match(scope["path"].removeprefix(scope.get("root_path", "")))
        if view is None or (settings.SECURE_SSL_REDIRECT and scope.get("scheme") != "https"):
            await self._http(scope, receive, send)
            return
        try:
            body = await _read(receive)
        except Gone:
            return
        await send_answer(await _respond(view, scope, body), send)

    def _resolve(self, path: str) -> _View | None:
        try:
            match = self._resolver.resolve(mount.below(path) or "")
        except Resolver404:
            return None
        view: Any = match.func
        is_traffic = getattr(view, "is_traffic", False)
        return _View(match, getattr(view, "answer", view), is_traffic, calls.is_of_operators(path))


@dataclass(slots=True)
class _View:
    match: ResolverMatch
    answer: Answering
    is_traffic: bool
    """Whether an answer with 200 is never recorded."""
    is_of_operators: bool
    """Whether anything is recorded."""


async def _read(receive: Any) -> bytes:
    """The body of a request. Raises Gone."""
    chunks = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        chunks.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(chunks)


async def _respond(view: _View, scope: Scope, body: bytes) -> JsonAnswer | HttpResponse:
    match, request = view.match, None
    response: JsonAnswer | HttpResponse
    try:
        if prefix := get_script_prefix(scope):
            set_script_prefix(prefix)
        request = FastRequest(scope, body)
        response = await view.answer(request, *match.args, **match.kwargs)
    except (SuspiciousOperation, UnicodeDecodeError):
        response = JsonResponse({"error": "the request cannot be read"}, status=400)
    except Exception:
        logger.exception("%s failed", match.view_name or match.route)
        response = JsonResponse({"error": "internal error"}, status=500)
    status = 200 if isinstance(response, JsonAnswer) else response.status_code
    if not view.is_of_operators or (status == 200 and view.is_traffic):
        return response
    if request is not None and calls.is_recorded(request, match, status):
        await calls.finish_on_loop(request, match, status)
    return response


async def send_answer(answer: JsonAnswer | HttpResponse, send: Any) -> None:
    """Send a whole answer by ASGI."""
    if isinstance(answer, JsonAnswer):
        status, body = 200, answer.body
        headers = _json_headers(answer.headers)
    else:
        status, body = answer.status_code, answer.content
        headers = _encoded(answer.items())
    length = b"content-length", b"%d" % len(body)
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length, NOT_GUESSED]})
    await send({"type": "http.response.body", "body": body})


@lru_cache(maxsize=64)
def _json_headers(headers: tuple[Header, ...]) -> list[RawHeader]:
    return [(b"content-type", b"application/json"), *_encoded(headers)]


def _encoded(headers: Iterable[Header]) -> list[RawHeader]:
    return [(name.lower().encode("ascii"), value.encode("latin-1")) for name, value in headers]
