"""Reads of base models, models, versions and aliases, always within one workspace."""

from __future__ import annotations

import re
from collections.abc import Iterable

from django.db.models import Count, Q, QuerySet
from django.utils.translation import gettext as _

from apps.accounts.models import Workspace
from apps.core.errors import Invalid, NotFound
from apps.core.uses import Use, uses_of
from apps.registry.models import AliasChange, BaseModel, ModelVersion, RegisteredModel

_REFERENCE = re.compile(r"^(?P<name>[a-z0-9-]{1,63})@(?:(?P<number>[1-9]\d{0,8})|(?P<alias>[a-z][a-z0-9-]{0,62}))$")


# --- base models ----------------------------------------------------------------------------------------------------


def base_models_of(workspace: Workspace, *, task: str = "") -> list[BaseModel]:
    """The base models that a workspace may start from; its own one hides a bundled one of the same name."""
    rows = BaseModel.objects.filter(Q(workspace=workspace) | Q(workspace=None)).select_related(
        "created_by", "source_version__model"
    )
    by_name = {row.name: row for row in sorted(rows, key=lambda row: row.workspace_id or 0)}
    # JSON containment is not in SQLite; there are few base models.
    found = [row for row in by_name.values() if not task or task in row.tasks]
    return sorted(found, key=lambda row: (row.workspace_id is not None, row.title.lower()))


def base_model_by_name(workspace: Workspace, name: str) -> BaseModel:
    """Raises NotFound."""
    for row in base_models_of(workspace):
        if row.name == name:
            return row
    message = _("There is no base model named %(name)s.") % {"name": name}
    raise NotFound(message, hint=_("See the list of base models."))


def trainable_versions(workspace: Workspace, *, limit: int = 200) -> list[ModelVersion]:
    """The versions that a base model can be made of, newest first: those whose bundle holds the weights."""
    rows = ModelVersion.objects.filter(model__workspace=workspace, parent=None).select_related("model").order_by("-pk")
    return [
        row for row in rows[:limit] if "model.safetensors" in {file["path"] for file in row.manifest.get("files", [])}
    ]


# --- models and versions --------------------------------------------------------------------------------------------


def models_of(workspace: Workspace) -> QuerySet[RegisteredModel]:
    """The workspace's models with `version_count`, newest first."""
    return (
        RegisteredModel.objects.filter(workspace=workspace)
        .select_related("workspace", "created_by")
        .prefetch_related("aliases__version")
        .annotate(version_count=Count("versions"))
        .order_by("-pk")
    )


def model_by_name(workspace: Workspace, name: str) -> RegisteredModel:
    """Raises NotFound."""
    model = models_of(workspace).filter(name=name).first()
    if model is None:
        message = _("There is no model named %(name)s.") % {"name": name}
        raise NotFound(message, hint=_("See the list of models."))
    return model


def versions_of(model: RegisteredModel) -> QuerySet[ModelVersion]:
    """The model's versions, newest first, with what a list of them shows."""
    return model.versions.select_related(
        "model__workspace",
        "dataset_version__dataset",
        "base_model__source_version__model",
        "parent__model",
        "created_by",
    ).prefetch_related("aliases")


def version_by_number(workspace: Workspace, name: str, number: int) -> ModelVersion:
    """Raises NotFound."""
    model = model_by_name(workspace, name)
    version = versions_of(model).filter(number=number).first() if 0 < number < 1 << 31 else None
    if version is None:
        message = _("The model %(name)s has no version %(number)s.") % {"name": name, "number": number}
        raise NotFound(message, hint=_("See the list of its versions."))
    return version


def version_by_reference(workspace: Workspace, reference: str, *, field: str = "model") -> ModelVersion:
    """The version that `name@2` or `name@champion` names; Invalid for another form, NotFound where there is none."""
    match = _REFERENCE.match(reference)
    if match is None:
        message = _("A version is named like intents@2 or intents@champion.")
        raise Invalid(message, fields={field: message}, hint=_("See the list of models."))
    try:
        if match["number"]:
            return version_by_number(workspace, match["name"], int(match["number"]))
        model = model_by_name(workspace, match["name"])
    except NotFound as error:
        error.fields = {field: error.message}
        raise
    version = versions_of(model).filter(aliases__name=match["alias"]).first()
    if version is None:
        message = _("The model %(name)s has no alias %(alias)s.") % {"name": model.name, "alias": match["alias"]}
        raise NotFound(message, fields={field: message}, hint=_("Set the alias first, or name a number."))
    return version


def champion_of(model: RegisteredModel) -> ModelVersion | None:
    """The version that the alias `champion` points at."""
    return versions_of(model).filter(aliases__name="champion").first()


def alias_changes(model: RegisteredModel) -> QuerySet[AliasChange]:
    """Every move of an alias of the model, newest first."""
    return model.alias_changes.select_related("actor").order_by("-at", "-pk")


def family_of(version: ModelVersion) -> list[ModelVersion]:
    """The uncompressed ancestor and all variants that descend from it, ancestor first, then by number."""
    root = version
    while root.parent is not None:
        root = root.parent
    found, frontier = {root.pk}, [root.pk]
    while frontier:
        frontier = list(ModelVersion.objects.filter(parent_id__in=frontier).values_list("pk", flat=True))
        frontier = [pk for pk in frontier if pk not in found]
        found.update(frontier)
    rows = (
        ModelVersion.objects.filter(pk__in=found).select_related("model", "parent__model").prefetch_related("aliases")
    )
    return sorted(rows, key=lambda row: (row.pk != root.pk, row.number))


# --- who stands on what ---------------------------------------------------------------------------------------------


def version_users(versions: Iterable[ModelVersion]) -> list[Use]:
    """What refers to these versions and protects them: aliases, variants, jobs, revisions of endpoints."""
    return uses_of(ModelVersion, versions)


def base_model_users(base_model: BaseModel) -> list[Use]:
    """What was trained from a base model, or is about to be."""
    return uses_of(BaseModel, [base_model])
