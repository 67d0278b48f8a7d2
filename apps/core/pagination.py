"""Lists of the API: `{"items": [...], "next": cursor | null}`, by keyset, so that new rows shift nothing."""

from __future__ import annotations

import base64
import binascii
from typing import Any, Generic, TypeVar

import orjson
from django.db.models import Model, QuerySet
from ninja import Schema
from pydantic import Field

from apps.core.errors import Invalid

Item = TypeVar("Item")
Row = TypeVar("Row", bound=Model)


class PageQuery(Schema):
    """Query parameters of every list."""

    cursor: str | None = Field(None, max_length=500, description="`next` of the page before; absent for the first.")
    limit: int = Field(50, ge=1, le=200, description="At most this many items.")


class Page(Schema, Generic[Item]):
    """One page of a list."""

    items: list[Item]
    next: str | None = Field(None, description="Pass as `cursor` for the following page; null on the last.")


def page_of(rows: QuerySet[Row], query: PageQuery, *, order: str = "-pk") -> tuple[list[Row], str | None]:
    """The rows of one page and the cursor of the next one. `order` is a unique field, `-` for descending."""
    field = order.removeprefix("-")
    rows = rows.order_by(order)
    if query.cursor:
        compare = "lt" if order.startswith("-") else "gt"
        rows = rows.filter(**{f"{field}__{compare}": _decode(query.cursor, rows.model, field)})
    found = list(rows[: query.limit + 1])
    if len(found) <= query.limit:
        return found, None
    found.pop()
    return found, _encode(getattr(found[-1], field))


def _encode(value: str | int) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(value)).decode().rstrip("=")


def _decode(cursor: str, model: type[Model], field: str) -> str | int:
    try:
        value: Any = orjson.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
        whole = field in {"pk", "id", "number"}
        fits = type(value) is int and 0 <= value < 1 << 63 if whole else type(value) is str
        if not fits:
            raise ValueError
    except (ValueError, binascii.Error):
        message = "This is no cursor of this list."
        raise Invalid(message, fields={"cursor": message}, hint="Pass `next` of the page before, unchanged.") from None
    answer: str | int = value
    return answer
