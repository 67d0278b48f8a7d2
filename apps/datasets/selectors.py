"""Reads of datasets and versions, always within one workspace."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.utils.translation import gettext as _

from apps.accounts.models import Workspace
from apps.core.errors import Invalid, NotFound
from apps.core.uses import Use, uses_of
from apps.datasets.models import Dataset, DatasetVersion, VersionStatus

_REFERENCE = re.compile(r"^(?P<name>[a-z0-9-]{1,63})@(?P<number>[1-9]\d{0,8})$")


def datasets_of(workspace: Workspace) -> QuerySet[Dataset]:
    """The workspace's datasets, newest first, with `latest_*` of the newest version and `version_count`."""
    newest = DatasetVersion.objects.filter(dataset=OuterRef("pk")).order_by("-number")
    return (
        Dataset.objects.filter(workspace=workspace)
        .select_related("created_by")
        .annotate(
            version_count=Count("versions"),
            latest_number=Subquery(newest.values("number")[:1]),
            latest_status=Subquery(newest.values("status")[:1]),
            latest_rows=Subquery(newest.values("rows")[:1]),
            latest_at=Subquery(newest.values("created_at")[:1]),
        )
        .order_by("-pk")
    )


def dataset_by_name(workspace: Workspace, name: str) -> Dataset:
    """Raises NotFound."""
    dataset = datasets_of(workspace).filter(name=name).first()
    if dataset is None:
        raise NotFound(_("There is no dataset named %(name)s.") % {"name": name}, hint=_("See the list of datasets."))
    return dataset


def versions_of(dataset: Dataset) -> QuerySet[DatasetVersion]:
    """The dataset's versions, newest first."""
    return dataset.versions.select_related("dataset__workspace", "parent", "created_by")


def version_by_number(workspace: Workspace, name: str, number: int) -> DatasetVersion:
    """Raises NotFound."""
    dataset = dataset_by_name(workspace, name)
    version = versions_of(dataset).filter(number=number).first() if 0 < number < 1 << 31 else None
    if version is None:
        message = _("The dataset %(name)s has no version %(number)s.") % {"name": name, "number": number}
        raise NotFound(message, hint=_("See the list of its versions."))
    return version


def version_by_reference(workspace: Workspace, reference: str, *, field: str = "dataset") -> DatasetVersion:
    """The version that `name@2` names; raises Invalid for another form and NotFound where there is none."""
    match = _REFERENCE.match(reference)
    if match is None:
        message = _("A dataset version is named like tickets@1.")
        raise Invalid(message, fields={field: message})
    return version_by_number(workspace, match["name"], int(match["number"]))


def version_users(versions: Sequence[DatasetVersion]) -> list[Use]:
    """What stands on these versions: jobs, models, versions made of them by fixes."""
    return uses_of(DatasetVersion, versions)


def fixes_of(version: DatasetVersion) -> list[str]:
    """The version's fixes with those of its ancestors, oldest first."""
    chain: list[str] = []
    step: DatasetVersion | None = version
    while step is not None:
        chain = [*step.fixes, *chain]
        step = step.parent
    return list(dict.fromkeys(chain))


def origin_of(version: DatasetVersion) -> DatasetVersion:
    """The version whose files this one was made from; itself unless it was made by fixes."""
    while version.parent is not None:
        version = version.parent
    return version


def ready_with_digest(version: DatasetVersion, digest: str) -> DatasetVersion | None:
    """Another ready version of the same dataset with the same rows."""
    same = DatasetVersion.objects.filter(dataset=version.dataset, digest=digest, status=VersionStatus.READY)
    return same.exclude(pk=version.pk).order_by("number").first()


def check_of(version: DatasetVersion, code: str) -> dict[str, Any] | None:
    """The check named so."""
    return next((check for check in version.checks if check["code"] == code), None)
