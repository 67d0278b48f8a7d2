"""Changes to datasets and versions that people ask for. What workers change is in `validation`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError as DjangoValidationError
from django.db import IntegrityError, transaction
from django.db.models import Max
from django.utils.translation import gettext as _
from pydantic import ValidationError

from apps.accounts.auth import Identity
from apps.accounts.models import Role
from apps.accounts.services import audit_record
from apps.core import storage
from apps.core.errors import Conflict, Invalid
from apps.core.models import slug_validator
from apps.datasets.messages import validation_send_on_commit
from apps.datasets.models import Dataset, DatasetVersion, DatasetVersionTransition, VersionStatus
from apps.datasets.selectors import fixes_of, origin_of, version_users, versions_of
from modelkit import catalog
from modelkit.data.options import FIXES, Part, ReadOptions
from modelkit.data.roles import check_declared
from modelkit.data.splits import rule_for
from modelkit.errors import UserError
from modelkit.wording import say

MAX_FILES = 50


@dataclass(frozen=True)
class UploadedPart:
    """A received file on this machine; storing it takes it away from `path`."""

    part: Part
    name: str
    path: Path
    size_bytes: int
    sha256: str


def dataset_create(*, by: Identity, name: str, task: str, title: str = "") -> Dataset:
    """Raises Invalid for a bad name or unknown task, Conflict for a name in use."""
    by.require(Role.DEVELOPER)
    fields: dict[str, str] = {}
    try:
        slug_validator(name)
    except DjangoValidationError as error:
        fields["name"] = error.messages[0]
    if task not in catalog.tasks():
        known = ", ".join(catalog.tasks())
        fields["task"] = _("There is no task %(task)s; there is %(known)s.") % {"task": task, "known": known}
    if len(title) > 200:
        fields["title"] = _("Use at most 200 characters.")
    if fields:
        raise Invalid(_("The dataset cannot be created."), fields=fields, hint=_("Correct the named fields."))
    try:
        with transaction.atomic():
            dataset = Dataset.objects.create(
                workspace=by.workspace, name=name, task=task, title=title.strip(), created_by=by.user
            )
            audit_record(by=by, action="dataset.create", target=name, details={"task": task})
    except IntegrityError:
        message = _("A dataset named %(name)s exists already.") % {"name": name}
        raise Conflict(
            message, code="name_taken", fields={"name": message}, hint=_("Choose another name, or add a version to it.")
        ) from None
    return dataset


def dataset_delete(*, by: Identity, dataset: Dataset) -> None:
    """Delete the dataset with its versions and files; raises Conflict with the users while one is in use."""
    by.require(Role.MAINTAINER)
    versions = list(versions_of(dataset))
    users = version_users(versions)
    if users:
        listed = ", ".join(f"{user.title} {user.name}" for user in users[:10])
        raise Conflict(
            _("The dataset %(name)s is in use: %(users)s.") % {"name": dataset.name, "users": listed},
            code="in_use",
            fields={"users": listed},
            hint=_("Delete what uses it first."),
        )
    prefixes = [version.prefix for version in versions]
    with transaction.atomic():
        audit_record(by=by, action="dataset.delete", target=dataset.name, details={"versions": len(versions)})
        for version in versions:  # newest first: a version made by fixes protects its parent
            version.delete()
        dataset.delete()
        transaction.on_commit(lambda: _forget_files(prefixes))


def version_upload(
    *,
    by: Identity,
    dataset: Dataset,
    files: Sequence[UploadedPart],
    mapping: Mapping[str, str] | None = None,
    options: Mapping[str, Any] | None = None,
) -> tuple[DatasetVersion, bool]:
    """Store files as a new version and have it checked; returns it and whether it is new.

    The same files with the same declarations answer the version they made before. Raises Invalid for parts, mapping
    or options that do not fit.
    """
    by.require(Role.DEVELOPER)
    if not files:
        message = _("Send at least one file.")
        raise Invalid(message, fields={"file": message}, hint=_("Use the field file, or train, validation and test."))
    if len(files) > MAX_FILES:
        message = _("Send at most %(count)s files.") % {"count": MAX_FILES}
        raise Invalid(message, fields={"file": message}, hint=_("Join them before the upload."))
    files = _named_splits(files)
    try:
        rule_for(file.part for file in files)
    except UserError as error:
        raise Invalid(error.message, code=error.code, hint=error.hint, fields={error.field: error.message}) from None
    declared = options_parse(options or {})
    roles = mapping_parse(mapping or {}, dataset.task)
    facts = [{"part": f.part, "file_name": f.name, "size_bytes": f.size_bytes, "sha256": f.sha256} for f in files]
    same = _uploaded_before(dataset, facts, roles, declared)
    if same is not None:
        for file in files:
            file.path.unlink(missing_ok=True)
        return same, False
    version = _version_open(by, dataset, mapping=roles, options=declared)
    # Slow: outside any transaction. A crash here leaves a row in `uploading`, which the sweep rejects; nothing has
    # been acknowledged yet.
    parts = []
    for number, (file, fact) in enumerate(zip(files, facts, strict=True)):
        key = f"{version.prefix}/source/{number:02d}-{_safe(file.name)}"
        storage.put_file(file.path, key)
        parts.append({**fact, "key": key})
    with transaction.atomic():
        version.parts = parts
        version.save(update_fields=["parts"])
        _version_check(by, version, say("uploaded"))
        audit_record(by=by, action="dataset.upload", target=version.ref, details={"files": facts})
    return version, True


def version_set_mapping(
    *,
    by: Identity,
    version: DatasetVersion,
    mapping: Mapping[str, str],
    options: Mapping[str, Any] | None = None,
) -> DatasetVersion:
    """Say which column plays which role, and how the files are to be read.

    A version that waits for it goes on; for one that is done, a new version is made of the same files. `options` that
    are None stay as they were.
    """
    by.require(Role.DEVELOPER)
    merged = {**version.options, **(options or {})}
    declared = options_parse(merged)
    roles = mapping_parse(mapping, version.dataset.task)
    if version.status in (VersionStatus.UPLOADING, VersionStatus.VALIDATING):
        raise Conflict(
            _("%(ref)s is being checked.") % {"ref": version.ref},
            code="version_busy",
            hint=_("Wait until the checks are done."),
        )
    if declared == version.options:
        _refuse_unknown_columns(version, roles)
    if version.status == VersionStatus.NEEDS_MAPPING:
        with transaction.atomic():
            changed = DatasetVersion.objects.filter(pk=version.pk, status=VersionStatus.NEEDS_MAPPING).update(
                mapping=roles, options=declared, error=None
            )
            if changed:
                version.refresh_from_db()
                _version_check(by, version, say("mapping given"))
                audit_record(by=by, action="dataset.map", target=version.ref, details={"mapping": roles})
        return version
    origin = origin_of(version)
    facts = [{key: part[key] for key in _FACTS} for part in origin.parts]
    same = _uploaded_before(version.dataset, facts, roles, declared)
    if same is not None:
        return same
    new = _version_open(by, version.dataset, mapping=roles, options=declared)
    with transaction.atomic():
        new.parts = origin.parts
        new.save(update_fields=["parts"])
        _version_check(by, new, say("read anew from {ref}", ref=version.ref))
        audit_record(by=by, action="dataset.map", target=new.ref, details={"from": version.ref, "mapping": roles})
    return new


def version_fix(*, by: Identity, parent: DatasetVersion, fixes: Sequence[str]) -> tuple[DatasetVersion, bool]:
    """Make a new version of `parent` with fixes applied; returns it and whether it is new."""
    by.require(Role.DEVELOPER)
    unknown = [fix for fix in fixes if fix not in FIXES]
    if unknown or not fixes:
        message = _("There is no fix %(fix)s.") % {"fix": unknown[0]} if unknown else _("Name at least one fix.")
        hint = _("Fixes are %(known)s.") % {"known": ", ".join(FIXES)}
        raise Invalid(message, code="unknown_fix" if unknown else "invalid", fields={"fixes": message}, hint=hint)
    if parent.status != VersionStatus.READY:
        message = _("%(ref)s is not ready, so it has nothing to fix.") % {"ref": parent.ref}
        raise Conflict(message, code="version_not_ready", fields={"from": message}, hint=_("Choose a ready version."))
    already = fixes_of(parent)
    wanted = [fix for fix in dict.fromkeys(fixes) if fix not in already]
    if not wanted:
        message = _("%(ref)s was made with these fixes already.") % {"ref": parent.ref}
        raise Conflict(message, code="nothing_to_fix", fields={"fixes": message}, hint=_("Choose another fix."))
    for child in parent.children.exclude(status=VersionStatus.REJECTED):
        if sorted(child.fixes) == sorted(wanted):
            return child, False
    version = _version_open(
        by, parent.dataset, mapping=parent.mapping, options=parent.options, parent=parent, fixes=wanted
    )
    with transaction.atomic():
        _version_check(by, version, say("fixes of {ref}: {fixes}", ref=parent.ref, fixes=", ".join(wanted)))
        audit_record(by=by, action="dataset.fix", target=version.ref, details={"from": parent.ref, "fixes": wanted})
    return version, True


# --- declarations ---------------------------------------------------------------------------------------------------


def options_parse(given: Mapping[str, Any]) -> dict[str, Any]:
    """What was declared, checked; raises Invalid naming the option."""
    try:
        return ReadOptions.model_validate(dict(given)).model_dump(exclude_none=True)
    except ValidationError as error:
        fields = {str(item["loc"][0]): item["msg"].removeprefix("Value error, ") for item in error.errors()}
        raise Invalid(
            _("The file cannot be read as declared."), fields=fields, hint=_("Leave a field empty to have it detected.")
        ) from None


def mapping_parse(given: Mapping[str, Any], task: str) -> dict[str, str]:
    """Role -> column, checked against the task; empty columns are left out. Raises Invalid naming the role."""
    roles = [column.role for column in catalog.tasks()[task].columns]
    fields: dict[str, str] = {}
    for role, column in given.items():
        if role not in roles:
            fields[f"mapping.{role}"] = _("There is no such role; roles are %(roles)s.") % {"roles": ", ".join(roles)}
        elif column is not None and (not isinstance(column, str) or len(column) > 1000):
            fields[f"mapping.{role}"] = _("Give the name of a column.")
    if fields:
        raise Invalid(_("The mapping does not fit the task."), fields=fields, hint=_("Map roles to column names."))
    mapped = {role: column for role, column in given.items() if column}
    for role, column in mapped.items():
        if list(mapped.values()).count(column) > 1:
            message = _("One column is mapped to two roles.")
            raise Invalid(
                message, code="column_twice", fields={f"mapping.{role}": message}, hint=_("Choose different columns.")
            )
    return mapped


# --- inside ---------------------------------------------------------------------------------------------------------

_FACTS = ("part", "file_name", "size_bytes", "sha256")


def _refuse_unknown_columns(version: DatasetVersion, mapping: dict[str, str]) -> None:
    """Raise Invalid for a column that the version's files, read as before, are known not to have."""
    roles = catalog.tasks()[version.dataset.task].columns
    for found in version.detected.get("files", []):
        try:
            check_declared(mapping, roles, found["columns"], found["file"])
        except UserError as error:
            fields = {error.field: error.message}
            raise Invalid(error.message, code=error.code, hint=error.hint, fields=fields) from None


_SPLIT_NAMES: dict[str, Part] = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
}


def _named_splits(files: Sequence[UploadedPart]) -> list[UploadedPart]:
    """`train.csv` and `test.csv` sent together as `file` are taken for what their names say."""
    names = [_SPLIT_NAMES.get(Path(file.name).stem.lower()) for file in files]
    several = len(files) > 1 and len(set(names)) == len(names)
    if several and all(names) and "train" in names and all(file.part == "all" for file in files):
        return [
            UploadedPart(part or "all", file.name, file.path, file.size_bytes, file.sha256)
            for file, part in zip(files, names, strict=True)
        ]
    return list(files)


def _uploaded_before(
    dataset: Dataset, facts: list[dict[str, Any]], mapping: dict[str, str], options: dict[str, Any]
) -> DatasetVersion | None:
    """A version of the same files, declared alike, unless it was rejected."""

    def identity(parts: list[dict[str, Any]]) -> list[tuple[str, str]]:
        return [(part["part"], part["sha256"]) for part in parts]

    for version in (
        versions_of(dataset).filter(parent=None).exclude(status__in=[VersionStatus.REJECTED, VersionStatus.UPLOADING])
    ):
        if identity(version.parts) != identity(facts) or version.options != options:
            continue
        if version.mapping == mapping or (not mapping and not version.detected.get("mapping_declared")):
            return version
    return None


def _version_open(
    by: Identity,
    dataset: Dataset,
    *,
    mapping: Mapping[str, str],
    options: Mapping[str, Any],
    parent: DatasetVersion | None = None,
    fixes: Sequence[str] = (),
) -> DatasetVersion:
    """A row in `uploading` with the next free number. Two at once: the loser of the number takes the next."""
    while True:
        number = (dataset.versions.aggregate(last=Max("number"))["last"] or 0) + 1
        try:
            with transaction.atomic():
                return DatasetVersion.objects.create(
                    dataset=dataset,
                    number=number,
                    mapping=dict(mapping),
                    options=dict(options),
                    detected={"mapping_declared": bool(mapping)},
                    parent=parent,
                    fixes=list(fixes),
                    prefix=f"datasets/{dataset.workspace.public_id}/{dataset.name}-{dataset.public_id}/{number}",
                    created_by=by.user,
                )
        except IntegrityError:
            continue


def _version_check(by: Identity, version: DatasetVersion, reason: str) -> None:
    """Move a version to `validating` and send the message; call it in a transaction."""
    before = version.status
    version.status = VersionStatus.VALIDATING
    version.attempt, version.heartbeat_at, version.progress = 0, None, 0
    version.save(update_fields=["status", "attempt", "heartbeat_at", "progress"])
    DatasetVersionTransition.objects.create(
        version=version, actor=by.user, from_status=before, to_status=version.status, reason=reason
    )
    validation_send_on_commit(version)


def _forget_files(prefixes: Sequence[str]) -> None:
    for prefix in prefixes:
        storage.delete_prefix(prefix)


def _safe(name: str) -> str:
    """A file name that is safe as a storage key; the user's own spelling stays in the row."""
    plain = re.sub(r"[^\w.\-]+", "_", Path(name).name).strip("._")[-100:]
    return plain or "file"
