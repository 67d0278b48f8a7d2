"""Checkpoints that survive a kill, a crash and a full disk: written aside, fsynced, then renamed into place.

    step-<n>/tensors.safetensors   every tensor by name (model, optimizer, random-number state)
    step-<n>/state.json            plain values and the checksum of the tensors; written last

Does not know what the tensors mean. No pickle anywhere.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from modelkit.errors import UserError

log = logging.getLogger(__name__)

TENSORS = "tensors.safetensors"
STATE = "state.json"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint read back. `state` is what `save` was given."""

    path: Path
    step: int
    tensors: dict[str, torch.Tensor]
    state: dict[str, Any]


@contextmanager
def disk_full_is_user_error() -> Iterator[None]:
    """Turns a full disk into UserError `disk_full`, whoever was writing."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        if not full and not any(text in str(error).lower() for text in ("no space left", "file too large")):
            raise
        raise UserError(
            "disk_full",
            "The disk of the worker is full, so nothing more could be saved.",
            "Free space under the data folder, then resume the job: it goes on from its last checkpoint.",
        ) from error


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class CheckpointStore:
    """The checkpoints under `root`: the newest `keep` and the best one."""

    def __init__(self, root: Path, *, keep: int = 2) -> None:
        self.root = root
        self.keep = keep

    def _steps(self) -> list[int]:
        if not self.root.is_dir():
            return []
        names = (path.name.removeprefix("step-") for path in self.root.iterdir() if path.name.startswith("step-"))
        return sorted(int(name) for name in names if name.isdigit())

    def path(self, step: int) -> Path:
        """Where the checkpoint of `step` lies or would lie."""
        return self.root / f"step-{step}"

    def save(
        self, step: int, tensors: Mapping[str, torch.Tensor], state: Mapping[str, Any], *, best_step: int = -1
    ) -> Path:
        """Write a checkpoint durably, then delete those that are neither recent nor the best.

        Raises UserError `disk_full`; older checkpoints are untouched then.
        """
        target = self.path(step)
        temporary = self.root / f".writing-{step}"
        with disk_full_is_user_error():
            self.root.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            try:
                cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
                save_file(cpu, temporary / TENSORS)
                _fsync(temporary / TENSORS)
                body = {"step": step, "sha256": _sha256(temporary / TENSORS), "state": dict(state)}
                (temporary / STATE).write_text(json.dumps(body))
                _fsync(temporary / STATE)
                _fsync(temporary)
                shutil.rmtree(target, ignore_errors=True)
                temporary.rename(target)
                _fsync(self.root)
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise
        self._prune(best_step)
        return target

    def _prune(self, best_step: int) -> None:
        for path in self.root.glob(".writing-*"):  # left by a process that was killed
            shutil.rmtree(path, ignore_errors=True)
        for step in self._steps()[: -self.keep]:
            if step != best_step:
                shutil.rmtree(self.path(step), ignore_errors=True)

    def load(self, step: int) -> Checkpoint | None:
        """The checkpoint of `step`, or None where it is missing or damaged."""
        path = self.path(step)
        try:
            body = json.loads((path / STATE).read_bytes())
            if body["step"] != step or body["sha256"] != _sha256(path / TENSORS):
                raise ValueError("the checksum differs")
            return Checkpoint(path, step, load_file(path / TENSORS), body["state"])
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            log.warning("Checkpoint %s cannot be used: %s", path.name, error)
            return None

    def newest(self) -> Checkpoint | None:
        """The newest checkpoint that is whole; damaged ones are passed over."""
        for step in reversed(self._steps()):
            checkpoint = self.load(step)
            if checkpoint is not None:
                return checkpoint
        return None

    def clear(self) -> None:
        """Delete all of them."""
        shutil.rmtree(self.root, ignore_errors=True)
