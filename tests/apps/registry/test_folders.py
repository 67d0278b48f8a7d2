"""What a Hugging Face folder must be to come in, on real folders and on each way to be wrong."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from apps.registry import folders
from modelkit.errors import UserError


@pytest.fixture
def llama(shared_models: Path, tmp_path: Path) -> Path:
    """A copy of a real model folder, to be spoilt."""
    return Path(shutil.copytree(shared_models / "stories260k-llama", tmp_path / "models" / "stories"))


def safetensors(path: Path, shape: tuple[int, ...] = (2, 3)) -> None:
    count = 1
    for length in shape:
        count *= length
    header = json.dumps({"w": {"dtype": "F32", "shape": shape, "data_offsets": [0, 4 * count]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 4 * count)


def test_a_real_folder_says_what_it_holds(shared_models: Path) -> None:
    facts = folders.inspect(str(shared_models / "stories260k-llama"), [shared_models])
    assert facts.model_type == "llama"
    assert facts.modality == "text"
    assert 200_000 < facts.parameters < 400_000
    assert facts.size_bytes > 4 * 200_000 / 2
    assert len(facts.revision) == 64


def test_parameters_equal_what_the_library_reads(shared_models: Path) -> None:
    safe_open = pytest.importorskip("safetensors").safe_open
    path = shared_models / "mobilenet-v2-imagenet" / "model.safetensors"
    with safe_open(path, "np") as file:
        expected = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    assert {name: tuple(shape) for name, (_dtype, shape) in folders.tensors(path).items()} == expected


def test_the_revision_follows_the_content(llama: Path) -> None:
    before = folders.inspect(str(llama), [llama.parent]).revision
    assert folders.inspect(str(llama), [llama.parent]).revision == before
    (llama / "generation_config.json").write_text("{}")
    assert folders.inspect(str(llama), [llama.parent]).revision != before


def _pickle(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04")


def _pointer(folder: Path) -> None:
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")


def _truncated(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-10])


def _huge_header(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 1 << 62) + b"{}")


def _shard_missing(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-00001-of-00002.safetensors"}}')


def _code(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "modeling.Evil"}}))


def _link_out(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to("/etc/hostname")


def _folder_link_out(folder: Path) -> None:
    (folder / "extra").symlink_to("/etc")


def _many(folder: Path) -> None:
    for number in range(folders.MAX_FILES + 1):
        (folder / f"{number}.txt").touch()


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda folder: (folder / "config.json").unlink(), "config_missing"),
        (lambda folder: (folder / "config.json").write_text("{"), "config_invalid"),
        (lambda folder: (folder / "config.json").write_text("[]"), "config_invalid"),
        (lambda folder: (folder / "config.json").write_text("{}"), "config_invalid"),
        (lambda folder: (folder / "config.json").write_text("[" * 100_000), "config_invalid"),
        (_pickle, "pickle_weights"),
        (lambda folder: (folder / "model.safetensors").unlink(), "weights_missing"),
        (_shard_missing, "weights_missing"),
        (_pointer, "weights_damaged"),
        (_truncated, "weights_damaged"),
        (_huge_header, "weights_damaged"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer_missing"),
        (_code, "remote_code"),
        (_link_out, "path_escapes"),
        (_folder_link_out, "path_escapes"),
        (_many, "too_many_files"),
    ],
)
def test_a_wrong_folder_is_refused_with_its_reason(llama: Path, spoil: Callable[[Path], object], code: str) -> None:
    spoil(llama)
    with pytest.raises(UserError) as caught:
        folders.inspect(str(llama), [llama.parent])
    assert caught.value.code == code
    assert caught.value.field == "source.path"


def test_a_link_inside_the_folder_is_fine(llama: Path) -> None:
    (llama / "weights").mkdir()
    (llama / "model.safetensors").rename(llama / "weights" / "real.safetensors")
    (llama / "model.safetensors").symlink_to(llama / "weights" / "real.safetensors")
    assert folders.inspect(str(llama), [llama.parent]).parameters > 0


@pytest.mark.parametrize("path", ["/etc", "{root}/../outside", "{root}/link", "relative", "", "{root}2"])
def test_only_allowed_folders_are_looked_at(tmp_path: Path, path: str) -> None:
    root = tmp_path / "models"
    root.mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "models2").mkdir()
    (root / "link").symlink_to(tmp_path / "outside")
    with pytest.raises(UserError) as caught:
        folders.inspect(path.format(root=root), [root])
    assert caught.value.code in {"path_not_allowed", "path_not_absolute"}


def test_a_refusal_does_not_tell_what_exists_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(UserError) as there:
        folders.inspect("/etc/passwd", [tmp_path])
    with pytest.raises(UserError) as absent:
        folders.inspect("/etc/absent", [tmp_path])
    assert there.value.code == absent.value.code
    assert str(there.value).replace("passwd", "") == str(absent.value).replace("absent", "")


def test_counts_shapes_of_any_rank(tmp_path: Path) -> None:
    safetensors(tmp_path / "a.safetensors", (2, 3, 4))
    assert folders.tensors(tmp_path / "a.safetensors") == {"w": ("F32", [2, 3, 4])}
