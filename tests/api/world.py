"""One of everything in the workspace `bank`, under names that occur nowhere else; and requests made from the schema."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import pytest
from django.utils import timezone

from tests.personas import Team

#: In every name of the team's things: an answer to anybody else must not contain it.
#: Letters that no public id has, so that a random one is never taken for it.
MARK = "uliou"


@dataclass(frozen=True)
class World:
    """`names[noun][parameter]` fills an address: `/datasets/{name}` with the dataset's name."""

    names: dict[str, dict[str, str]]

    def fill(self, path: str) -> str:
        """The address `path` with the parameters of the team's things; raises KeyError for a noun not in here."""
        noun = path.strip("/").split("/")[0]
        known = self.names.get(noun, {})
        return re.sub(r"{(?:\w+:)?(\w+)}", lambda match: known[match[1]], path)


def world_make(team: Team) -> World:
    """Rows, a dataset's file and a bundle; what they would need of other processes is not there."""
    from apps.accounts.models import ApiToken
    from apps.datasets.models import Dataset, DatasetVersion, VersionStatus
    from apps.deployments.models import Endpoint, EndpointKey, Revision
    from apps.jobs.models import Job
    from apps.registry.models import Alias, BaseModel, ModelVersion, RegisteredModel

    bank, user = team.workspace, team.owner.user
    task = "text_classification"
    dataset = Dataset.objects.create(workspace=bank, name=f"tickets-{MARK}", task=task, created_by=user)
    data = DatasetVersion.objects.create(
        dataset=dataset, number=1, status=VersionStatus.READY, prefix=f"datasets/{MARK}", digest="0" * 64, rows=3,
        splits={"train": 1, "validation": 1, "test": 1}, labels=["a", "b"],
    )  # fmt: skip
    _rows_write(data.prefix)
    base = BaseModel.objects.create(
        workspace=bank,
        name=f"encoder-{MARK}",
        title="Encoder",
        tasks=[task],
        source="folder",
        path=f"/{MARK}",
        revision="1",
    )
    model = RegisteredModel.objects.create(workspace=bank, name=f"intents-{MARK}", task=task)
    manifest = _bundle_write()
    version = ModelVersion.objects.create(
        model=model, number=1, dataset_version=data, base_model=base, bundle_digest=manifest["digest"],
        metrics={"accuracy": 0.9}, manifest=manifest, size_bytes=7,
    )  # fmt: skip
    Alias.objects.create(model=model, name="champion", version=version)
    spec = {
        "format": 1, "kind": "train", "task": task, "params": {}, "model_name": model.name, "seed": 0,
        "code_version": "", "dataset": {"ref": data.ref, "prefix": data.prefix, "digest": data.digest},
        "budget_s": None, "lineage": {},
        "base_model": {"id": base.name, "path": base.path, "revision": "1"},
    }  # fmt: skip
    job = Job.objects.create(
        workspace=bank, number=1, kind="train", task=task, title=f"Fine-tune {MARK}",
        spec=spec, model_name=model.name,
        dataset_version=data, base_model=base, status="succeeded", created_by=user, finished_at=timezone.now(),
    )  # fmt: skip
    endpoint = Endpoint.objects.create(workspace=bank, name=f"support-{MARK}", task=task, created_by=user)
    Revision.objects.create(endpoint=endpoint, number=1, model_version=version, weight=100)
    key = EndpointKey.objects.create(endpoint=endpoint, name="ci", sha256="0" * 64, prefix="ty_0000000")
    token = ApiToken.objects.filter(workspace=bank).order_by("pk")[0]
    return World(
        {
            "datasets": {"name": dataset.name, "number": "1"},
            "base-models": {"name": base.name},
            "models": {"name": model.name, "number": "1", "alias": "champion", "tab": "metrics"},
            "jobs": {"job_id": job.public_id, "public_id": job.public_id}
            | {"name": "samples", "action": "cancel", "tab": "logs"},
            "endpoints": {"name": endpoint.name, "number": "1", "revision": "1", "key_id": key.public_id},
            "members": {"username": "viewer"},
            "tokens": {"token_id": token.public_id},
            "tasks": {"task": task},
            "methods": {"method": "dynamic_int8"},
        }
    )


def _rows_write(prefix: str) -> None:
    """`rows.parquet` as validation leaves it."""
    pyarrow = pytest.importorskip("pyarrow", reason="needs the extra `worker`")
    parquet = pytest.importorskip("pyarrow.parquet")
    from django.conf import settings

    from apps.core import storage

    columns = {
        "row_id": ["1-0", "2-0", "3-0"],
        "position": [0, 1, 2],
        "source": [f"{MARK}.csv"] * 3,
        "split": ["train", "validation", "test"],
        "text": ["one", "two", "three"],
        "label": ["a", "b", "a"],
    }
    path = settings.HOME / "rows.parquet"
    parquet.write_table(pyarrow.table(columns), path)
    storage.put_file(path, f"{prefix}/rows.parquet")


def _bundle_write() -> dict[str, Any]:
    """A sealed bundle in the local cache; returns its manifest."""
    from django.conf import settings

    from tests.apps.registry.factory import bundle_make

    staging = settings.BUNDLES_DIR / f"staging-{MARK}"
    manifest = bundle_make(staging, content=MARK)
    if not (settings.BUNDLES_DIR / manifest.digest).exists():
        staging.rename(settings.BUNDLES_DIR / manifest.digest)
    return manifest.model_dump(mode="json")


def body_of(schema: dict[str, Any], operation: dict[str, Any]) -> tuple[bytes, str]:
    """The smallest body that an operation's schema accepts, with its content type."""
    content = operation.get("requestBody", {}).get("content", {})
    if "multipart/form-data" in content:
        part = 'Content-Disposition: form-data; name="file"; filename="a.csv"\r\nContent-Type: text/csv'
        return (
            f"--edge\r\n{part}\r\n\r\ntext,label\r\na,b\r\n--edge--\r\n".encode(),
            "multipart/form-data; boundary=edge",
        )
    if "application/json" in content:
        import orjson

        return orjson.dumps(_smallest(schema, content["application/json"]["schema"])), "application/json"
    return b"", "application/json"


def query_of(schema: dict[str, Any], operation: dict[str, Any]) -> str:
    """The query parameters that an operation cannot do without."""
    needed = [row for row in operation.get("parameters", []) if row["in"] == "query" and row.get("required")]
    return urlencode({row["name"]: _smallest(schema, row["schema"]) for row in needed})


def _smallest(schema: dict[str, Any], node: dict[str, Any]) -> Any:
    if "$ref" in node:
        return _smallest(schema, schema["components"]["schemas"][node["$ref"].rsplit("/", 1)[1]])
    for union in ("anyOf", "oneOf", "allOf"):
        if union in node:
            return _smallest(schema, node[union][0])
    if "const" in node:
        return node["const"]
    if "enum" in node:
        return node["enum"][0]
    if node.get("type") == "object":
        required = node.get("required", [])
        if node.get("minProperties"):
            return {"1": _smallest(schema, node["additionalProperties"])}
        return {name: _smallest(schema, node["properties"][name]) for name in required}
    if node.get("type") in {"integer", "number"}:
        return node.get("minimum", 1)
    if node.get("type") == "array":
        return [_smallest(schema, node["items"])] * node.get("minItems", 0)
    return {"boolean": False, "null": None}.get(node.get("type", ""), "a" * max(3, node.get("minLength", 0)))
