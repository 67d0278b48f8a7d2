"""What may be learnt of a Hugging Face folder without loading it: JSON files and the headers of safetensors files.

Raises `UserError` with field `source.path` for what the user can mend. Knows no database and no transformers.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelkit.errors import UserError
from modelkit.wording import say

FIELD = "source.path"
CONFIG = "config.json"
TOKENIZER = "tokenizer.json"
MAX_FILES = 500
#: A safetensors header is JSON; the format itself allows no more.
MAX_HEADER_BYTES = 100_000_000
MAX_JSON_BYTES = 64 * 1024 * 1024
_PICKLES = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".h5", ".msgpack"}
_DTYPE_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2,
    "U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8, "C64": 8,
}  # fmt: skip


@dataclass(frozen=True)
class FolderFacts:
    """What a folder turned out to hold. `revision` is a digest of every file's path and content."""

    path: Path
    modality: str
    architecture: str
    model_type: str
    parameters: int
    size_bytes: int
    licence: str
    max_length: int | None
    revision: str


def inspect(path: str, roots: Iterable[Path]) -> FolderFacts:
    """Check the folder at `path`, which must lie under one of `roots`, and say what it holds."""
    folder = allowed_path(path, roots)
    if not folder.is_dir():
        raise UserError(
            "not_a_folder",
            say("{path} is not a folder.", path=path),
            say("Give the folder that holds config.json."),
            field=FIELD,
        )
    return inspect_folder(folder)


def inspect_folder(folder: Path) -> FolderFacts:
    """Check a folder wherever it lies and say what it holds."""
    files = _files(folder)
    names = {file.relative_to(folder).as_posix() for file in files}
    check_names(names)
    config = _json(folder, CONFIG, names, "")
    model_type = check_config(config)
    weights = [file for file in files if file.suffix == ".safetensors"]
    _refuse_missing_shards(folder, names)
    if TOKENIZER in names:
        _json(folder, TOKENIZER, names, "")
    architectures = config.get("architectures")
    return FolderFacts(
        path=folder,
        modality="text" if TOKENIZER in names else "image",
        architecture=str(architectures[0]) if isinstance(architectures, list) and architectures else model_type,
        model_type=model_type,
        parameters=sum(_parameters(file) for file in weights),
        size_bytes=sum(file.stat().st_size for file in files),
        licence=_licence(folder, names),
        max_length=_max_length(config),
        revision=_digest(folder, files),
    )


def check_names(names: set[str]) -> None:
    """Refuse a model by its files' names alone: no config, no safetensors, or no tokenizer."""
    if CONFIG not in names:
        raise UserError(
            "config_missing",
            say("The folder has no {name}.", name=CONFIG),
            say("Save the model with save_pretrained(), then import that folder."),
            field=FIELD,
        )
    if not any(name.endswith(".safetensors") for name in names):
        _refuse_without_weights(names)
    if TOKENIZER not in names and "preprocessor_config.json" not in names:
        raise UserError(
            "tokenizer_missing",
            say("The folder has no tokenizer.json."),
            say("Save the fast tokenizer with tokenizer.save_pretrained() into the same folder."),
            field=FIELD,
        )


def check_config(config: dict[str, Any]) -> str:
    """The `model_type` of a config; refuses one without, and one that asks for code of its own."""
    if "auto_map" in config:
        raise UserError(
            "remote_code",
            say("config.json asks for code of its own (auto_map), which is not run here."),
            say("Use a model whose architecture the installed transformers knows."),
            field=FIELD,
        )
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or not model_type:
        raise UserError(
            "config_invalid",
            say("config.json names no model_type."),
            say("Save the model again with save_pretrained()."),
            field=FIELD,
        )
    return model_type


def allowed_path(path: str, roots: Iterable[Path]) -> Path:
    """`path` with every link resolved; raises UserError unless it lies under one of `roots`."""
    allowed = [root.resolve() for root in roots]
    if "\0" in path or not Path(path).is_absolute():
        raise UserError("path_not_absolute", say("The path must be absolute."), _folders_hint(allowed), field=FIELD)
    try:
        resolved = Path(path).resolve(strict=False)
    except (OSError, RuntimeError):
        raise UserError(
            "path_not_found", say("The path cannot be followed."), _folders_hint(allowed), field=FIELD
        ) from None
    # Looked at before the disk is, so that the answer does not tell what exists elsewhere.
    if not any(resolved == root or root in resolved.parents for root in allowed):
        raise UserError(
            "path_not_allowed",
            say("{path} is outside of the folders that models may come from.", path=path),
            _folders_hint(allowed),
            field=FIELD,
        )
    if not resolved.exists():
        raise UserError("path_not_found", say("{path} does not exist.", path=path), _folders_hint(allowed), field=FIELD)
    return resolved


def _folders_hint(roots: list[Path]) -> str:
    return say(
        "Put the folder under {folders}, or add its parent to TUNEYARD_MODEL_PATHS.",
        folders=", ".join(str(root) for root in roots),
    )


def _files(folder: Path) -> list[Path]:
    """Every regular file; a link that leads out of the folder is refused, as is a folder too large to be one model."""
    found: list[Path] = []
    for parent, folders, names in os.walk(folder, followlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted([*names, *(entry for entry in folders if (Path(parent) / entry).is_symlink())]):
            path = Path(parent) / name
            if name.startswith("."):
                continue
            if path.is_symlink() and folder not in path.resolve().parents:
                raise UserError(
                    "path_escapes",
                    say("{name} is a link that leads out of the folder.", name=name),
                    say("Copy the files themselves into the folder."),
                    field=FIELD,
                )
            if path.is_file():
                found.append(path)
            if len(found) > MAX_FILES:
                raise UserError(
                    "too_many_files",
                    say("The folder holds more than {count} files.", count=MAX_FILES),
                    say("Give the folder of one model, not a folder of models."),
                    field=FIELD,
                )
    return found


def _refuse_without_weights(names: set[str]) -> None:
    pickles = sorted(name for name in names if Path(name).suffix in _PICKLES)
    if pickles:
        raise UserError(
            "pickle_weights",
            say("The weights are in {name}, a format that can run code when it is opened.", name=pickles[0]),
            say("Save them as safetensors: model.save_pretrained(folder, safe_serialization=True)."),
            field=FIELD,
        )
    raise UserError(
        "weights_missing",
        say("The folder holds no .safetensors file."),
        say("Save the model with save_pretrained(), then import that folder."),
        field=FIELD,
    )


def _refuse_missing_shards(folder: Path, names: set[str]) -> None:
    index = "model.safetensors.index.json"
    if index not in names:
        return
    shards = _json(folder, index, names, "").get("weight_map", {})
    missing = sorted({str(shard) for shard in shards.values()} - names) if isinstance(shards, dict) else []
    if missing:
        raise UserError(
            "weights_missing",
            say("{name} is named in the index but is not there.", name=missing[0]),
            say("Copy all parts of the weights into the folder."),
            field=FIELD,
        )


def _json(folder: Path, name: str, names: set[str], hint: str) -> dict[str, Any]:
    if name not in names:
        raise UserError("config_missing", say("The folder has no {name}.", name=name), hint, field=FIELD)
    path = folder / name
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ValueError("too large")
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError, OSError):
        content = None
    if not isinstance(content, dict):
        raise UserError(
            "config_invalid", say("{name} is not valid JSON.", name=name), say("Copy the file again."), field=FIELD
        )
    return content


def tensors(path: Path) -> dict[str, tuple[str, list[int]]]:
    """Type and shape of each tensor of a safetensors file; raises UserError `weights_damaged`.

    Source: https://huggingface.co/docs/safetensors (8 bytes little-endian header length, JSON header, data).
    """
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(MAX_HEADER_BYTES, size - 8):
                raise ValueError("header length")
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        found = {name: (str(entry["dtype"]), [int(n) for n in entry["shape"]]) for name, entry in header.items()}
        end = max((int(entry["data_offsets"][1]) for entry in header.values()), default=0)
        wrong = next((dtype for dtype, _shape in found.values() if dtype not in _DTYPE_BYTES), None)
        if wrong or end != size - 8 - length:
            raise ValueError("data length")
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        raise UserError(
            "weights_damaged",
            say("{name} is not a whole safetensors file.", name=path.name),
            say("Copy it again; a file of a few hundred bytes is often a pointer of Git LFS."),
            field=FIELD,
        ) from None
    return found


def _parameters(path: Path) -> int:
    return sum(math.prod(shape) for _dtype, shape in tensors(path).values())


def _max_length(config: dict[str, Any]) -> int | None:
    value = config.get("max_position_embeddings")
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _licence(folder: Path, names: set[str]) -> str:
    """The `license:` line of the model card's front matter, else empty: it is shown, never trusted."""
    if "README.md" not in names:
        return ""
    with (folder / "README.md").open(encoding="utf-8", errors="replace") as file:
        lines = file.read(8192).splitlines()
    if not lines or lines[0].strip() != "---":
        return ""
    for line in lines[1:]:
        if line.strip() == "---":
            break
        key, colon, value = line.partition(":")
        if colon and key.strip() in {"license", "licence"}:
            return value.strip().strip("\"'")[:60]
    return ""


def _digest(folder: Path, files: list[Path]) -> str:
    total = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{path.relative_to(folder).as_posix()}\0{content}\n".encode())
    return total.hexdigest()
