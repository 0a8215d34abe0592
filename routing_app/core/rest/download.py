"""Lists as files, CSV or JSON lines, that are sent while the rows are read.

A spreadsheet takes a cell that begins with `=`, `+`, `-` or `@` for a formula, and a formula may send what
stands beside it anywhere. Such a string, which a client may have chosen, comes with an apostrophe before it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any, ClassVar, Final

import orjson
from django.db.models import Q, QuerySet
from django.http import StreamingHttpResponse
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.request import Request

from routing_app.core.database import query

ROWS_AT_ONCE: Final = 1000
"""Rows that are read, and sent, at once."""
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
"""Beginnings of a string that a spreadsheet may take for a formula; it leaves blanks before one out."""
TYPES: Final = {"csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson"}
MEDIA: Final = {name: type.partition(";")[0] for name, type in TYPES.items()}

Row = dict[str, Any]
Write = Callable[[Iterable[Row]], bytes]


class AnyAccept(DefaultContentNegotiation):
    """A file is what the query says, and an error JSON, whatever `Accept` prefers."""

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> Any:
        """The first one."""
        return renderers[0], renderers[0].media_type


def cell(value: Any) -> str:
    """A value as a cell of CSV: nothing for None, JSON for lists, objects and booleans."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return orjson.dumps(value).decode()
    return f"'{value}" if value.lstrip(" ").startswith(FORMULA) else value


def csv_of(columns: Sequence[str], rows: Iterable[Row]) -> bytes:
    """Lines of CSV (RFC 4180)."""
    text = io.StringIO()
    csv.writer(text).writerows([cell(row.get(name)) for name in columns] for row in rows)
    return text.getvalue().encode()


def lines_of(rows: Iterable[Row]) -> bytes:
    """Lines of JSON."""
    return b"".join(orjson.dumps(row) + b"\n" for row in rows)


def answer(
    request: Request, name: str, columns: Sequence[str], pieces: AsyncIterator[list[Row]]
) -> StreamingHttpResponse:
    """The file of these rows, as `?as=` wants it. Raises ValidationError."""
    wanted = request.query_params.get("as", "csv")
    if wanted not in TYPES:
        raise ValidationError({"as": ["expected csv or jsonl"]})

    async def content() -> AsyncIterator[bytes]:
        if wanted == "csv":
            yield csv_of(columns, [dict(zip(columns, columns, strict=True))])
        async for rows in pieces:
            yield csv_of(columns, rows) if wanted == "csv" else lines_of(rows)

    file = f"{name}-{timezone.now():%Y%m%dT%H%M%SZ}.{wanted}"
    headers = {"Content-Disposition": f'attachment; filename="{file}"', "Cache-Control": "no-store"}
    return StreamingHttpResponse(content(), content_type=TYPES[wanted], headers=headers)


async def at_once(rows: list[Row]) -> AsyncIterator[list[Row]]:
    """Pieces of rows that are there."""
    yield rows


async def in_pieces(rows: QuerySet[Any], shape: Callable[[list[Any]], list[Row]]) -> AsyncIterator[list[Row]]:
    """Pieces of a queryset in the order of its model, which names two columns of one direction, the last of
    which no other row shares. No row comes twice, whatever is written meanwhile.
    """
    first, second = (name.removeprefix("-") for name in rows.model._meta.ordering)
    verb = "lt" if rows.model._meta.ordering[0].startswith("-") else "gt"
    after = Q()

    def read() -> tuple[list[Any], list[Row]]:
        found = list(rows.filter(after).order_by(*rows.model._meta.ordering)[:ROWS_AT_ONCE])
        return found, shape(found)

    while True:
        found, shown = await query(read)
        if shown:
            yield shown
        if len(found) < ROWS_AT_ONCE:
            return
        at, last = getattr(found[-1], first), getattr(found[-1], second)
        after = Q(**{f"{first}__{verb}": at}) | Q(**{first: at, f"{second}__{verb}": last})


AS: Final = OpenApiParameter("as", str, enum=list(TYPES), default="csv", description="CSV, or lines of JSON.")


def described(name: str, *parameters: Any, csv_example: str, line: Row) -> Callable[[Any], Any]:
    """Decorates an action that answers a file: what the OpenAPI document says of it."""
    examples = [
        OpenApiExample("CSV", csv_example, response_only=True, media_type=MEDIA["csv"]),
        OpenApiExample("Lines", lines_of([line]).decode(), response_only=True, media_type=MEDIA["jsonl"]),
    ]
    return extend_schema(
        summary=f"Download {name}",
        description="All rows of the list with these filters, as a file. A string that a spreadsheet would"
        " take for a formula has an apostrophe before it in CSV.",
        parameters=[AS, *parameters],
        responses={(200, media): OpenApiTypes.STR for media in MEDIA.values()},
        examples=examples,
    )


def file_action(**options: Any) -> Callable[[Any], Any]:
    """REST Framework's `action` for `GET …/download`."""
    return action(
        detail=False,
        methods=["get"],
        url_path="download",
        content_negotiation_class=AnyAccept,
        **options,
    )


class Downloads:
    """A viewset of a list that is a file, too. `file` is the beginning of its name."""

    file: ClassVar = "rows"

    def as_file(self, request: Request) -> StreamingHttpResponse:
        """The answer. Raises ValidationError."""
        view: Any = self
        serializer = view.get_serializer_class()
        context = view.get_serializer_context()

        def shape(found: list[Any]) -> list[Row]:
            return list(serializer(found, many=True, context=context).data)

        return answer(request, self.file, list(serializer().fields), in_pieces(view.get_queryset(), shape))
