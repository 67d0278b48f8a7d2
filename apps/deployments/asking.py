"""One call of the live serving port by our own pages, like any caller's."""

from __future__ import annotations

from typing import Any

import httpx
from django.conf import settings
from django.utils.translation import gettext as _

from apps.core.errors import AppError, Unavailable
from apps.core.http import inner_client
from apps.deployments.keys import page_token
from apps.deployments.models import Endpoint


def serving_ask(
    endpoint: Endpoint, method: str, path: str, *, body: Any = None, timeout_s: float
) -> tuple[dict[str, Any], httpx.Headers]:
    """The answer's JSON and headers. Raises the serving port's own refusal, or Unavailable where nobody listens."""
    # The page's visitor has a session, no token; the browser never sees this key, which is of the visitor's workspace.
    headers = {"Authorization": f"Bearer {page_token(endpoint.workspace)}"}
    url = f"{settings.SERVING_INTERNAL_URL}{path}"
    try:
        answer = inner_client().request(method, url, json=body, headers=headers, timeout=timeout_s)
        told: dict[str, Any] = answer.json()
        refusal = None if answer.status_code == 200 else _refusal(told["error"], answer.status_code)
    except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:
        raise Unavailable(
            _("The serving port does not answer."),
            code="serving_unavailable",
            hint=_("See the log of the process serving; it is restarted by itself."),
        ) from error
    if refusal is not None:
        raise refusal
    return told, answer.headers


def _refusal(told: dict[str, str], status: int) -> AppError:
    """Raises KeyError or TypeError for what is not the serving port's own shape, but something's on the way there."""
    return AppError(told["message"], code=told["code"], hint=told["hint"], status=status)
