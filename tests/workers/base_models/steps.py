"""Steps of the tests of imports: asking, uploading, and being the worker."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest

from apps.registry import importing
from apps.registry.models import BaseModel
from tests.personas import Team

base_models = pytest.importorskip("workers.tasks.base_models", reason="needs the extra `worker`")


def start(team: Team, source: dict[str, Any], **more: Any) -> BaseModel:
    """Ask for an import over REST."""
    answer = team.developer.api("POST", "/base-models", {"source": source, **more})
    assert answer.status_code == 201, answer.content
    assert answer.json()["status"] == "importing"
    return BaseModel.objects.get(workspace=team.workspace, name=answer.json()["name"])


def upload(team: Team, content: bytes, file_name: str = "encoder.zip", **words: str) -> Any:
    from django.core.files.uploadedfile import SimpleUploadedFile
    from django.test import Client

    return Client(raise_request_exception=False).post(
        "/api/v1/base-models",
        {"file": SimpleUploadedFile(file_name, content), **words},
        headers={"Authorization": f"Bearer {team.developer.token}"},
    )


def zipped(folder: Path, inside: str = "") -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, inside + path.relative_to(folder).as_posix())
    return sink.getvalue()


def work(row: BaseModel) -> BaseModel:
    """Let a worker take the message; the folder of base models then holds whole models only."""
    base_models.import_base_model(row.pk)
    row.refresh_from_db()
    return row


def folders_left(row: BaseModel) -> set[str]:
    root = importing.folder_of(row).parent
    return {path.name for path in root.iterdir() if path.name != ".lock"}
