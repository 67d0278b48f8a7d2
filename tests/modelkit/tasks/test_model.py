"""Which folders become an encoder, and why the others do not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from modelkit.contracts import BaseModelRef
from modelkit.errors import UserError
from modelkit.tasks.text_classification.model import Classifier, freeze_embeddings, load_base, parameter_groups


@pytest.fixture
def folder(tmp_path: Path, tiny_base: BaseModelRef) -> Path:
    return Path(shutil.copytree(tiny_base.path, tmp_path / "model"))


def refusal(folder: Path, max_length: int = 32) -> UserError:
    with pytest.raises(UserError) as caught:
        load_base(BaseModelRef("mine", folder, "1"), max_length)
    assert caught.value.field
    assert caught.value.hint
    return caught.value


def test_pickled_weights_are_refused_unopened(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04never opened")
    error = refusal(folder)
    assert error.code == "pickle_weights"
    assert "pytorch_model.bin" in error.message


def test_a_folder_without_config_is_refused(folder: Path) -> None:
    (folder / "config.json").unlink()
    assert refusal(folder).code == "base_model_invalid"


def test_a_folder_without_tokenizer_is_refused(folder: Path) -> None:
    for path in folder.glob("*token*"):
        path.unlink()
    assert refusal(folder).code == "base_model_invalid"


def test_code_that_comes_with_a_model_is_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "evil.Model"}}))
    assert refusal(folder).code == "remote_code"


def test_weights_that_lack_tensors_are_refused_not_made_up(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if "layer.1" not in name}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    error = refusal(folder)
    assert error.code == "base_model_invalid"
    assert "layer.1" in error.message


def test_damaged_weights_are_refused(folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    assert refusal(folder).code == "base_model_invalid"


def test_more_tokens_than_positions_are_refused(folder: Path) -> None:
    error = refusal(folder, max_length=65)
    assert (error.code, error.field) == ("max_length_unsupported", "params.max_length")


def test_an_image_model_is_no_text_encoder(shared_models: Path) -> None:
    assert refusal(shared_models / "mobilenet-v2-imagenet").code.startswith("base_model_")


def test_padding_in_the_file_is_ignored(tiny_base: BaseModelRef) -> None:
    base = load_base(tiny_base, 8)
    assert len(base.tokenizer.encode("parcel").ids) == 3
    assert len(base.tokenizer.encode("parcel " * 20).ids) == 8


def test_padding_changes_no_answer(tiny_base: BaseModelRef) -> None:
    base = load_base(tiny_base, 32)
    model = Classifier(base.encoder, base.width, 3).eval()
    ids = torch.tensor([[2, 5, 6, 3]])
    padded = torch.nn.functional.pad(ids, (0, 5))
    with torch.inference_mode():
        alone = model(ids, torch.ones_like(ids))
        among = model(padded, (torch.arange(9) < 4).long()[None])
    torch.testing.assert_close(alone, among)
    torch.testing.assert_close(model.embed(ids, torch.ones_like(ids)).norm(dim=-1), torch.ones(1))


def test_groups_leave_out_what_is_frozen_and_spare_vectors_from_decay(tiny_base: BaseModelRef) -> None:
    base = load_base(tiny_base, 32)
    model = Classifier(base.encoder, base.width, 3)
    freeze_embeddings(model.encoder)
    groups = parameter_groups(model, learning_rate=1e-4, head_learning_rate=1e-3, weight_decay=0.1)
    chosen = {id(parameter) for group in groups for parameter in group["params"]}
    names = {name for name, parameter in model.named_parameters() if id(parameter) in chosen}
    assert not any("word_embeddings" in name or "pooler" in name for name in names)
    assert "head.weight" in names
    assert all(parameter.ndim > 1 for group in groups if group["weight_decay"] for parameter in group["params"])
    assert {group["peak"] for group in groups} == {1e-4, 1e-3}
