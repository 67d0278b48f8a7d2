"""What changes of endpoints are made of, whoever asks for them: people, the agent's reports or a canary's judge.

Each is a part of a transaction that its caller holds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db.models import F, Max
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.core.errors import Conflict, Invalid
from apps.deployments.models import (
    Canary,
    CanaryStatus,
    DesiredState,
    Endpoint,
    Revision,
    RevisionStatus,
    RevisionTransition,
    TimelineEntry,
)
from apps.deployments.selectors import canary_open, counters_of, endpoint_by_name
from apps.jobs import queue
from apps.registry.models import ModelVersion
from apps.registry.selectors import version_by_reference
from modelkit.serving.plan import Goal, Runtime
from modelkit.wording import pack

#: A revision in one of these has a runner, or is about to get one.
UNDER_WAY = (RevisionStatus.PENDING, RevisionStatus.STARTING, RevisionStatus.LIVE, RevisionStatus.ASLEEP)
_STICKY = re.compile(r"|key|header:(?!authorization$|x-request-id$)[a-z0-9_-]{1,64}")


def desired_changed() -> None:
    """Raise the generation, and send the message once this has committed."""
    if not DesiredState.objects.filter(pk=1).update(generation=F("generation") + 1):
        DesiredState.objects.get_or_create(pk=1, defaults={"generation": 1})
    queue.send_on_commit(queue.DEPLOYMENT_APPLY)


def revision_move(
    revision: Revision, to: RevisionStatus, *, reason: str = "", actor: User | None = None, **values: Any
) -> bool:
    """Change a revision's state, if it still is in the one that was read; False when somebody else was faster."""
    changed = Revision.objects.filter(pk=revision.pk, status=revision.status).update(status=to, reason=reason, **values)
    if changed:
        RevisionTransition.objects.create(
            revision=revision, actor=actor, from_status=revision.status, to_status=to, reason=reason
        )
        revision.status, revision.reason = to, reason
    return bool(changed)


def timeline_note(
    endpoint: Endpoint,
    kind: str,
    actor: User | None,
    revision: Revision | None = None,
    *,
    weights: Mapping[int, int] | None = None,
    details: dict[str, Any] | None = None,
    at: datetime | None = None,
) -> None:
    """Write down, for people, what happened at an endpoint and what its numbers were then.

    Without an actor it was the platform itself; without `at` it is now.
    """
    shares = {} if weights is None else {"weights": {str(number): weight for number, weight in weights.items()}}
    counters = counters_of(endpoint)
    if counters is not None:
        shares["numbers"] = counters.model_dump(exclude={"workspace", "name"})
    TimelineEntry.objects.create(
        endpoint=endpoint,
        at=at or timezone.now(),
        actor=actor,
        kind=kind,
        revision=revision.number if revision is not None else None,
        model_ref=revision.model_version.ref if revision is not None else "",
        details=pack({**shares, **(details or {})}),
    )


def endpoint_lock(endpoint: Endpoint) -> Endpoint:
    """The endpoint as it is now, held until the transaction ends; NotFound when it was deleted meanwhile."""
    Endpoint.objects.select_for_update().filter(pk=endpoint.pk).first()
    return endpoint_by_name(endpoint.workspace, endpoint.name)


def version_for(endpoint: Endpoint, model: str) -> ModelVersion:
    """The version that a reference names, if this endpoint can serve it. Raises NotFound, Invalid."""
    version = version_by_reference(endpoint.workspace, model)
    if version.model.task != endpoint.task:
        message = _("%(ref)s is a model for %(task)s; this endpoint serves %(own)s.")
        message %= {"ref": version.ref, "task": version.model.task, "own": endpoint.task}
        raise Invalid(message, fields={"model": message}, hint=_("Create another endpoint for it."))
    return version


def revision_add(
    endpoint: Endpoint,
    version: ModelVersion,
    actor: User,
    *,
    weight: int = 100,
    name: str = "",
    goal: Goal = "",
    runtime: Runtime | None = None,
) -> Revision:
    highest = endpoint.revisions.aggregate(highest=Max("number"))["highest"] or 0
    revision = Revision.objects.create(
        endpoint=endpoint,
        number=highest + 1,
        model_version=version,
        weight=weight,
        name=name.strip(),
        goal=goal,
        runtime=runtime.model_dump() if runtime is not None else None,
        created_by=actor,
    )
    RevisionTransition.objects.create(revision=revision, actor=actor, to_status=RevisionStatus.PENDING)
    return revision


def revision_revive(revision: Revision, actor: User | None) -> None:
    """Ask for a revision that is over to be started and checked again."""
    if revision.status not in UNDER_WAY:
        revision_move(revision, RevisionStatus.PENDING, actor=actor)


def traffic_point(endpoint: Endpoint, weights: Mapping[int, int], actor: User | None) -> None:
    """Desire these shares; a shadow that gets traffic is none any more."""
    for revision in Revision.objects.filter(endpoint=endpoint):
        weight = weights.get(revision.number, 0)
        shadow = 0 if weight else revision.shadow
        if (revision.weight, revision.shadow) != (weight, shadow):
            Revision.objects.filter(pk=revision.pk).update(weight=weight, shadow=shadow)
        if weight and endpoint.running:
            revision_revive(revision, actor)


def canary_finish(canary: Canary, status: CanaryStatus, actor: User | None, reason: str = "") -> bool:
    """End a canary, once; False when it had ended. Where the traffic goes is for the caller to say."""
    ended = Canary.objects.filter(pk=canary.pk, finished_at=None).update(
        status=status, reason=reason, finished_at=timezone.now(), finished_by=actor
    )
    if ended:
        details = {"outcome": status.value, "reason": reason, "checks": canary.verdict}
        timeline_note(canary.endpoint, "canary_end", actor, canary.revision, details=details)
    return bool(ended)


def refuse_while_canary(endpoint: Endpoint) -> None:
    """Raises Conflict while a canary is under way: its judge would compare with what is no longer there."""
    if canary_open(endpoint) is not None:
        message = _("A canary is under way at %(name)s.") % {"name": endpoint.name}
        raise Conflict(message, code="canary_running", hint=_("Promote or abort it first, or roll back."))


def sticky_kept(sticky: str) -> str:
    """`none`, `key` or `header:X-User-Id` as rows keep it. Raises Invalid."""
    wanted = "" if sticky.strip().lower() == "none" else sticky.strip().lower()
    if not _STICKY.fullmatch(wanted):
        message = _("Callers stay by none, key or header:NAME with a header's name.")
        raise Invalid(message, fields={"sticky": message}, hint=_("An example is header:X-User-Id."))
    return wanted


def model_or_revision_fields(model: str, revision: int | None) -> dict[str, str]:
    """What is wrong where a version and a revision are named, or neither."""
    return {"model": _("Name either a model or a revision.")} if bool(model) == (revision is not None) else {}


def revision_refused(message: str) -> Invalid:
    """The revision that was named cannot be taken."""
    return Invalid(message, fields={"revision": message}, hint=_("Name another revision of this endpoint, or a model."))


def revision_named(endpoint: Endpoint, number: int) -> Revision:
    """The revision that somebody named in a request. Raises Invalid."""
    found = next((revision for revision in endpoint.revisions.all() if revision.number == number), None)
    if found is None:
        raise revision_refused(_("There is no revision %(number)s.") % {"number": number})
    return found


def revision_name_check(name: str) -> None:
    """Raises Invalid."""
    if len(name) > 60:
        message = _("Use at most 60 characters.")
        raise Invalid(_("The revision cannot be named so."), fields={"name": message}, hint=_("Choose a shorter name."))
