"""The file store behind dataset versions: a local folder or S3, through fsspec. Keys are relative POSIX paths.

Credentials, region and endpoint of S3 come from the environment alone, as every AWS tool reads them. A store that does
not answer, or refuses us, is `Unavailable`: the page says so, a task is tried again.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import IO, Any, cast

import fsspec
from django.conf import settings

from apps.core.errors import Unavailable
from modelkit.wording import say

#: Parts of an upload on the way to S3, each held in memory; the web must not grow with what it passes on.
PART_BYTES = 16 << 20
PARTS_AT_ONCE = 2


@cache
def _opened(pid: int) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system and the path in it. By process, since S3's runs on a thread, which a fork does not take along."""
    options: dict[str, Any] = {}
    if settings.STORAGE_URL.startswith("s3:"):
        # Other processes write too, so that a listing remembered is a listing that is wrong.
        options = {"use_listings_cache": False, "skip_instance_cache": True}
        if os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"):
            # Stores other than Amazon's have no host name per bucket.
            options["config_kwargs"] = {"s3": {"addressing_style": "path"}}
    filesystem, path = fsspec.core.url_to_fs(settings.STORAGE_URL, **options)
    return filesystem, str(path).rstrip("/")


def _root() -> tuple[fsspec.AbstractFileSystem, str]:
    return _opened(os.getpid())


def is_local() -> bool:
    """Whether keys are plain files of this machine."""
    filesystem, _path = _root()
    return "file" in filesystem.protocol


def open_read(key: str) -> IO[bytes]:
    """The file at `key`, open for reading; raises FileNotFoundError."""
    filesystem, root = _root()
    if is_local():
        return cast(IO[bytes], filesystem.open(f"{root}/{key}", "rb"))
    with _reaching():
        return cast(IO[bytes], filesystem.open(f"{root}/{key}", "rb", block_size=PART_BYTES, cache_type="readahead"))


def fetch(key: str, target: Path) -> None:
    """Copy the file at `key` to a local path; raises FileNotFoundError."""
    filesystem, root = _root()
    with _reaching():
        filesystem.get_file(f"{root}/{key}", str(target))


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
    with _reaching(writing=True):
        filesystem.put_file(str(source), target, chunksize=PART_BYTES, max_concurrency=PARTS_AT_ONCE)
    source.unlink(missing_ok=True)


def exists(key: str) -> bool:
    filesystem, root = _root()
    with _reaching():
        return bool(filesystem.exists(f"{root}/{key}"))


def delete_prefix(prefix: str) -> None:
    """Delete everything under `prefix`; deleting nothing is fine."""
    filesystem, root = _root()
    with _reaching():
        if filesystem.exists(f"{root}/{prefix}"):
            filesystem.rm(f"{root}/{prefix}", recursive=True)
    if not is_local():
        shutil.rmtree(_cached(prefix), ignore_errors=True)


def local_dir(prefix: str) -> Path:
    """A local folder with the files directly under `prefix`: the folder itself, or a copy in this host's cache.

    What is stored never changes, so a copy is good for as long as it is there. Nothing stored gives a path that does
    not exist.
    """
    filesystem, root = _root()
    if is_local():
        return Path(f"{root}/{prefix}")
    target = _cached(prefix)
    if target.exists():
        return target
    fetching = _fetching_dir()
    fetching.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=fetching))
    try:
        with _reaching():
            # Not recursive: a version's original files lie one folder deeper and are asked for rarely.
            listed = filesystem.ls(f"{root}/{prefix}", detail=True)
            for file in (entry["name"] for entry in listed if entry["type"] == "file"):
                filesystem.get_file(file, str(partial / Path(file).name))
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.chmod(0o755)
        partial.rename(target)
    except FileNotFoundError:
        pass
    except OSError:
        # Another thread or process was faster, and its copy is as good.
        if not target.exists():
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def scratch_clean(*, older_than: timedelta) -> None:
    """Delete unfinished copies and scratch folders that processes left which were killed."""
    oldest = time.time() - older_than.total_seconds()
    for folder in (_fetching_dir(), checking_dir()):
        for path in folder.glob("*"):
            if path.is_dir() and path.stat().st_mtime < oldest:
                shutil.rmtree(path, ignore_errors=True)


def checking_dir() -> Path:
    """Where versions are checked, each in a folder of its own."""
    return Path(settings.HOME) / "cache" / "checking"


def _fetching_dir() -> Path:
    return Path(settings.HOME) / "cache" / "fetching"


def _cached(prefix: str) -> Path:
    return Path(settings.HOME) / "cache" / "storage" / prefix


@contextmanager
def _reaching(*, writing: bool = False) -> Iterator[None]:
    """Tell a store that is away, or will not have us, from a file that is not there and from a full disk of our own."""
    try:
        yield
    except Exception as error:
        if is_local() or not isinstance(error, _failures()) or getattr(error, "errno", None) == errno.ENOSPC:
            raise
        if isinstance(error, FileNotFoundError) and not writing:
            raise
        raise Unavailable(
            say("The file store does not answer: {reason}", reason=str(error)[:300]),
            code="storage_unavailable",
            hint=say("Try again soon. An admin checks STORAGE_URL, the bucket, and the AWS_ variables."),
        ) from error


def _failures() -> tuple[type[Exception], ...]:
    # Known only where S3 is used: the import costs as much as the rest of this file.
    from aiohttp import ClientError as ConnectionFailure
    from botocore.exceptions import BotoCoreError, ClientError

    return (OSError, BotoCoreError, ClientError, ConnectionFailure)
