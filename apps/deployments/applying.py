"""From rows to the serving host: the desired set is built whole, written, and its effect awaited for a while.

Idempotent, so that beat may repeat it: an unchanged set writes nothing.
"""

from __future__ import annotations

import logging
import time

from django.conf import settings
from django.db.models import Q

from apps.core.errors import AppError, Unavailable
from apps.deployments.backend import is_fresh, serving_backend
from apps.deployments.changing import revision_move, timeline_note
from apps.deployments.keys import keys_note_use, keys_push
from apps.deployments.models import DesiredState, Endpoint, Revision, RevisionStatus
from apps.deployments.observing import deployment_outdated, deployment_sync
from apps.deployments.selectors import effective_runtime
from apps.deployments.watching import traffic_watch
from apps.registry.bundles import bundle_ensure_local
from modelkit import bundle
from modelkit.errors import UserError
from modelkit.serving.plan import DesiredEndpoint, DesiredRevision, DesiredSet, Limits, Placement, Sampling

logger = logging.getLogger(__name__)

#: How long to follow the agent after a change. What takes longer is seen by the next repetition.
FOLLOW_S = 30.0
_LOOK_EVERY_S = 0.1
#: The queue has one worker: a canary must not be left alone while a model loads.
_WATCH_EVERY_S = 2.0


def deployment_apply(*, follow_s: float = FOLLOW_S) -> None:
    """State what the rows desire, then write what the agent reports into the rows until nothing is on its way."""
    backend = serving_backend()
    keys_push()
    keys_note_use()
    until = time.monotonic() + follow_s
    stated, watched = -1, 0.0
    while True:
        generation = _generation()
        if generation != stated:
            _bundles_fetch()
            # Read and written under one lock, so that an older reading cannot overwrite a newer one.
            with backend.exclusive():
                generation = _generation()
                backend.apply(desired_set())
            stated = generation
        observed, desired = backend.observe(), backend.desired()
        if observed is not None and desired is not None and is_fresh(observed):
            current = observed.generation == desired.generation and _generation() == stated
            deployment_sync(observed, current=current)
            if time.monotonic() - watched >= _WATCH_EVERY_S:
                traffic_watch(observed)
                watched = time.monotonic()
        else:
            current = False
        if (current and _generation() == stated and not _under_way()) or time.monotonic() >= until:
            return
        time.sleep(_LOOK_EVERY_S)


def deployment_catch_up() -> None:
    """Bring the rows up to a report that tells more than they do; a look costs a tenth of `deployment_apply`."""
    observed = serving_backend().observe()
    if observed is not None and is_fresh(observed) and deployment_outdated(observed):
        deployment_apply(follow_s=0.0)


def desired_set() -> DesiredSet:
    """Everything that should be served, from the rows; a revision whose bundle is not here yet is left out."""
    rows = (
        Endpoint.objects.select_related("workspace").prefetch_related("revisions__model_version__model").order_by("pk")
    )
    endpoints = tuple(_desired_endpoint(endpoint) for endpoint in rows)
    return DesiredSet(endpoints=endpoints)


def _desired_endpoint(endpoint: Endpoint) -> DesiredEndpoint:
    revisions = sorted((r for r in endpoint.revisions.all() if r.wanted), key=lambda r: r.number)
    return DesiredEndpoint(
        workspace=endpoint.workspace.public_id,
        name=endpoint.name,
        state="running" if endpoint.running else "stopped",
        revisions=tuple(_desired_revision(r) for r in revisions if _is_here(r)),
        limits=Limits.model_validate(endpoint.limits),
        sticky=endpoint.sticky,
        shadow_inputs=endpoint.shadow_inputs,
        placement=Placement.model_validate(endpoint.placement),
        sampling=Sampling.model_validate(endpoint.sampling),
    )


def _desired_revision(revision: Revision) -> DesiredRevision:
    version = revision.model_version
    return DesiredRevision(
        number=revision.number,
        model=version.ref,
        bundle=str(settings.BUNDLES_DIR / version.bundle_digest),
        digest=version.bundle_digest,
        weight=revision.weight,
        shadow=revision.shadow,
        goal=revision.goal,
        runtime=effective_runtime(revision),
    )


def _is_here(revision: Revision) -> bool:
    # Whether it is whole is for the agent to check, when it starts it. One that was live stays in the set even if its
    # files are gone: its runner holds the model in memory and goes on answering.
    if revision.status != RevisionStatus.PENDING:
        return True
    try:
        return bundle.read(settings.BUNDLES_DIR / revision.model_version.bundle_digest) is not None
    except UserError:
        return False


def _bundles_fetch() -> None:
    """Bring the bundles of new revisions to this host; what can never come fails its revision, with the reason."""
    waiting = Revision.objects.filter(status=RevisionStatus.PENDING, endpoint__running=True)
    wanted = waiting.filter(Q(weight__gt=0) | Q(shadow__gt=0))
    for revision in wanted.select_related("endpoint__workspace", "model_version__model__workspace"):
        try:
            bundle_ensure_local(revision.model_version)
        except Unavailable as error:
            logger.warning("%s revision %s waits: %s", revision.endpoint.name, revision.number, error)
            Revision.objects.filter(pk=revision.pk, status=RevisionStatus.PENDING).update(reason=error.reason)
        except AppError as error:
            if revision_move(revision, RevisionStatus.FAILED, reason=error.reason):
                timeline_note(revision.endpoint, "failed", None, revision, details={"reason": error.reason})


def _under_way() -> bool:
    on_its_way = (RevisionStatus.PENDING, RevisionStatus.STARTING, RevisionStatus.DRAINING)
    return Revision.objects.filter(status__in=on_its_way).exists()


def _generation() -> int:
    return DesiredState.objects.filter(pk=1).values_list("generation", flat=True).first() or 0
