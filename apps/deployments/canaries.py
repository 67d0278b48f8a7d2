"""Canaries: a revision gets traffic step by step and is judged at each; it is promoted, or the traffic goes back.

People start, pause, promote and abort; `canary_look` is the judge, called every few seconds where the serving agent's
reports are. All state is rows, and a look is one transaction, so that it may die or be repeated at any point. Nobody
looking means that nothing moves.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any, cast

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.auth import Identity
from apps.accounts.models import Role
from apps.accounts.services import audit_record
from apps.core.errors import Conflict, Invalid
from apps.deployments.changing import (
    canary_finish,
    desired_changed,
    endpoint_lock,
    model_or_revision_fields,
    refuse_while_canary,
    revision_add,
    revision_name_check,
    revision_named,
    revision_refused,
    timeline_note,
    traffic_point,
    version_for,
)
from apps.deployments.judging import Bounds, Check, Numbers, judge
from apps.deployments.models import Canary, CanaryStatus, Endpoint, Revision, RevisionStatus
from apps.deployments.selectors import canary_open, revisions_in_traffic
from modelkit.serving.plan import Goal, ObservedEndpoint, ObservedSet, RevisionTally
from modelkit.wording import say

logger = logging.getLogger(__name__)

STEPS = (5, 25, 50, 100)
STEP_S = 300
MAX_STEPS = 20
MAX_STEP_S = 7 * 86_400
_ANSWERS = (RevisionStatus.LIVE, RevisionStatus.ASLEEP)


# --- what people ask for --------------------------------------------------------------------------------------------


def canary_start(
    *,
    by: Identity,
    endpoint: Endpoint,
    model: str = "",
    revision: int | None = None,
    name: str = "",
    steps: list[int] | None = None,
    step_s: int = STEP_S,
    bounds: Bounds | None = None,
) -> Canary:
    """Give a version, or a revision that is there, the first share of the traffic, and judge it from then on.

    Raises Invalid naming what cannot be; Conflict unless one live revision has all the traffic.
    """
    by.require(Role.DEVELOPER)
    chosen = list(STEPS if steps is None else steps)
    _check_course(chosen, step_s, model, revision)
    revision_name_check(name)
    version = version_for(endpoint, model) if model else None
    with transaction.atomic():
        locked = endpoint_lock(endpoint)
        refuse_while_canary(locked)
        stable = _stable(locked)
        if version is not None:
            if version.pk == stable.model_version_id:
                message = _("%(ref)s has all the traffic already.") % {"ref": version.ref}
                raise Invalid(message, fields={"model": message}, hint=_("Name another version."))
            candidate = revision_add(locked, version, by.user, weight=0, name=name, goal=cast(Goal, stable.goal))
        else:
            assert revision is not None  # noqa: S101  one of the two is given
            candidate = _candidate(locked, revision, stable)
        traffic_point(locked, {stable.number: 100 - chosen[0], candidate.number: chosen[0]}, by.user)
        canary = Canary.objects.create(
            endpoint=locked,
            revision=candidate,
            stable=stable,
            steps=chosen,
            step_s=step_s,
            bounds=(bounds or Bounds()).model_dump(),
            created_by=by.user,
        )
        details: dict[str, Any] = {"steps": chosen, "step_s": step_s, "bounds": canary.bounds, "stable": stable.number}
        timeline_note(locked, "canary", by.user, candidate, details=details)
        audit = {"model": candidate.model_version.ref, "revision": candidate.number, **details}
        audit_record(by=by, action="endpoint.canary_start", target=locked.name, details=audit)
        desired_changed()
    return canary


def canary_pause(*, by: Identity, endpoint: Endpoint) -> Canary:
    """Hold the share that it has. The judge goes on: a broken bound takes the traffic back all the same."""
    return _switch(by, endpoint, CanaryStatus.PAUSED)


def canary_resume(*, by: Identity, endpoint: Endpoint) -> Canary:
    """Go on rising; the time that the step has lasted counts."""
    return _switch(by, endpoint, CanaryStatus.RAMPING)


def canary_promote(*, by: Identity, endpoint: Endpoint) -> Canary:
    """Give it all the traffic now, whatever its numbers."""
    return _end(by, endpoint, CanaryStatus.PROMOTED)


def canary_abort(*, by: Identity, endpoint: Endpoint) -> Canary:
    """Give all the traffic back to the stable revision."""
    return _end(by, endpoint, CanaryStatus.ABORTED)


def _switch(by: Identity, endpoint: Endpoint, to: CanaryStatus) -> Canary:
    by.require(Role.DEVELOPER)
    with transaction.atomic():
        canary = _under_way(endpoint_lock(endpoint))
        if Canary.objects.filter(pk=canary.pk, finished_at=None).exclude(status=to).update(status=to):
            verb = "pause" if to == CanaryStatus.PAUSED else "resume"
            timeline_note(endpoint, "canary_step", by.user, canary.revision, details={"what": verb})
            audit_record(by=by, action=f"endpoint.canary_{verb}", target=endpoint.name, details=_audit(canary))
        canary.status = to
    return canary


def _end(by: Identity, endpoint: Endpoint, status: CanaryStatus) -> Canary:
    by.require(Role.DEVELOPER)
    with transaction.atomic():
        locked = endpoint_lock(endpoint)
        canary = _under_way(locked)
        promoted = status == CanaryStatus.PROMOTED
        if promoted and canary.revision.status not in _ANSWERS:
            message = _("Revision %(number)s is not live yet.") % {"number": canary.revision.number}
            raise Conflict(message, code="canary_not_live", hint=_("Wait until it has passed its golden set."))
        canary_finish(canary, status, by.user)
        winner = canary.revision if promoted else canary.stable
        traffic_point(locked, {winner.number: 100}, by.user)
        verb = "promote" if promoted else "abort"
        audit_record(by=by, action=f"endpoint.canary_{verb}", target=locked.name, details=_audit(canary))
        desired_changed()
    canary.refresh_from_db()
    return canary


def _under_way(endpoint: Endpoint) -> Canary:
    canary = canary_open(endpoint)
    if canary is None:
        message = _("No canary is under way at %(name)s.") % {"name": endpoint.name}
        raise Conflict(message, code="no_canary", hint=_("Start one with POST /endpoints/%s/canary.") % endpoint.name)
    return canary


def _audit(canary: Canary) -> dict[str, Any]:
    return {"revision": canary.revision.number, "model": canary.revision.model_version.ref, "share": canary.share}


def _stable(endpoint: Endpoint) -> Revision:
    shares = revisions_in_traffic(endpoint)
    found = next((r for r in endpoint.revisions.all() if r.weight == 100), None)
    if not endpoint.running or found is None or found.status not in _ANSWERS or len(shares) != 1:
        message = _("A canary is compared with one live revision that has all the traffic; here there is none.")
        raise Conflict(message, code="no_stable_revision", hint=_("Give one revision 100 percent and wait for it."))
    return found


def _candidate(endpoint: Endpoint, number: int, stable: Revision) -> Revision:
    candidate = revision_named(endpoint, number)
    if candidate.pk == stable.pk:
        raise revision_refused(_("Revision %(number)s has all the traffic already.") % {"number": number})
    return candidate


def _check_course(steps: list[int], step_s: int, model: str, revision: int | None) -> None:
    fields = model_or_revision_fields(model, revision)
    rising = all(low < high for low, high in zip([0, *steps], steps, strict=False))
    if not 2 <= len(steps) <= MAX_STEPS or not rising or steps[-1] != 100:
        fields["steps"] = _("Give 2 to %(most)s rising shares in percent; the last one is 100.") % {"most": MAX_STEPS}
    if not 1 <= step_s <= MAX_STEP_S:
        fields["step_s"] = _("A step lasts from 1 second to a week.")
    if fields:
        raise Invalid(_("The canary cannot be started so."), fields=fields, hint=_("Correct the named fields."))


# --- the judge ------------------------------------------------------------------------------------------------------


def canary_look(canary: Canary, observed: ObservedSet) -> None:
    """Take in what was counted since the last look, judge it, and move on, back, or not at all."""
    with transaction.atomic():
        endpoint = endpoint_lock(canary.endpoint)
        fresh = canary_open(endpoint)
        if fresh is None or fresh.pk != canary.pk or not endpoint.running:
            return
        if fresh.revision.status == RevisionStatus.FAILED:
            why = fresh.revision.reason or say("Its revision failed.")
            _take_back(endpoint, fresh, why)
            return
        wanted = {fresh.stable.number: 100 - fresh.share, fresh.revision.number: fresh.share}
        if revisions_in_traffic(endpoint) != wanted:
            # The stable revision failed, say, and the platform fell back: there is nothing to compare with.
            canary_finish(fresh, CanaryStatus.ABORTED, None, say("The shares were changed by something else."))
            return
        key = (endpoint.workspace.public_id, endpoint.name)
        seen = next((found for found in observed.endpoints if found.key == key), None)
        if seen is not None and seen.weights == wanted:
            _judge(endpoint, fresh, seen, observed)


def _judge(endpoint: Endpoint, canary: Canary, seen: ObservedEndpoint, observed: ObservedSet) -> None:
    now = timezone.now()
    tallies = {
        tally.number: tally
        for tally in observed.tallies
        if (tally.workspace, tally.name) == seen.key and tally.number in seen.weights
    }
    crashes = next((r.restarts for r in seen.revisions if r.number == canary.revision.number), 0)
    if canary.step_began_at is None:
        canary.step_began_at = now
        canary.numbers, canary.verdict = {}, []
        _remember(canary, tallies, crashes)
        return
    stable, own = numbers_of(canary)
    before = {int(number): RevisionTally.model_validate(tally) for number, tally in canary.seen["tallies"].items()}
    for number, numbers in ((canary.stable.number, stable), (canary.revision.number, own)):
        if number in tallies:
            numbers.add(tallies[number], before.get(number))
    known = canary.seen["crashes"]
    # Another agent counts from nothing, and a runner that is no longer wanted takes its count along.
    own.crashes += max(0, crashes - known)
    canary.numbers = {"stable": stable.model_dump(), "canary": own.model_dump()}
    checks = judge(stable, own, Bounds.model_validate(canary.bounds))
    canary.verdict = [check.model_dump() for check in checks]
    _remember(canary, {**before, **tallies}, crashes)
    broken = next((check for check in checks if check.broken), None)
    if broken is not None:
        _take_back(endpoint, canary, _why(broken))
    elif canary.status == CanaryStatus.RAMPING and _is_over(canary, now) and not missing_requests(canary):
        _next_step(endpoint, canary, now)


def _remember(canary: Canary, tallies: dict[int, RevisionTally], crashes: int) -> None:
    kept = {str(number): tally.model_dump() for number, tally in tallies.items()}
    canary.seen = {"tallies": kept, "crashes": crashes}
    canary.save(update_fields=["step_began_at", "numbers", "verdict", "seen"])


def numbers_of(canary: Canary) -> tuple[Numbers, Numbers]:
    """What stable revision and canary did at this step."""
    kept = canary.numbers
    return Numbers.model_validate(kept.get("stable", {})), Numbers.model_validate(kept.get("canary", {}))


def missing_requests(canary: Canary) -> int:
    """How many requests the slower of the two lacks before the next step."""
    stable, own = numbers_of(canary)
    return max(0, int(canary.bounds["min_requests"]) - min(stable.requests, own.requests))


def step_ends_at(canary: Canary) -> datetime | None:
    """When the step may end, if its numbers allow it; None while its traffic has not come."""
    return canary.step_began_at + timedelta(seconds=canary.step_s) if canary.step_began_at else None


def _is_over(canary: Canary, now: datetime) -> bool:
    end = step_ends_at(canary)
    return end is not None and end <= now


def _next_step(endpoint: Endpoint, canary: Canary, now: datetime) -> None:
    stable, own = numbers_of(canary)
    canary.passed.append(
        {
            "share": canary.share,
            "began_at": canary.step_began_at.isoformat() if canary.step_began_at else None,
            "ended_at": now.isoformat(),
            "requests": {"stable": stable.requests, "canary": own.requests},
            "checks": canary.verdict,
        }
    )
    canary.step += 1
    canary.step_began_at = None
    canary.save(update_fields=["passed", "step", "step_began_at"])
    if canary.share == 100:
        canary_finish(canary, CanaryStatus.PROMOTED, None, _verdict(canary))
        traffic_point(endpoint, {canary.revision.number: 100}, None)
    else:
        traffic_point(endpoint, {canary.stable.number: 100 - canary.share, canary.revision.number: canary.share}, None)
        details = {"what": "step", "share": canary.share, "checks": canary.verdict}
        timeline_note(endpoint, "canary_step", None, canary.revision, details=details)
    logger.info("%s: the canary goes to %d percent.", endpoint.name, canary.share)
    desired_changed()


def _take_back(endpoint: Endpoint, canary: Canary, reason: str) -> None:
    canary_finish(canary, CanaryStatus.ROLLED_BACK, None, reason)
    traffic_point(endpoint, {canary.stable.number: 100}, None)
    logger.warning("%s: the canary is taken back: %s", endpoint.name, reason)
    desired_changed()


def _verdict(canary: Canary) -> str:
    """What speaks for a canary that rose to the end."""
    return say(
        "No bound broke in {steps} steps, while it answered {canary} requests and the stable revision {stable}.",
        steps=len(canary.passed),
        canary=sum(step["requests"]["canary"] for step in canary.passed),
        stable=sum(step["requests"]["stable"] for step in canary.passed),
    )


def _why(check: Check) -> str:
    """The bound that broke, by its numbers."""
    if check.bound == "crashes":
        return say("While it had traffic its process died (times: {count}).", count=int(check.canary or 0))
    canary, stable, limit, noise = check.canary or 0.0, check.stable or 0.0, check.limit or 0.0, check.noise or 0.0
    if check.bound == "errors":
        return say(
            "{canary:.1f} % of its requests failed, of the stable revision's {stable:.1f} %; "
            "at most {limit:.1f} % were allowed, and noise explains {noise:.1f} pp.",
            canary=canary * 100, stable=stable * 100, limit=limit * 100, noise=noise * 100,
        )  # fmt: skip
    if check.bound == "p95":
        return say(
            "Its 95th percentile is {canary:.1f} ms, the stable revision's {stable:.1f} ms; at most {limit:.1f} ms "
            "were allowed, and noise explains {noise:.1f} ms.",
            canary=canary, stable=stable, limit=limit, noise=noise,
        )  # fmt: skip
    return say(
        "The shares of its labels are {canary:.2f} away from the stable revision's; at most {limit:.2f} was allowed, "
        "and noise explains {noise:.2f}.",
        canary=canary, limit=limit, noise=noise,
    )  # fmt: skip
