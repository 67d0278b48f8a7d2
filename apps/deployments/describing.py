"""The OpenAPI document of an endpoint, fetched from the serving port, which alone knows what answers now."""

from __future__ import annotations

from typing import Any

from django.conf import settings

from apps.deployments.asking import serving_ask
from apps.deployments.models import Endpoint

_TIMEOUT_S = 10.0


def endpoint_document(*, endpoint: Endpoint) -> dict[str, Any]:
    """The document with the public address filled in. Raises the serving port's refusal, e.g. of a stopped endpoint."""
    body, _headers = serving_ask(endpoint, "GET", f"/openapi/{endpoint.name}.json", timeout_s=_TIMEOUT_S)
    return {**body, "servers": [{"url": settings.SERVING_URL}]}
