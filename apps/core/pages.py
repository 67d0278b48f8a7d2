"""The one helper by which a view answers with a whole page or, to HTMX, with a fragment of it."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render


def is_fragment(request: HttpRequest) -> bool:
    """Whether HTMX asks for a part of the page; a boosted link or a restored history entry wants the whole."""
    headers = request.headers
    return bool(headers.get("HX-Request")) and not (
        headers.get("HX-Boosted") or headers.get("HX-History-Restore-Request")
    )


def page_or_fragment(
    request: HttpRequest, page: str, fragment: str, context: dict[str, Any] | None = None, *, status: int = 200
) -> HttpResponse:
    """Render `fragment` for HTMX, else `page`, which includes that very fragment."""
    response = render(request, fragment if is_fragment(request) else page, context or {}, status=status)
    response["Vary"] = "HX-Request"
    return response
