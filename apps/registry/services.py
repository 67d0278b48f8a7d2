"""Changes to models, versions and aliases. Base models have a module of their own, `base_models`."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

from django.core.cache import cache
from django.db import transaction
from django.utils.translation import gettext as _

from apps.accounts.auth import Identity
from apps.accounts.models import AuditEntry, Role, User, Workspace
from apps.accounts.services import audit_record
from apps.core.errors import Conflict, Invalid, NotFound, Unavailable
from apps.core.uses import Use
from apps.datasets.models import DatasetVersion
from apps.registry import bundles, mlflow_gateway, selectors
from apps.registry.models import Alias, AliasChange, BaseModel, ModelVersion, RegisteredModel
from apps.registry.reports import report_of_job
from modelkit.wording import say

logger = logging.getLogger(__name__)

CHAMPION = "champion"
#: Cache key of the mark that MLflow's aliases may differ from ours.
_MIRROR_DUE = "registry.alias_mirror_due"
#: An alias must not look like a number, for `name@2` to mean version 2.
_ALIAS = re.compile(r"^[a-z][a-z0-9-]{0,62}$")


# --- publishing -----------------------------------------------------------------------------------------------------


def model_version_publish(
    *,
    workspace: Workspace,
    name: str,
    number: int,
    job_public_id: str,
    bundle_digest: str,
    manifest: Mapping[str, Any],
    metrics: Mapping[str, float],
    metrics_split: str,
    dataset_version: DatasetVersion | None,
    base_model: BaseModel | None,
    parent: ModelVersion | None,
    recipe: Sequence[Mapping[str, Any]],
    mlflow_run_id: str,
    mlflow_version: int,
    size_bytes: int,
    report: Mapping[str, Any] | None = None,
    created_by: User | None = None,
) -> ModelVersion:
    """Record a version that MLflow has registered; the same call again changes nothing.

    `number` is MLflow's. `report` defaults to the artifacts in the job's folder. The first version of a model becomes
    its champion; every later move of the alias is a person's.
    """
    if int(mlflow_version) != number:
        raise ValueError(f"version {number} of {name} is {mlflow_version} in MLflow")
    kept = dict(report) if report is not None else report_of_job(job_public_id)
    with transaction.atomic():
        model, _created = RegisteredModel.objects.get_or_create(
            workspace=workspace, name=name, defaults={"task": manifest["task"], "created_by": created_by}
        )
        if model.task != manifest["task"]:
            raise Conflict(
                _("The model %(name)s does another task: %(task)s.") % {"name": name, "task": model.task},
                code="task_mismatch",
                fields={"model_name": _("This name belongs to a model of another task.")},
                hint=_("Publish under another name."),
            )
        version, created = ModelVersion.objects.get_or_create(
            model=model,
            number=number,
            defaults={
                "job_public_id": job_public_id,
                "bundle_digest": bundle_digest,
                "manifest": dict(manifest),
                "metrics": dict(metrics),
                "metrics_split": metrics_split,
                "dataset_version": dataset_version,
                "base_model": base_model,
                "parent": parent,
                "recipe": [dict(step) for step in recipe],
                "mlflow_run_id": mlflow_run_id,
                "size_bytes": size_bytes,
                "report": kept,
                "created_by": created_by,
            },
        )
        if created:
            AuditEntry.objects.create(
                workspace=workspace,
                actor=created_by,
                action="model.publish",
                target=version.ref,
                details={"job": job_public_id, "parent": parent.ref if parent else None},
            )
            if model.versions.count() == 1:
                reason = say("first version")
                Alias.objects.create(model=model, name=CHAMPION, version=version)
                AliasChange.objects.create(model=model, alias=CHAMPION, to_status=str(number), reason=reason)
    if created:
        aliases_mirror(model)
    return version


# --- aliases --------------------------------------------------------------------------------------------------------


def alias_set(*, by: Identity, version: ModelVersion, alias: str, reason: str = "") -> Alias:
    """Point `alias` at a version, wherever it pointed before; pointing it there twice changes nothing."""
    by.require(Role.MAINTAINER)
    if not _ALIAS.match(alias):
        message = _("Use 1 to 63 lower-case letters, digits and hyphens; begin with a letter.")
        raise Invalid(message, fields={"alias": message}, hint=_("champion and challenger are usual."))
    model = version.model
    with transaction.atomic():
        row = Alias.objects.select_for_update().select_related("version").filter(model=model, name=alias).first()
        before = row.version.number if row else None
        if row is None:
            row = Alias.objects.create(model=model, name=alias, version=version)
        elif before != version.number:
            row.version = version
            row.save(update_fields=["version"])
        if before != version.number:
            _alias_record(by, model, alias, before, version.number, reason)
    aliases_mirror(model)
    return row


def alias_delete(*, by: Identity, model: RegisteredModel, alias: str, reason: str = "") -> None:
    """Remove an alias; raises NotFound if the model has none of that name."""
    by.require(Role.MAINTAINER)
    with transaction.atomic():
        row = Alias.objects.select_related("version").filter(model=model, name=alias).first()
        if row is None:
            message = _("The model %(name)s has no alias %(alias)s.") % {"name": model.name, "alias": alias}
            raise NotFound(message, hint=_("See the aliases of the model."))
        row.delete()
        _alias_record(by, model, alias, row.version.number, None, reason)
    aliases_mirror(model)


def _alias_record(
    by: Identity, model: RegisteredModel, alias: str, before: int | None, after: int | None, reason: str
) -> None:
    numbers = {"from_status": str(before or ""), "to_status": str(after or "")}
    AliasChange.objects.create(model=model, alias=alias, actor=by.user, reason=reason[:500], **numbers)
    details = {"from": before, "to": after, "reason": reason}
    audit_record(
        by=by, action="alias.set" if after else "alias.delete", target=f"{model.name}@{alias}", details=details
    )


def aliases_mirror(model: RegisteredModel) -> bool:
    """Make MLflow's aliases of a model equal to ours, which are the truth; False if MLflow is down."""
    name = mlflow_gateway.registered_name(model.workspace.name, model.name)
    wanted = dict(Alias.objects.filter(model=model).values_list("name", "version__number"))
    try:
        there = mlflow_gateway.aliases(name)
        for alias in there.keys() - wanted.keys():
            mlflow_gateway.alias_delete(name, alias)
        for alias, number in wanted.items():
            if there.get(alias) != number:
                mlflow_gateway.alias_set(name, alias, number)
    except mlflow_gateway.MlflowUnavailable as error:
        logger.warning("The aliases of %s are not in MLflow yet: %s", name, error)
        cache.set(_MIRROR_DUE, True, None)
        return False
    return True


def aliases_mirror_all() -> int:
    """Mirror every model's aliases; returns how many could not be."""
    return sum(not aliases_mirror(model) for model in RegisteredModel.objects.select_related("workspace"))


def aliases_mirror_due() -> None:
    """For upkeep: catch up once MLflow answers again after a mirroring that failed."""
    if cache.get(_MIRROR_DUE) and mlflow_gateway.is_up():
        cache.delete(_MIRROR_DUE)  # before the work: a failure in it sets the mark again
        aliases_mirror_all()


# --- deleting -------------------------------------------------------------------------------------------------------


def version_delete(*, by: Identity, version: ModelVersion) -> None:
    """Delete a version here and in MLflow; refused while an alias, a variant, a job or an endpoint uses it."""
    by.require(Role.MAINTAINER)
    refuse_in_use(version.ref, selectors.version_users([version]))
    _delete_in_mlflow(lambda name: mlflow_gateway.version_delete(name, version.number), version.model)
    with transaction.atomic():
        # Asked again where nothing can come between: it may have been deployed meanwhile.
        refuse_in_use(version.ref, selectors.version_users([version]))
        version.delete()
        audit_record(by=by, action="version.delete", target=version.ref)
    bundles.bundle_forget(version.bundle_digest)


def model_delete(*, by: Identity, model: RegisteredModel) -> None:
    """Delete a model with its versions and aliases; refused while a job or an endpoint uses one of them."""
    by.require(Role.MAINTAINER)
    versions = list(model.versions.order_by("-number"))
    users = [user for user in selectors.version_users(versions) if user.kind != str(Alias._meta.verbose_name)]
    refuse_in_use(model.name, users)
    _delete_in_mlflow(mlflow_gateway.model_delete, model)
    with transaction.atomic():
        model.aliases.all().delete()
        # Children before parents: a variant protects what it was made from.
        for version in sorted(versions, key=lambda version: version.pk, reverse=True):
            version.delete()
        model.delete()
        audit_record(by=by, action="model.delete", target=model.name, details={"versions": len(versions)})
    for version in versions:
        bundles.bundle_forget(version.bundle_digest)


def _delete_in_mlflow(delete: Any, model: RegisteredModel) -> None:
    try:
        delete(mlflow_gateway.registered_name(model.workspace.name, model.name))
    except mlflow_gateway.MlflowUnavailable as error:
        raise Unavailable(
            _("MLflow is down, and the model must be deleted there too."),
            code="mlflow_unavailable",
            hint=_("Try again when MLflow answers. Nothing was deleted."),
        ) from error


def refuse_in_use(name: str, users: list[Use]) -> None:
    """Raises Conflict with the list of users, if there are any."""
    if users:
        listed = ", ".join(f"{user.title} {user.name}" for user in users)
        raise Conflict(
            _("%(name)s is in use: %(users)s.") % {"name": name, "users": listed},
            code="in_use",
            hint=_("Delete or move those first."),
        )
