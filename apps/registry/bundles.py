"""The local, content-addressed copies of bundles: found, checked, fetched anew from MLflow, and handed out as zip."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings

from apps.core.errors import Conflict, Unavailable
from apps.registry import mlflow_gateway
from apps.registry.models import ModelVersion
from modelkit import bundle
from modelkit.errors import UserError
from modelkit.wording import say

_BLOCK = 1 << 20


def bundle_ensure_local(version: ModelVersion) -> Path:
    """The version's bundle on this machine, every file checked; one absent or damaged is fetched from MLflow.

    Raises Unavailable while MLflow is needed and down, Conflict where MLflow has no whole copy either.
    """
    target = settings.BUNDLES_DIR / version.bundle_digest
    if _is_whole(target, version.bundle_digest):
        return Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder, so that the rename is atomic; a crash leaves a dot folder, never half a bundle.
    partial = Path(tempfile.mkdtemp(prefix=f".{version.bundle_digest[:12]}-", dir=target.parent))
    try:
        _fetch(version, partial)
        partial.chmod(0o755)
        _replace(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    if not _is_whole(target, version.bundle_digest):
        raise _lost(version)
    return Path(target)


def bundle_zip(version: ModelVersion) -> Iterator[bytes]:
    """The bundle as the blocks of a zip file, made while it is sent, so that no copy is held in memory or on disk."""
    folder = bundle_ensure_local(version)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    root = f"{version.model.name}-{version.number}"
    return _zip(files, folder, root)


def bundle_forget(digest: str) -> None:
    """Remove the local copy unless a version still has this digest."""
    if digest and not ModelVersion.objects.filter(bundle_digest=digest).exists():
        shutil.rmtree(settings.BUNDLES_DIR / digest, ignore_errors=True)


def _is_whole(folder: Path, digest: str) -> bool:
    try:
        manifest = bundle.verify(folder)
    except UserError:
        return False
    return manifest.digest == digest


def _fetch(version: ModelVersion, folder: Path) -> None:
    name = mlflow_gateway.registered_name(version.model.workspace.name, version.model.name)
    try:
        _download(name, version.number, bundle.MANIFEST, folder)
        manifest = bundle.read(folder)
        if manifest.digest != version.bundle_digest:
            raise _lost(version)
        for file in manifest.files:
            _download(name, version.number, file.path, folder)
        bundle.verify(folder)
    except mlflow_gateway.MlflowNotFound:
        raise _lost(version) from None
    except mlflow_gateway.MlflowUnavailable as error:
        raise Unavailable(
            say("The files of {ref} are not on this machine, and MLflow, which has them, is down.", ref=version.ref),
            code="mlflow_unavailable",
            hint=say("Try again when MLflow answers; the log of the process mlflow says why it does not."),
        ) from error
    except UserError:
        raise _lost(version) from None


def _download(name: str, number: int, path: str, folder: Path) -> None:
    target = folder / path
    if folder.resolve() not in target.resolve().parents:
        raise UserError("bundle_invalid", "{path} leads out of the bundle.", path=path)
    mlflow_gateway.artifact_download(name, number, f"{mlflow_gateway.BUNDLE_PATH}/{path}", target)


def _replace(partial: Path, target: Path) -> None:
    if target.exists():
        # Damaged, or another process was faster: either way a whole copy takes its place.
        aside = Path(tempfile.mkdtemp(prefix=".old-", dir=target.parent))
        with contextlib.suppress(FileNotFoundError):
            target.replace(aside / "bundle")
        shutil.rmtree(aside, ignore_errors=True)
    with contextlib.suppress(OSError):  # another process put a whole one there in between
        partial.rename(target)


def _lost(version: ModelVersion) -> Conflict:
    return Conflict(
        say("The files of {ref} are damaged here, and MLflow has no whole copy.", ref=version.ref),
        code="bundle_damaged",
        hint=say("Train or compress it again, or restore the data folder from a backup."),
    )


class _Sink:
    """A write-only file whose content is taken away block by block."""

    def __init__(self) -> None:
        self._blocks: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._blocks.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        return None

    def take(self) -> bytes:
        content = b"".join(self._blocks)
        self._blocks.clear()
        return content


def _zip(files: list[Path], folder: Path, root: str) -> Iterator[bytes]:
    sink = _Sink()
    # Stored: weights do not compress, and a stored file streams at the speed of the disk.
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:  # type: ignore[call-overload]
        for path in files:
            info = zipfile.ZipInfo.from_file(
                path, f"{root}/{path.relative_to(folder).as_posix()}", strict_timestamps=False
            )
            with path.open("rb") as source, archive.open(info, "w") as entry:
                while block := source.read(_BLOCK):
                    entry.write(block)
                    yield sink.take()
    yield sink.take()
