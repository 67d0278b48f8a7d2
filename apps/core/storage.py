"""The file store behind dataset versions: a local folder or S3, through fsspec. Keys are relative POSIX paths."""

from __future__ import annotations

import os
import shutil
from functools import cache
from pathlib import Path
from typing import IO, Any, cast

import fsspec
from django.conf import settings


@cache
def _root() -> tuple[fsspec.AbstractFileSystem, str]:
    filesystem, path = fsspec.core.url_to_fs(settings.STORAGE_URL)
    return filesystem, str(path).rstrip("/")


def is_local() -> bool:
    """Whether keys are plain files of this machine."""
    filesystem, _ = _root()
    return "file" in filesystem.protocol


def open_read(key: str) -> IO[bytes]:
    """The file at `key`, open for reading; raises FileNotFoundError."""
    filesystem, root = _root()
    return cast(IO[bytes], filesystem.open(f"{root}/{key}", "rb"))


def put_file(source: Path, key: str) -> None:
    """Store `source` under `key`; moves it where both are on one local disk, so that no byte is written twice."""
    filesystem, root = _root()
    target = f"{root}/{key}"
    if is_local():
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        try:
            source.replace(target)
        except OSError:
            shutil.copyfile(source, target)
            source.unlink(missing_ok=True)
        return
    filesystem.put_file(str(source), target)
    source.unlink(missing_ok=True)


def put_bytes(data: bytes, key: str) -> None:
    """Store a small file."""
    filesystem, root = _root()
    if is_local():
        Path(f"{root}/{key}").parent.mkdir(parents=True, exist_ok=True)
    filesystem.pipe_file(f"{root}/{key}", data)


def exists(key: str) -> bool:
    filesystem, root = _root()
    return bool(filesystem.exists(f"{root}/{key}"))


def size_bytes(key: str) -> int:
    """The size of the file at `key`; raises FileNotFoundError."""
    filesystem, root = _root()
    info: dict[str, Any] = filesystem.info(f"{root}/{key}")
    return int(info["size"])


def delete_prefix(prefix: str) -> None:
    """Delete everything under `prefix`; deleting nothing is fine."""
    filesystem, root = _root()
    if filesystem.exists(f"{root}/{prefix}"):
        filesystem.rm(f"{root}/{prefix}", recursive=True)


def local_dir(prefix: str) -> Path:
    """A local folder with the files under `prefix`: the folder itself, or a downloaded copy in the cache."""
    filesystem, root = _root()
    if is_local():
        return Path(f"{root}/{prefix}")
    target = settings.HOME / "cache" / "storage" / prefix
    if not target.exists():
        partial = target.with_name(f"{target.name}.part-{os.getpid()}")
        filesystem.get(f"{root}/{prefix}", str(partial), recursive=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.rename(target)
        except OSError:  # another process was faster
            shutil.rmtree(partial, ignore_errors=True)
    return target
