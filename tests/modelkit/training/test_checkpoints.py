"""Checkpoints: durable, checked, few."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from modelkit.errors import UserError
from modelkit.training.checkpoints import CheckpointStore, disk_full_is_user_error

TENSORS = {"model.weight": torch.arange(6.0).reshape(2, 3), "rng": torch.get_rng_state()}

FULL_DISK = """
import resource, sys
from pathlib import Path
import signal, torch
from modelkit.errors import UserError
from modelkit.training.checkpoints import CheckpointStore
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = CheckpointStore(Path(sys.argv[1]))
store.save(1, {"a": torch.zeros(10)}, {})
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    store.save(2, {"a": torch.zeros(100_000)}, {})
except UserError as error:
    print(error.code, store.newest().step, sorted(path.name for path in store.root.iterdir()))
"""


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "checkpoints")


def names(store: CheckpointStore) -> list[str]:
    return sorted(path.name for path in store.root.iterdir())


def test_what_was_saved_is_read_back(store: CheckpointStore) -> None:
    store.save(7, TENSORS, {"best": {"value": 0.5}})
    checkpoint = store.newest()
    assert checkpoint is not None
    assert (checkpoint.step, checkpoint.state) == (7, {"best": {"value": 0.5}})
    for name, tensor in TENSORS.items():
        torch.testing.assert_close(checkpoint.tensors[name], tensor)


def test_the_two_newest_and_the_best_are_kept(store: CheckpointStore) -> None:
    for step in (1, 2, 3, 4, 10):
        store.save(step, TENSORS, {}, best_step=2)
    assert names(store) == ["step-10", "step-2", "step-4"]


def test_saving_a_step_again_replaces_it(store: CheckpointStore) -> None:
    store.save(1, TENSORS, {"n": 1})
    store.save(1, TENSORS, {"n": 2})
    checkpoint = store.newest()
    assert checkpoint is not None
    assert checkpoint.state == {"n": 2}


@pytest.mark.parametrize("file", ["tensors.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "gone"])
def test_a_damaged_checkpoint_is_passed_over(store: CheckpointStore, file: str, damage: str) -> None:
    store.save(1, TENSORS, {})
    store.save(2, TENSORS, {})
    path = store.path(2) / file
    whole = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(whole[:-5] if damage == "cut" else whole[:-9] + bytes([whole[-9] ^ 255]) + whole[-8:])
    checkpoint = store.newest()
    assert checkpoint is not None
    assert checkpoint.step == 1


def test_what_a_killed_process_left_is_no_checkpoint_and_goes(store: CheckpointStore) -> None:
    (store.root / ".writing-9").mkdir(parents=True)
    assert store.newest() is None
    store.save(1, TENSORS, {})
    assert names(store) == ["step-1"]


def test_a_full_disk_is_said_and_spares_the_last_checkpoint(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}\n{FULL_DISK}", str(tmp_path / "full")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "disk_full 1 ['step-1']"


def test_other_errors_of_the_disk_pass_through() -> None:
    with pytest.raises(PermissionError), disk_full_is_user_error():
        raise PermissionError(errno.EACCES, "no")
    with pytest.raises(UserError), disk_full_is_user_error():
        raise OSError(errno.ENOSPC, "full")
