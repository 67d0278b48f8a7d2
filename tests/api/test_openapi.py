"""The committed OpenAPI document is the API's: a change of the API is seen in review."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from openapi_spec_validator import validate

from tests.conftest import ROOT
from tuneyard.api import api

DOCUMENT = ROOT / "docs" / "reference" / "openapi.json"


def test_the_committed_document_is_up_to_date(tmp_path: Path) -> None:
    import os

    plain = {name: value for name, value in os.environ.items() if not name.startswith("TUNEYARD_")}
    run = subprocess.run(
        [sys.executable, "scripts/openapi.py", "--check"],
        cwd=ROOT,
        env={**plain, "TUNEYARD_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_document_is_valid_openapi() -> None:
    validate(json.loads(DOCUMENT.read_text()))


def test_every_operation_documents_its_refusals_and_its_summary() -> None:
    document = json.loads(DOCUMENT.read_text())
    assert document["paths"]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            where = f"{method} {path}"
            assert operation["responses"]["default"]["content"]["application/json"]["schema"]["$ref"].endswith(
                "Error"
            ), where
            assert operation["summary"], where
            assert operation.get("security") or path == "/api/v1/health", where


def test_operation_ids_are_unique() -> None:
    ids = [
        operation["operationId"]
        for operations in api.get_openapi_schema(path_prefix="").get("paths", {}).values()
        for operation in operations.values()
    ]
    assert len(ids) == len(set(ids))
