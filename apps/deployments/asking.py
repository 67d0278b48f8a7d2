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
    except (httpx.HTTPError, ValueError) as error:
        raise Unavailable(
            _("The serving port does not answer."),
            code="serving_unavailable",
            hint=_("See the log of the process serving; it is restarted by itself."),
        ) from error
    if answer.status_code != 200:
        refusal = told["error"]
        raise AppError(refusal["message"], code=refusal["code"], hint=refusal["hint"], status=answer.status_code)
    return told, answer.headers
