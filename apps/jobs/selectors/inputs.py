"""Finds what a job's request names: dataset version, base model, model version. Another workspace's is not found."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import duckdb
from django.db.models import Q
from django.utils.translation import gettext as _

from apps.accounts.models import Workspace
from apps.core import storage
from apps.core.errors import NotFound
from apps.datasets.models import DatasetVersion
from apps.registry.models import BaseModel, ModelVersion


def dataset_version_get(*, workspace: Workspace, reference: str) -> DatasetVersion:
    """The version that `name@2` names; raises NotFound naming the field."""
    name, _at, number = reference.partition("@")
    if number.isdigit() and len(number) < 10:
        found = (
            DatasetVersion.objects.select_related("dataset")
            .filter(dataset__workspace=workspace, dataset__name=name, number=int(number))
            .first()
        )
        if found is not None:
            return found
    message = _("This workspace has no dataset version “%(ref)s”.") % {"ref": reference}
    raise NotFound(message, code="dataset_not_found", fields={"dataset": message}, hint=_("Name it as name@version."))


def base_model_get(*, workspace: Workspace, name: str) -> BaseModel:
    """The base model of that name, the workspace's own before a bundled one; raises NotFound."""
    found = (
        BaseModel.objects.filter(Q(workspace=workspace) | Q(workspace=None), name=name).order_by("workspace_id").last()
    )
    if found is None:
        message = _("There is no base model “%(name)s”.") % {"name": name}
        hint = _("Choose one that the page Base models lists, or import its folder there.")
        raise NotFound(message, code="base_model_not_found", fields={"base_model": message}, hint=hint)
    return found


def source_version_get(*, workspace: Workspace, reference: str) -> ModelVersion:
    """The version that `name@2` or `name@champion` names; raises NotFound naming the field."""
    name, _at, which = reference.partition("@")
    rows = ModelVersion.objects.select_related("model", "dataset_version__dataset", "base_model")
    rows = rows.filter(model__workspace=workspace, model__name=name)
    found = rows.filter(number=int(which)).first() if which.isdigit() and len(which) < 10 else None
    found = found or rows.filter(aliases__name=which).first()
    if found is None:
        message = _("This workspace has no model version “%(ref)s”.") % {"ref": reference}
        hint = _("Name it as name@version or name@alias.")
        raise NotFound(message, code="model_not_found", fields={"model": message}, hint=hint)
    return found


@lru_cache(maxsize=64)
def dataset_sample(prefix: str, digest: str) -> dict[str, Any]:
    """First training rows and mean lengths of a ready version. Immutable, hence remembered by its `digest`.

    `mean_tokens` is an estimate without a tokenizer: 4.3 Latin letters or one other character a token, and two marks.
    """
    path = str(storage.local_dir(prefix) / "rows.parquet")
    with duckdb.connect(config={"memory_limit": "128MB", "threads": 1}) as connection:
        rows = connection.execute(
            "SELECT text, label FROM read_parquet(?) WHERE split = 'train' LIMIT 8", [path]
        ).fetchall()
        characters, longest, size = connection.execute(
            "SELECT avg(length(text)), max(length(text)), avg(strlen(text)) FROM read_parquet(?) WHERE split = 'train'",
            [path],
        ).fetchone() or (0, 0, 0)
    characters, size = float(characters or 0), float(size or 0)
    wide = (size - characters) / 2
    return {
        "rows": [{"text": text[:2000], "label": str(label), "characters": len(text)} for text, label in rows],
        "mean_characters": characters,
        "max_characters": int(longest or 0),
        "mean_tokens": 2 + (characters - wide) / 4.3 + wide,
    }
