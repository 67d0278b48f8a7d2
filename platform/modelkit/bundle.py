"""The bundle: a folder that holds all a model needs to run, described by its `manifest.json`. Light.

    manifest.json        this file's `Manifest`
    model.onnx           the graph that answers
    model.safetensors    the same weights for further training, with `config.json` (absent in some variants)
    tokenizer.json ...   preprocessing
    predictor.py         a copy of the task's `predict.py`, so that the bundle answers where Tuneyard is not installed
    golden.json          frozen inputs and the answers given right after training
    evaluated.parquet    the answer to each row it was measured on, by the row's id (see `evaluation.rows`)

Does not know how a bundle is made (each task's `export.py`) or how it answers (`predict.py`).
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from modelkit.errors import UserError

MANIFEST = "manifest.json"
GOLDEN = "golden.json"
#: In `model.safetensors` the head's tensors begin so; all others are the encoder's, under its own names.
HEAD_PREFIX = "classifier."
PREDICTOR = "predictor.py"
EVALUATED = "evaluated.parquet"


class BundleFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    size_bytes: int
    sha256: str


class Manifest(BaseModel):
    """What a bundle says of itself. `digest` covers every file's path and checksum: equal digests, equal models.

    `embedding_width`: numbers in the vector that the graph gives as a second output; 0 where it has none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    format: Literal[1] = 1
    task: str
    name: str
    created_at: str
    labels: list[str] = Field(default_factory=list)
    runtime: Literal["onnxruntime"] = "onnxruntime"
    precision: str = "fp32"
    graph: str = "model.onnx"
    embedding_width: int = 0
    preprocessing: dict[str, Any] = Field(default_factory=dict)
    request_example: dict[str, Any]
    metrics: dict[str, float] = Field(default_factory=dict)
    metrics_split: str = "test"
    lineage: dict[str, Any] = Field(default_factory=dict)
    recipe: list[dict[str, Any]] = Field(default_factory=list)
    files: list[BundleFile] = Field(default_factory=list)
    digest: str = ""

    @property
    def size_bytes(self) -> int:
        """Bytes of all files but the manifest itself."""
        return sum(file.size_bytes for file in self.files)


class Golden(BaseModel):
    """Frozen inputs with the answers of the model as trained. `outputs[i]` holds `label` and `scores` (per class)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    inputs: list[Any]
    outputs: list[dict[str, Any]]


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def seal(folder: Path, manifest: Manifest) -> Manifest:
    """Checksum every file of `folder`, write the manifest last and atomically, and return it as written."""
    files = [
        BundleFile(path=path.relative_to(folder).as_posix(), size_bytes=path.stat().st_size, sha256=_sha256(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    ]
    digest = hashlib.sha256("".join(f"{f.path}\0{f.sha256}\n" for f in files).encode()).hexdigest()
    sealed = manifest.model_copy(update={"files": files, "digest": digest})
    temporary = folder / f".{MANIFEST}.tmp"
    temporary.write_text(sealed.model_dump_json(indent=2))
    temporary.replace(folder / MANIFEST)
    return sealed


def read(folder: Path) -> Manifest:
    """The manifest of a bundle; raises UserError `bundle_invalid`."""
    try:
        return Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except FileNotFoundError:
        raise UserError(
            "bundle_invalid",
            "{folder} has no {name}.",
            "Train or import the model again.",
            folder=folder.name,
            name=MANIFEST,
        ) from None
    except ValueError as error:
        raise UserError(
            "bundle_invalid",
            "{name} cannot be read: {error}",
            "Train or import the model again.",
            name=MANIFEST,
            error=error,
        ) from None


def verify(folder: Path) -> Manifest:
    """Read the manifest and check each file's size and checksum; raises UserError `bundle_damaged` naming the file."""
    manifest = read(folder)
    for file in manifest.files:
        path = folder / file.path
        if not path.is_file() or path.stat().st_size != file.size_bytes or _sha256(path) != file.sha256:
            raise UserError(
                "bundle_damaged",
                "{path} is missing or differs from what was published.",
                "Deploy another version, or publish this one again.",
                path=file.path,
            )
    return manifest


def golden(folder: Path) -> Golden:
    """The frozen golden set of a bundle."""
    return Golden.model_validate(json.loads((folder / GOLDEN).read_bytes()))
