"""A compression before its start: ready or why not, what it will cost, and the request that it stands for.

Judged by the service behind `POST /jobs/preview`; nothing is judged here a second time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from pydantic import ValidationError

from apps.accounts.auth import Identity
from apps.core.errors import AppError
from apps.jobs.forms import Equivalent
from apps.jobs.schemas import CompressRequest
from apps.jobs.services import job_preview
from apps.registry.models import ModelVersion


@dataclass(frozen=True)
class MethodReview:
    """`errors` are by field, for the inputs; `why_not` is the first of all problems."""

    equivalent: Equivalent
    predicted: Mapping[str, float]
    why_not: str
    warnings: list[str]
    errors: dict[str, str]

    @property
    def ready(self) -> bool:
        return not self.why_not


def review_of(by: Identity, version: ModelVersion, method: str, params: Mapping[str, Any]) -> MethodReview:
    """Judge the compression of `version` by `method`."""
    body: dict[str, Any] = {"kind": "compress", "model": version.ref, "method": method}
    if params:
        body["params"] = dict(params)
    equivalent = Equivalent(body, f"{settings.PUBLIC_URL}/api/v1/jobs")
    try:
        plan = job_preview(by=by, request=CompressRequest.model_validate(body))
    except ValidationError as error:
        return MethodReview(equivalent, {}, str(error.errors()[0]["msg"]), [], {})
    except AppError as error:
        return MethodReview(equivalent, {}, error.message, [], dict(error.fields))
    errors = {item.field: item.message for item in reversed(plan.problems) if item.field}
    why_not = f"{plan.problems[0].message} {plan.problems[0].hint}".strip() if plan.problems else ""
    return MethodReview(equivalent, plan.predicted, why_not, [item.message for item in plan.warnings], errors)
