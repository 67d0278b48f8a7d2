"""Changes to endpoints that people ask for. They write what is desired; `applying` brings it about.

Every change raises the generation of the desired set and sends the message that says *look*.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import F, Max
from django.utils.translation import gettext as _
from pydantic import ValidationError as PydanticError

from apps.accounts.auth import Identity
from apps.accounts.models import Role, User
from apps.accounts.services import audit_record
from apps.core.errors import Conflict, Invalid
from apps.core.models import slug_validator
from apps.core.wording import told
from apps.deployments.keys import keys_changed
from apps.deployments.models import (
    DesiredState,
    Endpoint,
    EndpointStatus,
    Revision,
    RevisionStatus,
    RevisionTransition,
    TimelineEntry,
)
from apps.deployments.selectors import endpoint_by_name, main_revision, revisions_in_traffic, rollback_target
from apps.jobs import queue
from apps.registry.models import ModelVersion
from apps.registry.selectors import version_by_reference
from modelkit.serving import engines
from modelkit.serving.plan import Goal, Limits, Placement, Runtime, Sampling, Tuning
from modelkit.wording import pack

#: A revision in one of these has a runner, or is about to get one.
UNDER_WAY = (RevisionStatus.PENDING, RevisionStatus.STARTING, RevisionStatus.LIVE, RevisionStatus.ASLEEP)


# --- endpoints ------------------------------------------------------------------------------------------------------


def endpoint_create(
    *, by: Identity, name: str, model: str, title: str = "", goal: Goal = "", runtime: Runtime | None = None
) -> Endpoint:
    """Open an endpoint and deploy a version (`intents@2`, `intents@champion`) to it.

    With a `goal` the serving host measures its runtimes first and takes the best; a `runtime` given is taken as it is.

    Raises Invalid for a bad name, NotFound for an unknown version, Conflict for a name in use.
    """
    by.require(Role.DEVELOPER)
    fields = _title_fields(title)
    try:
        slug_validator(name)
    except ValidationError as error:
        fields["name"] = error.messages[0]
    if fields:
        raise Invalid(_("The endpoint cannot be created."), fields=fields, hint=_("Correct the named fields."))
    _check_runtime(runtime)
    version = version_by_reference(by.workspace, model)
    try:
        with transaction.atomic():
            endpoint = Endpoint.objects.create(
                workspace=by.workspace,
                name=name,
                title=title.strip(),
                task=version.model.task,
                created_by=by.user,
            )
            revision = _revision_add(endpoint, version, by.user, goal=goal, runtime=runtime)
            timeline_note(endpoint, "create", by.user, revision)
            audit_record(by=by, action="endpoint.create", target=name, details={"model": version.ref})
            desired_changed()
    except IntegrityError:
        message = _("An endpoint named %(name)s exists already.") % {"name": name}
        hint = _("Deploy the version to it (POST /endpoints/%(name)s/revisions), or choose another name.")
        raise Conflict(message, code="name_taken", fields={"name": message}, hint=hint % {"name": name}) from None
    return endpoint_by_name(by.workspace, name)


#: What an endpoint is set to beside its title: by field, the model that knows names, bounds and defaults.
SETTINGS: Mapping[str, type[Limits] | type[Placement]] = {"limits": Limits, "placement": Placement}


def endpoint_update(
    *,
    by: Identity,
    endpoint: Endpoint,
    title: str | None = None,
    limits: Mapping[str, Any] | None = None,
    placement: Mapping[str, Any] | None = None,
    sampling: Mapping[str, Any] | None = None,
) -> Endpoint:
    """Change the title, or what is named of limits, placement and request log; the serving port follows by itself.

    A value given as None goes back to its default. Raises Invalid naming what is out of bounds.
    """
    by.require(Role.DEVELOPER)
    with transaction.atomic():
        locked = _lock(endpoint)
        fields = _title_fields(title or "")
        new: dict[str, Any] = {"title": locked.title if title is None else title.strip()}
        for name, given in (("limits", limits), ("placement", placement)):
            try:
                new[name] = _settled(SETTINGS[name], getattr(locked, name), given or {})
            except ValueError as error:
                fields |= _setting_fields(name, error)
        try:
            new["sampling"] = _settled(Sampling, locked.sampling, sampling or {})
        except ValueError as error:
            fields |= _sampling_fields(error)
        if fields:
            raise Invalid(_("The endpoint cannot be changed so."), fields=fields, hint=_("Correct the named fields."))
        changes = {name: value for name, value in new.items() if value != getattr(locked, name)}
        if changes:
            Endpoint.objects.filter(pk=locked.pk).update(**changes)
            audit_record(by=by, action="endpoint.update", target=locked.name, details=changes)
        for name in SETTINGS.keys() & changes.keys():
            timeline_note(locked, name, by.user, details={name: SETTINGS[name](**changes[name]).model_dump()})
            desired_changed()
        if "sampling" in changes:
            details = {"sampling": Sampling.model_validate(changes["sampling"]).model_dump(mode="json")}
            timeline_note(locked, "sampling", by.user, details=details)
            desired_changed()
    return endpoint_by_name(by.workspace, endpoint.name)


def endpoint_stop(*, by: Identity, endpoint: Endpoint) -> Endpoint:
    """Let the endpoint answer 503 and free its memory. Stopping a stopped one changes nothing."""
    return _set_running(by, endpoint, running=False)


def endpoint_start(*, by: Identity, endpoint: Endpoint) -> Endpoint:
    """Bring a stopped endpoint back with the shares it had. Starting a running one changes nothing."""
    return _set_running(by, endpoint, running=True)


def endpoint_delete(*, by: Identity, endpoint: Endpoint) -> None:
    """Remove the endpoint with its revisions, keys and timeline; what it was stays in the audit record."""
    by.require(Role.MAINTAINER)
    with transaction.atomic():
        details = {"models": sorted({r.model_version.ref for r in endpoint.revisions.all()})}
        deleted, _by_model = Endpoint.objects.filter(pk=endpoint.pk).delete()
        if deleted:
            # Or a later endpoint of this name would be opened by the keys of this one.
            keys_changed()
            audit_record(by=by, action="endpoint.delete", target=endpoint.name, details=details)
            desired_changed()


def _set_running(by: Identity, endpoint: Endpoint, *, running: bool) -> Endpoint:
    by.require(Role.DEVELOPER)
    kind = "start" if running else "stop"
    with transaction.atomic():
        if Endpoint.objects.filter(pk=endpoint.pk, running=not running).update(running=running):
            if running:
                Endpoint.objects.filter(pk=endpoint.pk).update(status=EndpointStatus.PENDING)
                for revision in endpoint.revisions.filter(weight__gt=0):
                    _revive(revision, by.user)
            timeline_note(endpoint, kind, by.user)
            audit_record(by=by, action=f"endpoint.{kind}", target=endpoint.name)
            desired_changed()
    return endpoint_by_name(by.workspace, endpoint.name)


# --- revisions ------------------------------------------------------------------------------------------------------


def revision_create(
    *, by: Identity, endpoint: Endpoint, model: str, goal: Goal = "", runtime: Runtime | None = None
) -> tuple[Revision, bool]:
    """Deploy a version over what answers now, which goes on until the new one has passed its checks.

    `goal` and `runtime` as in `endpoint_create`. Deploying what is deployed already, so run, answers that revision and
    False. Raises Invalid for a model of another task.
    """
    by.require(Role.DEVELOPER)
    _check_runtime(runtime)
    version = version_by_reference(by.workspace, model)
    if version.model.task != endpoint.task:
        message = _("%(ref)s is a model for %(task)s; this endpoint serves %(own)s.")
        message %= {"ref": version.ref, "task": version.model.task, "own": endpoint.task}
        raise Invalid(message, fields={"model": message}, hint=_("Create another endpoint for it."))
    with transaction.atomic():
        locked = _lock(endpoint)
        current = main_revision(locked)
        if current is not None and _is_deployed(locked, current, version, goal, runtime):
            return current, False
        locked.revisions.filter(weight__gt=0).update(weight=0)
        revision = _revision_add(locked, version, by.user, goal=goal, runtime=runtime)
        _run(locked)
        timeline_note(locked, "deploy", by.user, revision)
        audit_record(
            by=by,
            action="endpoint.deploy",
            target=locked.name,
            details={"model": version.ref, "revision": revision.number},
        )
        desired_changed()
    return revision, True


def runtime_choose(*, by: Identity, endpoint: Endpoint, number: int, candidate: int) -> tuple[Revision, bool]:
    """Deploy a revision's version anew on another of the runtimes that were measured for it.

    Raises Invalid where it was not measured, or did not pass.
    """
    revision = next((r for r in endpoint.revisions.all() if r.number == number), None)
    rows = Tuning.model_validate(revision.tuning).candidates if revision is not None and revision.tuning else ()
    if revision is None or not 0 <= candidate < len(rows):
        raise Invalid(_("There is no such measurement."), hint=_("Deploy the version with a goal to have it measured."))
    if not rows[candidate].passes:
        raise Invalid(_("This runtime did not pass: %(reason)s") % {"reason": told(rows[candidate].reason)})
    return revision_create(by=by, endpoint=endpoint, model=revision.model_version.ref, runtime=rows[candidate].runtime)


def traffic_set(*, by: Identity, endpoint: Endpoint, weights: Mapping[int, int]) -> Endpoint:
    """Share the traffic between revisions, in percent. Raises Invalid naming the share that cannot be."""
    by.require(Role.DEVELOPER)
    with transaction.atomic():
        locked = _lock(endpoint)
        _check_weights(locked, weights)
        if revisions_in_traffic(locked) != {n: w for n, w in weights.items() if w > 0}:
            _point(locked, weights, by.user)
            timeline_note(locked, "traffic", by.user, weights=weights)
            details = {"weights": {str(number): weight for number, weight in weights.items()}}
            audit_record(by=by, action="endpoint.traffic", target=locked.name, details=details)
            desired_changed()
    return endpoint_by_name(by.workspace, endpoint.name)


def endpoint_rollback(*, by: Identity, endpoint: Endpoint) -> Endpoint:
    """Give all traffic to the revision that was live before. Raises Conflict where there is none."""
    by.require(Role.DEVELOPER)
    with transaction.atomic():
        locked = _lock(endpoint)
        target = rollback_target(locked)
        if target is None:
            message = _("%(name)s has no earlier revision that was live.") % {"name": locked.name}
            raise Conflict(message, code="nothing_to_roll_back", hint=_("Deploy the version that you want."))
        _point(locked, {target.number: 100}, by.user)
        _run(locked)
        timeline_note(locked, "rollback", by.user, target)
        details = {"revision": target.number, "model": target.model_version.ref}
        audit_record(by=by, action="endpoint.rollback", target=locked.name, details=details)
        desired_changed()
    return endpoint_by_name(by.workspace, endpoint.name)


# --- shared with `observing` ----------------------------------------------------------------------------------------


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
) -> None:
    """Write down, for people, what happened at an endpoint; without an actor it was the platform itself."""
    shares = {"weights": {str(number): weight for number, weight in weights.items()}} if weights else {}
    TimelineEntry.objects.create(
        endpoint=endpoint,
        actor=actor,
        kind=kind,
        revision=revision.number if revision is not None else None,
        model_ref=revision.model_version.ref if revision is not None else "",
        details=pack({**shares, **(details or {})}),
    )


# --- inside ---------------------------------------------------------------------------------------------------------


def _title_fields(title: str) -> dict[str, str]:
    return {"title": _("Use at most 200 characters.")} if len(title) > 200 else {}


def _check_runtime(runtime: Runtime | None) -> None:
    if runtime is not None and runtime.engine not in engines.names():
        message = _("There is no engine %(engine)s.") % {"engine": runtime.engine}
        hint = _("Engines: %(names)s.") % {"names": ", ".join(engines.names())}
        raise Invalid(message, fields={"runtime.engine": message}, hint=hint)


def _settled(
    kind: type[Limits | Placement | Sampling], now: Mapping[str, Any], given: Mapping[str, Any]
) -> dict[str, Any]:
    """What is kept of a setting: only what differs from its default. Raises ValueError."""
    chosen = {name: value for name, value in {**now, **given}.items() if value is not None}
    return kind.model_validate(chosen).model_dump(mode="json", exclude_defaults=True)


def _setting_fields(setting: str, error: ValueError) -> dict[str, str]:
    """What is wrong with each value of a setting, in the user's words."""
    known = SETTINGS[setting].model_json_schema()["properties"]
    fields: dict[str, str] = {}
    for item in error.errors() if isinstance(error, PydanticError) else ():
        name = str(item["loc"][0])
        if name in known:
            bounds = {"low": f"{known[name]['minimum']:,}", "high": f"{known[name]['maximum']:,}"}
            fields[f"{setting}.{name}"] = _("Give a whole number from %(low)s to %(high)s.") % bounds
        else:
            fields[f"{setting}.{name}"] = _("There is no such setting.")
    return fields


def _sampling_fields(error: ValueError) -> dict[str, str]:
    """What is wrong with the request log's settings, in the user's words."""
    texts = {
        "rate": _("Give a share from 0 to 1 (0 to 100 percent)."),
        "keep_days": _("Give a whole number of days from 1 to 365."),
        "hide_inputs": _("Say true or false."),
        "patterns": _("Name any of email, phone and card."),
        "hide_fields": _("Give at most 50 names such as customer.name, without spaces."),
    }
    found = {str(item["loc"][0]) for item in error.errors()} if isinstance(error, PydanticError) else set(texts)
    return {f"sampling.{name}": texts.get(name, _("There is no such setting.")) for name in sorted(found)}


def _lock(endpoint: Endpoint) -> Endpoint:
    """The endpoint as it is now, held until the transaction ends; NotFound when it was deleted meanwhile."""
    Endpoint.objects.select_for_update().filter(pk=endpoint.pk).first()
    return endpoint_by_name(endpoint.workspace, endpoint.name)


def _revision_add(
    endpoint: Endpoint, version: ModelVersion, actor: User, *, goal: Goal, runtime: Runtime | None
) -> Revision:
    highest = endpoint.revisions.aggregate(highest=Max("number"))["highest"] or 0
    revision = Revision.objects.create(
        endpoint=endpoint,
        number=highest + 1,
        model_version=version,
        weight=100,
        goal=goal,
        runtime=runtime.model_dump() if runtime is not None else None,
        created_by=actor,
    )
    RevisionTransition.objects.create(revision=revision, actor=actor, to_status=RevisionStatus.PENDING)
    return revision


def _is_deployed(
    endpoint: Endpoint, current: Revision, version: ModelVersion, goal: Goal, runtime: Runtime | None
) -> bool:
    so_run = current.goal == goal and current.runtime == (runtime.model_dump() if runtime is not None else None)
    same = current.model_version_id == version.pk and current.weight == 100 and so_run
    return same and endpoint.running and current.status in UNDER_WAY


def _run(endpoint: Endpoint) -> None:
    """Deploying to a stopped endpoint starts it."""
    if Endpoint.objects.filter(pk=endpoint.pk, running=False).update(running=True, status=EndpointStatus.PENDING):
        endpoint.running = True


def _revive(revision: Revision, actor: User) -> None:
    if revision.status not in UNDER_WAY:
        revision_move(revision, RevisionStatus.PENDING, actor=actor)


def _check_weights(endpoint: Endpoint, weights: Mapping[int, int]) -> None:
    known = {revision.number: revision for revision in endpoint.revisions.all()}
    fields: dict[str, str] = {}
    for number, weight in weights.items():
        place = f"revisions.{number}"
        if number not in known:
            fields[place] = _("There is no revision %(number)s.") % {"number": number}
        elif not 0 <= weight <= 100:
            fields[place] = _("A share lies between 0 and 100 percent.")
        elif weight and known[number].status == RevisionStatus.FAILED:
            fields[place] = _("Revision %(number)s failed: %(reason)s") % {
                "number": number,
                "reason": told(known[number].reason),
            }
    if not fields and sum(weights.values()) != 100:
        total = sum(weights.values())
        fields["revisions"] = _("The shares add up to %(total)s, not to 100 percent.") % {"total": total}
    if fields:
        hint = _("Name revisions of this endpoint with shares that add up to 100.")
        raise Invalid(_("The traffic cannot be shared so."), fields=fields, hint=hint)


def _point(endpoint: Endpoint, weights: Mapping[int, int], actor: User) -> None:
    for revision in endpoint.revisions.all():
        weight = weights.get(revision.number, 0)
        if revision.weight != weight:
            Revision.objects.filter(pk=revision.pk).update(weight=weight)
        if weight and endpoint.running:
            _revive(revision, actor)
