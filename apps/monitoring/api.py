"""REST routes of monitoring: health, without a sign-in."""

from __future__ import annotations

from typing import Literal

from django.http import HttpRequest
from ninja import Router, Schema

from apps.monitoring.health import State, health

router = Router(tags=["Monitoring"])


class Components(Schema):
    database: State
    redis: State
    mlflow: State
    workers: State
    serving: State


class HealthOut(Schema):
    status: Literal["ok", "degraded"]
    components: Components


@router.get("/health", auth=None, response=HealthOut, summary="Which parts answer")
def health_get(request: HttpRequest) -> HealthOut:
    """Always 200: the web process answers, which is what a load balancer wants to know. Three seconds old at most."""
    found = health()
    return HealthOut(status=found.status, components=Components(**found.components))
