"""What every page may show without asking."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest


def interface(request: HttpRequest) -> dict[str, Any]:
    """The workspace, the role in it, the theme and the public addresses."""
    return {
        "workspace": getattr(request, "workspace", None),
        "role": getattr(request, "role", None),
        "theme": _theme(request),
        "public_url": settings.PUBLIC_URL,
        "serving_url": settings.SERVING_URL,
        "mail_delivered": settings.MAIL_DELIVERED,
    }


def _theme(request: HttpRequest) -> str:
    """The browser's choice, else the user's."""
    chosen = request.COOKIES.get("tuneyard_theme") or getattr(getattr(request, "user", None), "theme", "")
    return chosen if chosen in {"light", "dark"} else "auto"
