"""Changes to endpoints that people ask for. They write what is desired; `applying` brings it about.

Every change raises the generation of the desired set and sends the message that says *look*.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils.translation import gettext as _
from pydantic import ValidationError as PydanticError

from apps.accounts.auth import Identity
from apps.accounts.models import Role
from apps.accounts.services import audit_record
from apps.core.errors import Conflict, Invalid
from apps.core.models import slug_validator
from apps.core.wording import told
from apps.deployments.changing import (
    UNDER_WAY,
    canary_finish,
    desired_changed,
    endpoint_lock,
    refuse_while_canary,
    revision_add,
    revision_name_check,
    revision_revive,
    sticky_kept,
    timeline_note,
    traffic_point,
    version_for,
)
from apps.deployments.keys import keys_changed
from apps.deployments.models import CanaryStatus, Endpoint, EndpointStatus, Revision, RevisionStatus
from apps.deployments.selectors import (
    canary_open,
    endpoint_by_name,
    main_revision,
    revision_by_number,
    revisions_in_traffic,
    rollback_target,
)
from apps.registry.models import ModelVersion
from apps.registry.selectors import version_by_reference
from modelkit.serving import engines
from modelkit.serving.plan import Goal, Limits, Placement, Runtime, Sampling, Tuning
from modelkit.wording import say

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
            revision = revision_add(endpoint, version, by.user, goal=goal, runtime=runtime)
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
        locked = endpoint_lock(endpoint)
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
            endpoint = endpoint_by_name(by.workspace, endpoint.name)
            if running:
                Endpoint.objects.filter(pk=endpoint.pk).update(status=EndpointStatus.PENDING)
                for revision in endpoint.revisions.filter(Q(weight__gt=0) | Q(shadow__gt=0)):
                    revision_revive(revision, by.user)
            else:
                canary = canary_open(endpoint)
                if canary is not None:
                    canary_finish(canary, CanaryStatus.ABORTED, by.user, say("The endpoint was stopped."))
                    traffic_point(endpoint, {canary.stable.number: 100}, by.user)
            timeline_note(endpoint, kind, by.user)
            audit_record(by=by, action=f"endpoint.{kind}", target=endpoint.name)
            desired_changed()
    return endpoint_by_name(by.workspace, endpoint.name)


# --- revisions ------------------------------------------------------------------------------------------------------


def revision_create(
    *, by: Identity, endpoint: Endpoint, model: str, name: str = "", goal: Goal = "", runtime: Runtime | None = None
) -> tuple[Revision, bool]:
    """Deploy a version over what answers now, which goes on until the new one has passed its checks.

    `goal` and `runtime` as in `endpoint_create`. Deploying what is deployed already, so run, answers that revision and
    False. Raises Invalid for a model of another task, Conflict while a canary is under way.
    """
    by.require(Role.DEVELOPER)
    _check_runtime(runtime)
    version = version_for(endpoint, model)
    revision_name_check(name)
    with transaction.atomic():
        locked = endpoint_lock(endpoint)
        refuse_while_canary(locked)
        current = main_revision(locked)
        if current is not None and _is_deployed(locked, current, version, goal, runtime):
            return current, False
        locked.revisions.filter(weight__gt=0).update(weight=0)
        revision = revision_add(locked, version, by.user, name=name, goal=goal, runtime=runtime)
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


def revision_rename(*, by: Identity, endpoint: Endpoint, number: int, name: str) -> Endpoint:
    """Call a revision something, such as candidate; an empty name takes it away. Raises NotFound, Invalid."""
    by.require(Role.DEVELOPER)
    revision_name_check(name)
    revision = revision_by_number(endpoint, number)
    with transaction.atomic():
        if Revision.objects.filter(pk=revision.pk).exclude(name=name.strip()).update(name=name.strip()):
            timeline_note(endpoint, "name", by.user, revision, details={"name": name.strip()})
            details = {"revision": number, "name": name.strip()}
            audit_record(by=by, action="endpoint.revision_name", target=endpoint.name, details=details)
    return endpoint_by_name(by.workspace, endpoint.name)


def traffic_set(
    *,
    by: Identity,
    endpoint: Endpoint,
    weights: Mapping[int, int],
    sticky: str | None = None,
    names: Mapping[int, str] | None = None,
) -> Endpoint:
    """Share the traffic between revisions, in percent; `sticky` (none, key, header:X-User-Id) keeps callers.

    Without `sticky` that stays as it is. Raises Invalid naming what cannot be, Conflict while a canary is under way.
    """
    by.require(Role.DEVELOPER)
    with transaction.atomic():
        locked = endpoint_lock(endpoint)
        kept = locked.sticky if sticky is None else sticky_kept(sticky)
        for number, name in (names or {}).items():
            revision_rename(by=by, endpoint=locked, number=number, name=name)
        _check_weights(locked, weights)
        moves = revisions_in_traffic(locked) != {n: w for n, w in weights.items() if w > 0}
        if moves:
            refuse_while_canary(locked)
            traffic_point(locked, weights, by.user)
        if moves or kept != locked.sticky:
            Endpoint.objects.filter(pk=locked.pk).update(sticky=kept)
            stays = {} if kept == locked.sticky else {"sticky": kept or "none"}
            timeline_note(locked, "traffic", by.user, weights=weights, details=stays)
            details = {"weights": {str(number): weight for number, weight in weights.items()}, **stays}
            audit_record(by=by, action="endpoint.traffic", target=locked.name, details=details)
            desired_changed()
    return endpoint_by_name(by.workspace, endpoint.name)


def endpoint_rollback(*, by: Identity, endpoint: Endpoint) -> Endpoint:
    """Give all traffic to the revision that was live before; a canary ends with it. Raises Conflict where none was."""
    by.require(Role.DEVELOPER)
    with transaction.atomic():
        locked = endpoint_lock(endpoint)
        target = rollback_target(locked)
        canary = canary_open(locked)
        if canary is not None:
            canary_finish(canary, CanaryStatus.ABORTED, by.user, say("The endpoint was rolled back."))
        if target is None:
            message = _("%(name)s has no earlier revision that was live.") % {"name": locked.name}
            raise Conflict(message, code="nothing_to_roll_back", hint=_("Deploy the version that you want."))
        traffic_point(locked, {target.number: 100}, by.user)
        _run(locked)
        timeline_note(locked, "rollback", by.user, target)
        details = {"revision": target.number, "model": target.model_version.ref}
        audit_record(by=by, action="endpoint.rollback", target=locked.name, details=details)
        desired_changed()
    return endpoint_by_name(by.workspace, endpoint.name)


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
        if name not in known:
            fields[f"{setting}.{name}"] = _("There is no such setting.")
        elif known[name]["type"] == "boolean":
            fields[f"{setting}.{name}"] = _("Say true or false.")
        else:
            bounds = {"low": f"{known[name]['minimum']:,}", "high": f"{known[name]['maximum']:,}"}
            fields[f"{setting}.{name}"] = _("Give a whole number from %(low)s to %(high)s.") % bounds
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
