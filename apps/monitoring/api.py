"""REST routes of monitoring: health, without a sign-in, and the figures of an endpoint."""

from __future__ import annotations

from typing import Annotated, Literal

from django.http import HttpRequest
from ninja import Path, Query, Router, Schema

from apps.accounts.auth import caller, require
from apps.accounts.models import Role
from apps.deployments.selectors import endpoint_by_name
from apps.monitoring.health import State, health
from apps.monitoring.schemas import MetricsOut
from apps.monitoring.traffic import traffic_of

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


@router.get(
    "/endpoints/{name}/metrics",
    response=MetricsOut,
    tags=["Endpoints"],
    summary="Requests, errors and latency of an endpoint over time",
    description="Quantiles come from counts in buckets: each is right to the width of its bucket. "
    "Latency, its parts and the batch are those of answered requests. Steps without a request are left out.",
)
@require(Role.VIEWER)
def endpoint_metrics(
    request: HttpRequest,
    name: Annotated[str, Path(max_length=63)],
    range: Annotated[
        Literal["live", "hour", "day", "week"],
        Query(description="The span that ends now; live is five minutes."),
    ] = "hour",
    step: Annotated[
        int | None,
        Query(
            ge=1,
            le=86400,
            description="Seconds; by default 10 for live, 60 for hour, 600 for day, 3600 for week. "
            "Whole minutes that cut the day evenly, for live also 5, 10 and 30; others are refused with the choice.",
        ),
    ] = None,
) -> MetricsOut:
    endpoint = endpoint_by_name(caller(request).workspace, name)
    return MetricsOut.of(endpoint, traffic_of(endpoint, range, step))
