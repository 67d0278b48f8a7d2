"""Imports of base models: thin tasks over `apps.registry.importing`; fetching, unpacking and copying are done here."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from celery import shared_task
from django.conf import settings

from apps.core import storage
from apps.core.errors import AppError
from apps.jobs.queue import BASE_MODEL_IMPORT, BASE_MODEL_SWEEP
from apps.registry import folders
from apps.registry.base_models import VERSION_FILES
from apps.registry.bundles import bundle_ensure_local
from apps.registry.importing import (
    LEASE,
    base_model_claim,
    base_model_fail,
    base_model_finish,
    base_model_heartbeat,
    base_model_pin,
    base_model_release,
    base_models_sweep,
    folder_of,
    staging_of,
)
from apps.registry.models import BaseModel
from modelkit import archives, bundle
from modelkit.errors import UserError
from workers import stopping
from workers.heartbeat import Pulse, beating

logger = logging.getLogger(__name__)
BEAT_S = min(2.0, LEASE.total_seconds() / 4)
#: How deep in an archive the model's folder may lie: `archive/export/model/config.json`.
_DEPTH = 3


class _LostError(Exception):
    """Another worker has the base model now, or somebody deleted it."""


class _HandOverError(Exception):
    """The worker is asked to stop."""


@shared_task(name=BASE_MODEL_IMPORT, acks_late=False)
def import_base_model(base_model_id: int) -> None:
    """Import a base model. Sent twice, or for one that is done, it does nothing.

    One at a time on a disk: a download lasts, and the queue has other work for its processes. Who finds the place taken
    leaves it to the sweep to send the message again.
    """
    with _only_one() as mine:
        row = base_model_claim(base_model_id) if mine else None
        if row is not None:
            _import(row)


@shared_task(name=BASE_MODEL_SWEEP)
def sweep() -> None:
    """Find imports whose message or worker was lost, or that had to wait."""
    base_models_sweep()


@contextmanager
def _only_one() -> Iterator[bool]:
    folder = Path(settings.BASE_MODELS_DIR)
    folder.mkdir(parents=True, exist_ok=True)
    # The lock dies with the process that holds it.
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def _import(row: BaseModel) -> None:
    staging = staging_of(row)
    try:
        with _heartbeat(row) as pulse:
            facts = _bring(row, staging, pulse)
        if not base_model_finish(row, facts):
            raise _LostError
    except UserError as error:
        logger.info("The import of %s failed: %s", row.name, error.message)
        if row.source != BaseModel.Source.HUB:
            shutil.rmtree(staging, ignore_errors=True)
        base_model_fail(row, error)
    except _HandOverError:
        base_model_release(row, handed_over=True)
    except _LostError:
        _clear_if_gone(row)
    except OSError as error:
        if _clear_if_gone(row):  # its files were deleted under our hands
            return
        if error.errno != errno.ENOSPC:
            base_model_release(row)
            raise
        logger.exception("No space left while importing %s.", row.name)
        shutil.rmtree(staging, ignore_errors=True)
        full = UserError("disk_full", "The server's disk is full.", "Free some space, then try again.")
        base_model_fail(row, full, retry=True)
    except Exception:
        base_model_release(row)
        raise


def _clear_if_gone(row: BaseModel) -> bool:
    """Whether the base model was deleted meanwhile; then nothing of it stays."""
    if BaseModel.objects.filter(pk=row.pk).exists():
        return False
    for folder in (staging_of(row), folder_of(row)):
        shutil.rmtree(folder, ignore_errors=True)
    return True


def _bring(row: BaseModel, staging: Path, pulse: _Pulse) -> folders.FolderFacts:
    """The model's files in their place, checked. What an earlier attempt brought there is taken as it is."""
    folder = folder_of(row)
    if not folder.is_dir():
        root = _SOURCES[row.source](row, staging, pulse)
        folders.inspect_folder(root)
        pulse.check()
        root.rename(folder)
        shutil.rmtree(staging, ignore_errors=True)
    return replace(folders.inspect_folder(folder), path=folder)


# --- sources --------------------------------------------------------------------------------------------------------


def _from_hub(row: BaseModel, staging: Path, pulse: _Pulse) -> Path:
    from workers import hub  # imports an HTTP client that no other task needs

    listing = hub.resolve(row.origin["repo"], row.origin.get("commit") or row.origin["revision"])
    base_model_pin(row, commit=listing.commit, licence=listing.licence, languages=listing.languages)
    pulse.size_bytes = listing.size_bytes
    hub.download(listing, staging, pulse.gain)
    wanted = {file.path for file in listing.files}
    for path in staging.iterdir():
        if path.name not in wanted:  # of another commit
            path.unlink()
    return staging


def _from_archive(row: BaseModel, staging: Path, pulse: _Pulse) -> Path:
    shutil.rmtree(staging, ignore_errors=True)
    pulse.size_bytes = int(row.origin["size_bytes"])
    key = row.origin["key"]
    if storage.is_local():
        archive = storage.local_dir(key)
    else:
        staging.mkdir(parents=True)
        archive = staging / "archive"
        with storage.open_read(key) as remote, archive.open("wb") as local:
            shutil.copyfileobj(remote, local, 1 << 20)
    target = staging / "unpacked"

    def progress(fraction: float) -> None:
        pulse.done = int(fraction * pulse.size_bytes)
        pulse.check()

    archives.unpack(archive, target, archives.Limits(size_bytes=settings.MODEL_LIMIT_BYTES), progress=progress)
    return _model_root(target)


def _model_root(folder: Path) -> Path:
    """The folder with config.json: this one, or the only one in it, and so on."""
    root = folder
    for _level in range(_DEPTH):
        inside = [path for path in root.iterdir() if not path.name.startswith(".") and path.name != "__MACOSX"]
        if (root / folders.CONFIG).is_file() or len(inside) != 1 or not inside[0].is_dir():
            break
        root = inside[0]
    return root


def _from_version(row: BaseModel, staging: Path, pulse: _Pulse) -> Path:
    version = row.source_version
    assert version is not None  # noqa: S101 - rows of this source have one, and it is protected
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        source = bundle_ensure_local(version)
    except AppError as error:
        raise UserError(error.code, error.reason) from error
    pulse.size_bytes = sum((source / name).stat().st_size for name in VERSION_FILES)
    for name in VERSION_FILES:
        if name == "model.safetensors":
            _copy_encoder(source / name, staging / name, pulse)
        else:
            shutil.copyfile(source / name, staging / name)
    _write_tokenizer_config(staging, bundle.read(source))
    return staging


def _copy_encoder(source: Path, target: Path, pulse: _Pulse) -> None:
    """Copy a bundle's weights without its head, which belongs to the labels it was trained on.

    The layout is that of `folders.tensors`: 8 bytes of length, a JSON header with offsets, then the data.
    """
    with source.open("rb") as original, target.open("wb") as copy:
        length = int.from_bytes(original.read(8), "little")
        entries = json.loads(original.read(length))
        metadata = entries.pop("__metadata__", None)
        kept = {name: entry for name, entry in entries.items() if not name.startswith(bundle.HEAD_PREFIX)}
        ranges = sorted((entry["data_offsets"], name) for name, entry in kept.items())
        header: dict[str, object] = {"__metadata__": metadata} if metadata else {}
        end = 0
        for (start, stop), name in ranges:
            header[name] = {**kept[name], "data_offsets": [end, end + stop - start]}
            end += stop - start
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        copy.write(len(text).to_bytes(8, "little") + text)
        for (start, stop), _name in ranges:
            original.seek(8 + length + start)
            left = stop - start
            while block := original.read(min(1 << 20, left)):
                left -= len(block)
                copy.write(block)
                pulse.gain(len(block))


def _write_tokenizer_config(folder: Path, manifest: bundle.Manifest) -> None:
    """Name the padding token; without this file, transformers would guess a tokenizer by the model's type."""
    tokenizer = json.loads((folder / folders.TOKENIZER).read_bytes())
    pad_id = manifest.preprocessing.get("pad_id")
    vocabulary = tokenizer.get("model", {}).get("vocab")
    words = vocabulary.items() if isinstance(vocabulary, dict) else ()
    known = [(word, number) for word, number in words if number == pad_id]
    known += [(token["content"], token["id"]) for token in tokenizer.get("added_tokens", []) if token["id"] == pad_id]
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **({"pad_token": known[-1][0]} if known else {})}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, ensure_ascii=False, indent=2))


_SOURCES: dict[str, Callable[[BaseModel, Path, _Pulse], Path]] = {
    BaseModel.Source.HUB: _from_hub,
    BaseModel.Source.ARCHIVE: _from_archive,
    BaseModel.Source.MODEL_VERSION: _from_version,
}


# --- the claim ------------------------------------------------------------------------------------------------------


@dataclass
class _Pulse(Pulse):
    """How far the import is; a thread tells the database and learns whether the claim still holds."""

    done: int = 0
    size_bytes: int = 0

    @property
    def progress(self) -> float:
        return min(max(self.done / self.size_bytes, 0.0), 1.0) if self.size_bytes else 0.0

    def gain(self, size: int) -> None:
        self.done += size
        self.check()

    def check(self) -> None:
        if self.lost:
            raise _LostError
        if stopping.asked():
            raise _HandOverError


@contextmanager
def _heartbeat(row: BaseModel) -> Iterator[_Pulse]:
    pulse = _Pulse(size_bytes=row.size_bytes)

    def beat() -> bool:
        return base_model_heartbeat(row, progress=pulse.progress, size_bytes=pulse.size_bytes)

    with beating(pulse, beat, of=f"the import of {row.name}", every_s=BEAT_S):
        yield pulse
