"""The OpenAPI document of an endpoint, fetched from the serving port, which alone knows what answers now."""

from __future__ import annotations

from typing import Any

import httpx
from django.conf import settings
from django.utils.translation import gettext as _

from apps.core.errors import AppError, Unavailable
from apps.deployments.keys import page_token
from apps.deployments.models import Endpoint

_TIMEOUT_S = 10.0


def endpoint_document(*, endpoint: Endpoint) -> dict[str, Any]:
    """The document with the public address filled in. Raises the serving port's refusal, e.g. of a stopped endpoint."""
    url = f"{settings.SERVING_INTERNAL_URL}/openapi/{endpoint.name}.json"
    headers = {"Authorization": f"Bearer {page_token(endpoint.workspace)}"}
    try:
        answer = httpx.get(url, headers=headers, timeout=_TIMEOUT_S, trust_env=False)
        body: dict[str, Any] = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        raise Unavailable(
            _("The serving port does not answer."),
            code="serving_unavailable",
            hint=_("See the log of the process serving; it is restarted by itself."),
        ) from error
    if answer.status_code != 200:
        refusal = body["error"]
        raise AppError(refusal["message"], code=refusal["code"], hint=refusal["hint"], status=answer.status_code)
    return {**body, "servers": [{"url": settings.SERVING_URL}]}
