"""REST routes of compression. A compression itself is started as a job: `POST /jobs {"kind": "compress", ...}`."""

from __future__ import annotations

from typing import Annotated, Any

from django.http import HttpRequest
from ninja import Query, Router

from apps.accounts.auth import require
from apps.accounts.models import Role
from apps.compression import selectors
from apps.compression.schemas import MethodPage, VariantPage
from apps.core.wording import told
from apps.registry.selectors import version_by_reference
from modelkit import catalog

router = Router(tags=["compression"])

Model = Annotated[str, Query("", max_length=127, description="A reference such as `intents@1` or `intents@champion`.")]


@router.get("/compression/methods", response=MethodPage)
@require(Role.VIEWER)
def methods_list(request: HttpRequest, model: Model) -> dict[str, Any]:
    """Every compression method; with `model`, whether it applies to that version, and why not."""
    if not model:
        verdicts = [selectors.Verdict(spec, False, "") for spec in catalog.methods().values()]
    else:
        verdicts = selectors.verdicts(version_by_reference(request.auth.workspace, model))  # type: ignore[attr-defined]
    items = [
        {
            "name": verdict.spec.name,
            "title": verdict.spec.title,
            "summary": verdict.spec.summary,
            "family": verdict.spec.family,
            "needs": sorted(verdict.spec.needs),
            "applies": verdict.applies if model else None,
            "reason": told(verdict.reason),
            "params_schema": verdict.spec.params.model_json_schema(),
        }
        for verdict in verdicts
    ]
    return {"items": items, "next": None}


@router.get("/models/{name}/versions/{number}/variants", response=VariantPage)
@require(Role.VIEWER)
def variants_list(request: HttpRequest, name: str, number: int) -> dict[str, Any]:
    """The version's family, the uncompressed ancestor first, with the scores measured side by side."""
    version = version_by_reference(request.auth.workspace, f"{name}@{number}")  # type: ignore[attr-defined]
    return {"items": selectors.comparison_state(version), "next": None}
