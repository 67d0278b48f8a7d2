"""Changes to base models that people ask for. What workers change is in `importing`.

A folder is looked at within the request; what has to be fetched or unpacked becomes a row in `importing` and a message.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from apps.accounts.auth import Identity
from apps.accounts.models import Role
from apps.accounts.services import audit_record
from apps.core import storage
from apps.core.errors import AppError, Conflict, Forbidden, Invalid, of_user_error
from apps.core.ids import new_id
from apps.core.models import slug_validator
from apps.registry import folders, importing, selectors
from apps.registry.messages import import_send_on_commit
from apps.registry.models import BaseModel, BaseModelStatus, BaseModelTransition, ModelVersion
from apps.registry.services import refuse_in_use
from modelkit import archives, catalog
from modelkit.contracts import BundledBaseModel
from modelkit.errors import UserError

#: `name` or `organisation/name`, as hubs have them.
_REPO = re.compile(r"^(?=.{1,200}$)[A-Za-z0-9][\w.-]{0,95}(?:/[A-Za-z0-9][\w.-]{0,95})?$", re.ASCII)
_REVISION = re.compile(r"^[A-Za-z0-9][\w./-]{0,99}$", re.ASCII)
#: What of a bundle a training starts from.
VERSION_FILES = ("config.json", "tokenizer.json", "model.safetensors")


@dataclass(frozen=True)
class UploadedArchive:
    """A received file on this machine; storing it takes it away from `path`."""

    name: str
    path: Path
    size_bytes: int
    sha256: str


# --- bundled --------------------------------------------------------------------------------------------------------


def base_models_sync() -> list[BaseModel]:
    """Offer the base models that come with installed packages; the row follows the package's present path.

    Run where the packages are: on the worker's machine.
    """
    rows: dict[str, BaseModel] = {}
    for task, spec in catalog.tasks().items():
        for offered in spec.base_models:
            folder = _package_folder(offered)
            if folder is None:
                continue
            row = rows.get(offered.id)
            tasks = sorted({*(row.tasks if row else ()), task})
            rows[offered.id], _created = BaseModel.objects.update_or_create(
                workspace=None,
                name=offered.id,
                defaults={
                    "title": offered.title,
                    "tasks": tasks,
                    "source": BaseModel.Source.BUNDLED,
                    "path": str(folder),
                    "revision": offered.revision,
                    "parameters": offered.parameters,
                    "size_bytes": offered.size_bytes,
                    "licence": offered.licence,
                    "languages": list(offered.languages),
                },
            )
    return list(rows.values())


def _package_folder(offered: BundledBaseModel) -> Path | None:
    # Found, not imported: the package may pull in what the web must not have.
    found = importlib.util.find_spec(offered.package)
    for location in (found.submodule_search_locations or []) if found else []:
        folder = Path(location) / offered.path
        if (folder / "config.json").is_file():
            return folder
    return None


# --- imports --------------------------------------------------------------------------------------------------------


def base_model_import_folder(*, by: Identity, path: str, name: str = "", title: str = "") -> BaseModel:
    """Offer the Hugging Face folder at `path` to the workspace. The folder stays where it is and is not copied.

    Importing the same folder twice under one name is an answer, not an error.
    """
    by.require(Role.DEVELOPER)
    facts = folders.inspect(path, settings.MODEL_PATHS)
    name = _name_or_refuse(name, facts.path.name)
    values = {
        "title": title or facts.path.name,
        "tasks": importing.tasks_for(facts),
        "source": BaseModel.Source.FOLDER,
        "path": str(facts.path),
        "revision": facts.revision,
        "architecture": facts.architecture,
        "parameters": facts.parameters,
        "size_bytes": facts.size_bytes,
        "licence": facts.licence,
        "progress": 1.0,
    }
    try:
        with transaction.atomic():
            row = BaseModel.objects.create(workspace=by.workspace, name=name, created_by=by.user, **values)
            _record(by, row, "", BaseModelStatus.READY)
            audit_record(by=by, action="base_model.import", target=name, details={"path": str(facts.path)})
    except IntegrityError:
        row = BaseModel.objects.get(workspace=by.workspace, name=name)
        if (row.path, row.revision) != (values["path"], values["revision"]):
            raise _name_taken(name) from None
    return row


def base_model_import_hub(*, by: Identity, repo: str, revision: str = "", name: str = "", title: str = "") -> BaseModel:
    """Have a worker fetch a model of the hub: config, tokenizer and safetensors at the commit `revision` means now."""
    by.require(Role.DEVELOPER)
    repo, revision = repo.strip(), revision.strip() or "main"
    if not _REPO.match(repo) or ".." in repo or "--" in repo:
        message = _("A model of the hub is named like organisation/name.")
        hint = _("Copy the name from the model's page, without the address.")
        raise Invalid(message, fields={"source.repo": message}, hint=hint)
    if not _REVISION.match(revision) or ".." in revision or "//" in revision:
        message = _("This is no branch, tag or commit.")
        raise Invalid(message, fields={"source.revision": message}, hint=_("Leave it empty for the branch main."))
    return _import_start(
        by=by,
        source=BaseModel.Source.HUB,
        name=_name_or_refuse(name, repo.rpartition("/")[2]),
        title=title or repo,
        origin={"repo": repo, "revision": revision},
        asked={"repo": repo, "revision": revision},
    )


def base_model_import_version(
    *, by: Identity, model: str, name: str = "", title: str = "", field: str = "source.model"
) -> BaseModel:
    """Make a published version a base model: its encoder as fine-tuned, and its tokenizer.

    `model` is `name@2` or `name@champion`; what it points at now is taken.
    """
    by.require(Role.DEVELOPER)
    version = selectors.version_by_reference(by.workspace, model, field=field)
    files = {file["path"] for file in version.manifest.get("files", [])}
    missing = [file for file in VERSION_FILES if file not in files]
    if missing:
        message = _("%(ref)s holds no weights to train further: it has no %(file)s.") % {
            "ref": version.ref,
            "file": missing[0],
        }
        hint = _("Choose a version that was trained, not compressed.")
        if version.parent is not None:
            hint = _("Start from %(parent)s, which it was made from.") % {"parent": version.parent.ref}
        raise Invalid(message, code="version_without_weights", fields={field: message}, hint=hint)
    inherited = version.base_model
    return _import_start(
        by=by,
        source=BaseModel.Source.MODEL_VERSION,
        name=_name_or_refuse(name, version.ref),
        title=title or version.ref,
        origin={"model": version.ref, "digest": version.bundle_digest, "labels": version.manifest.get("labels", [])},
        asked={"digest": version.bundle_digest},
        source_version=version,
        licence=inherited.licence if inherited else "",
        languages=inherited.languages if inherited else [],
    )


def base_model_import_archive(*, by: Identity, archive: UploadedArchive, name: str = "", title: str = "") -> BaseModel:
    """Store an uploaded .zip or .tar.gz and have a worker unpack it."""
    by.require(Role.DEVELOPER)
    try:
        with archive.path.open("rb") as file:
            archives.kind_of(file.read(4))
    except UserError as error:
        raise of_user_error(error) from None
    stem = re.sub(r"\.(zip|tgz|tar|tar\.gz)$", "", archive.name, flags=re.IGNORECASE)
    name = _name_or_refuse(name, stem)
    # Slow: outside any transaction, and before the row. What a crash in between leaves has not been acknowledged.
    key = f"base-models/{new_id()}.archive"
    storage.put_file(archive.path, key)
    facts = {"sha256": archive.sha256, "file_name": archive.name[:200], "size_bytes": archive.size_bytes, "key": key}
    try:
        row = _import_start(
            by=by,
            source=BaseModel.Source.ARCHIVE,
            name=name,
            title=title or stem,
            origin=facts,
            asked={"sha256": archive.sha256},
        )
    except AppError:
        storage.delete_prefix(key)
        raise
    if row.origin["key"] != key:
        storage.delete_prefix(key)
    return row


def base_model_retry(*, by: Identity, base_model: BaseModel) -> BaseModel:
    """Try a failed import again; what was fetched before is kept. Raises Conflict where that would end the same."""
    by.require(Role.DEVELOPER)
    _refuse_foreign(by, base_model)
    if base_model.status == BaseModelStatus.IMPORTING:
        return base_model
    if base_model.status != BaseModelStatus.FAILED:
        message = _("%(name)s is ready; there is nothing to try again.") % {"name": base_model.name}
        raise Conflict(message, code="base_model_ready", hint=_("Delete it first to import it anew."))
    if not (base_model.error or {}).get("retry"):
        raise Conflict(
            _("%(name)s was refused for what it holds; the same again would end the same.") % {"name": base_model.name},
            code="not_retryable",
            hint=(base_model.problem or {}).get("hint") or _("Delete it, mend the archive and upload it again."),
        )
    with transaction.atomic():
        # The commit is looked up anew: a repository may have been mended meanwhile.
        origin = {key: value for key, value in base_model.origin.items() if key != "commit"}
        _queue(by, base_model, base_model.status, origin)
        audit_record(by=by, action="base_model.retry", target=base_model.name)
    return base_model


def base_model_delete(*, by: Identity, base_model: BaseModel) -> None:
    """Take a base model off the list, with its files unless they are a folder of the user's.

    Refused while something was trained from it. A worker that is importing it stops at its next sign of life.
    """
    by.require(Role.DEVELOPER)
    _refuse_foreign(by, base_model)
    with transaction.atomic():
        refuse_in_use(base_model.name, selectors.base_model_users(base_model))
        key = base_model.pk
        base_model.delete()
        audit_record(by=by, action="base_model.delete", target=base_model.name)
    base_model.pk = key
    importing.archive_forget(base_model)
    if base_model.source not in (BaseModel.Source.FOLDER, BaseModel.Source.BUNDLED):
        shutil.rmtree(importing.folder_of(base_model), ignore_errors=True)
        shutil.rmtree(importing.staging_of(base_model), ignore_errors=True)


# --- inside ---------------------------------------------------------------------------------------------------------


def _import_start(
    *,
    by: Identity,
    source: BaseModel.Source,
    name: str,
    title: str,
    origin: Mapping[str, Any],
    asked: Mapping[str, Any],
    source_version: ModelVersion | None = None,
    licence: str = "",
    languages: Sequence[str] = (),
) -> BaseModel:
    """Open a row in `importing` and queue it.

    Where the name is taken by what came from the same (`asked`, a part of `origin`) that row is the answer, and a
    failed one is tried again; by anything else, Conflict is raised.
    """
    row = BaseModel(
        workspace=by.workspace,
        name=name,
        title=title[:200],
        source=source,
        status=BaseModelStatus.IMPORTING,
        source_version=source_version,
        licence=licence,
        languages=list(languages),
        created_by=by.user,
    )
    row.path = str(importing.folder_of(row))
    try:
        with transaction.atomic():
            row.save(force_insert=True)
            _queue(by, row, "", origin)
            details = {"source": str(source), **{key: value for key, value in origin.items() if key != "labels"}}
            audit_record(by=by, action="base_model.import", target=name, details=details)
    except IntegrityError:
        row = BaseModel.objects.get(workspace=by.workspace, name=name)
        if row.source != source or not all(row.origin.get(key) == value for key, value in asked.items()):
            raise _name_taken(name) from None
        if row.status == BaseModelStatus.FAILED:
            importing.archive_forget(row)
            with transaction.atomic():
                _queue(by, row, row.status, origin)
                audit_record(by=by, action="base_model.retry", target=name)
    return row


def _queue(by: Identity, row: BaseModel, before: str, origin: Mapping[str, Any]) -> None:
    """Move a row to `importing` and send the message; call it in a transaction. Two at once queue it once."""
    values = {
        "status": BaseModelStatus.IMPORTING,
        "origin": dict(origin),
        "error": None,
        "progress": 0.0,
        "attempt": 0,
        "heartbeat_at": None,
    }
    if not BaseModel.objects.filter(pk=row.pk, status=row.status).update(**values):
        return
    for key, value in values.items():
        setattr(row, key, value)
    _record(by, row, before, BaseModelStatus.IMPORTING)
    import_send_on_commit(row)


def _record(by: Identity, row: BaseModel, before: str, after: str) -> None:
    BaseModelTransition.objects.create(base_model=row, actor=by.user, from_status=before, to_status=after)


def _refuse_foreign(by: Identity, base_model: BaseModel) -> None:
    if base_model.workspace_id != by.workspace.pk:
        raise Forbidden(
            _("%(name)s comes with the installation.") % {"name": base_model.name},
            code="bundled",
            hint=_("Uninstall its package to remove it for everybody."),
        )


def _name_taken(name: str) -> Conflict:
    message = _("A base model named %(name)s exists, from another source or another state of it.") % {"name": name}
    hint = _("Give another name, or delete the old one first.")
    return Conflict(message, code="name_taken", fields={"name": message}, hint=hint)


def _name_or_refuse(name: str, fallback: str) -> str:
    """The given name, or one made from `fallback`; raises Invalid."""
    name = name or re.sub(r"[^a-z0-9]+", "-", fallback.lower()).strip("-")[:63].strip("-")
    try:
        slug_validator(name)
    except ValidationError as error:
        message = " ".join(error.messages)
        raise Invalid(message, fields={"name": message}, hint=_("Give a name of your own.")) from None
    return name
