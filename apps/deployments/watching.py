"""What is looked at every few seconds on the serving host: canaries under way, and what shadows answered."""

from __future__ import annotations

import logging

from django.conf import settings

from apps.core.errors import NotFound
from apps.deployments.backend import is_fresh, serving_backend
from apps.deployments.canaries import canary_look
from apps.deployments.models import Canary
from apps.deployments.shadows import batches_take
from modelkit.serving.paths import ServingPaths
from modelkit.serving.plan import ObservedSet

logger = logging.getLogger(__name__)


def traffic_watch(observed: ObservedSet | None = None) -> None:
    """Judge every canary by the agent's report, and take in the front's files. Repeating it changes nothing."""
    observed = observed or serving_backend().observe()
    if observed is not None and is_fresh(observed):
        for canary in Canary.objects.filter(finished_at=None).select_related("endpoint__workspace"):
            try:
                canary_look(canary, observed)
            except NotFound:
                logger.info("The endpoint of canary %s was deleted meanwhile.", canary.public_id)
            except (LookupError, TypeError, ValueError):  # rows or counts of another version of the platform
                logger.exception("Canary %s cannot be judged; the others are.", canary.public_id)
    batches_take(ServingPaths(settings.HOME.absolute()).shadow)
