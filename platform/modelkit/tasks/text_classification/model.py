"""The classifier: any Hugging Face encoder, mean pooling, L2 normalisation and a linear head.

One function for Instant and for full fine-tuning, so that the one can start where the other ends.
Mean pooling of normalised sentence embeddings: Reimers and Gurevych, Sentence-BERT, 2019.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import nn
from transformers import AutoModel, AutoTokenizer

# The bundled base model's own modules, which AutoModel would look up at the first load: that costs seconds, and the
# launcher imports this file before there is a job that would wait for them.
from transformers.models.bert import modeling_bert  # noqa: F401
from transformers.utils import logging as transformers_logging

from modelkit.contracts import BaseModelRef
from modelkit.errors import UserError

log = logging.getLogger(__name__)
transformers_logging.disable_progress_bar()

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
#: Any of these lets transformers build a tokenizer. With none it builds an empty one without a word of warning.
_VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")
_HINT = "Choose a Hugging Face folder of a text encoder with config.json, tokenizer and model.safetensors."


@dataclass(frozen=True)
class Base:
    """A loaded base model. `tokenizer` cuts at the wanted length and never pads."""

    encoder: nn.Module
    tokenizer: Tokenizer
    pad_id: int
    width: int


class Classifier(nn.Module):
    """Logits of each class for padded token ids. Shapes: (rows, tokens) in, (rows, classes) out."""

    def __init__(self, encoder: nn.Module, width: int, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(width, classes)

    def embed(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Unit vectors (rows, width) in float32: the mean over real tokens of the last layer."""
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state.float()
        weights = attention_mask.unsqueeze(-1).to(hidden.dtype)
        mean = (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1.0)
        return nn.functional.normalize(mean, dim=-1)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        embeddings = self.embed(input_ids, attention_mask)
        with torch.autocast(embeddings.device.type, enabled=False):
            logits: torch.Tensor = self.head(embeddings)
        return logits


_LOCAL: Mapping[str, Any] = {"local_files_only": True, "trust_remote_code": False}


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except FileNotFoundError:
        raise UserError(
            "base_model_invalid", "{folder} has no config.json.", _HINT, field="base_model", folder=folder.name
        ) from None
    except ValueError as error:
        raise UserError(
            "base_model_invalid",
            "config.json of {folder} is no JSON: {error}",
            _HINT,
            field="base_model",
            folder=folder.name,
            error=error,
        ) from None
    if not isinstance(config, dict) or "model_type" not in config:
        raise UserError(
            "base_model_invalid",
            "config.json of {folder} names no model_type.",
            _HINT,
            field="base_model",
            folder=folder.name,
        )
    if "auto_map" in config:
        raise UserError(
            "remote_code",
            "{folder} brings Python code of its own, which is never run here.",
            "Choose a model whose architecture transformers knows.",
            field="base_model",
            folder=folder.name,
        )
    return config


def _check_weights(folder: Path) -> None:
    if any(folder.glob("*.safetensors")):
        return
    pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
    if pickles:
        raise UserError(
            "pickle_weights",
            "{folder} holds its weights as {name}, a pickle, which can run code when it is opened.",
            "Convert the weights to model.safetensors, then add the folder again.",
            field="base_model",
            folder=folder.name,
            name=pickles[0],
        )
    raise UserError(
        "base_model_invalid", "{folder} has no model.safetensors.", _HINT, field="base_model", folder=folder.name
    )


def _check_tokenizer(folder: Path) -> None:
    if not any(any(folder.glob(pattern)) for pattern in _VOCABULARIES):
        raise UserError(
            "base_model_invalid",
            "{folder} has no tokenizer: neither tokenizer.json nor a vocabulary.",
            _HINT,
            field="base_model",
            folder=folder.name,
        )


def load_base(ref: BaseModelRef, max_length: int) -> Base:
    """Open a Hugging Face folder: safetensors only, no code of its own, no network.

    Raises UserError `base_model_invalid`, `base_model_unsupported`, `pickle_weights`, `remote_code` or
    `max_length_unsupported`.
    """
    folder = ref.path
    config = _read_config(folder)
    _check_weights(folder)
    if config.get("is_encoder_decoder"):
        raise UserError(
            "base_model_unsupported", "{model} is an encoder with a decoder.", _HINT, field="base_model", model=ref.id
        )
    tokenizer, pad_id = load_tokenizer(ref, max_length)
    try:
        encoder, report = AutoModel.from_pretrained(
            folder, use_safetensors=True, dtype=torch.float32, output_loading_info=True, **_LOCAL
        )
    except Exception as error:  # transformers raises whatever the damaged file provokes
        log.info("Loading %s failed", ref.id, exc_info=True)
        raise UserError(
            "base_model_invalid",
            "{model} cannot be loaded: {error}",
            _HINT,
            field="base_model",
            model=ref.id,
            error=str(error).splitlines()[0],
        ) from error
    missing = [name for name in report["missing_keys"] if "pooler" not in name]
    if missing:
        raise UserError(
            "base_model_invalid",
            "The weights of {model} lack {count} of its tensors, the first being {first}.",
            _HINT,
            field="base_model",
            model=ref.id,
            count=len(missing),
            first=missing[0],
        )
    width = getattr(encoder.config, "hidden_size", None)
    if width is None:
        raise UserError(
            "base_model_unsupported", "{model} is no text encoder.", _HINT, field="base_model", model=ref.id
        )
    return Base(encoder, tokenizer, pad_id=pad_id, width=width)


def load_tokenizer(ref: BaseModelRef, max_length: int) -> tuple[Tokenizer, int]:
    """The tokenizer of a Hugging Face folder, cutting at `max_length` and never padding, and the id that pads.

    Raises UserError `base_model_invalid`, `base_model_unsupported`, `remote_code` or `max_length_unsupported`.
    """
    config = _read_config(ref.path)
    _check_tokenizer(ref.path)
    positions = config.get("max_position_embeddings")
    # RoBERTa and its kin start counting positions after the padding index.
    usable = positions - (config.get("pad_token_id") or 0) - 1 if positions == 514 else positions
    if isinstance(usable, int) and max_length > usable:
        raise UserError(
            "max_length_unsupported",
            "{model} reads at most {usable} tokens, fewer than the {max_length} asked for.",
            "Set the longest text to {usable} or less.",
            field="params.max_length",
            model=ref.id,
            usable=usable,
            max_length=max_length,
        )
    try:
        fast = AutoTokenizer.from_pretrained(ref.path, **_LOCAL)
    except Exception as error:  # transformers raises whatever the damaged file provokes
        log.info("The tokenizer of %s failed", ref.id, exc_info=True)
        raise UserError(
            "base_model_invalid",
            "The tokenizer of {model} cannot be loaded: {error}",
            _HINT,
            field="base_model",
            model=ref.id,
            error=str(error).splitlines()[0],
        ) from error
    backend = getattr(fast, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        raise UserError(
            "base_model_unsupported", "{model} is no text encoder.", _HINT, field="base_model", model=ref.id
        )
    # A copy by way of its file format: exactly what the bundle will hold.
    tokenizer = Tokenizer.from_str(backend.to_str())
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length)
    return tokenizer, fast.pad_token_id or 0


def freeze_embeddings(encoder: nn.Module) -> None:
    """Take the word embedding table out of training."""
    for parameter in encoder.get_input_embeddings().parameters():
        parameter.requires_grad_(False)


def parameter_groups(
    model: Classifier, *, learning_rate: float, head_learning_rate: float, weight_decay: float
) -> list[dict[str, Any]]:
    """Groups for AdamW; `peak` is each group's highest learning rate. Vectors (biases, norms) do not decay."""
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    # A pooler gets no gradient, so it must not be in the optimizer's state either.
    named = [(name, parameter) for name, parameter in named if ".pooler." not in name]
    groups = []
    for part, peak in (("encoder.", learning_rate), ("head.", head_learning_rate)):
        own = [parameter for name, parameter in named if name.startswith(part)]
        for parameters, decay in (
            ([p for p in own if p.ndim > 1], weight_decay),
            ([p for p in own if p.ndim <= 1], 0.0),
        ):
            if parameters:
                groups.append({"params": parameters, "lr": 0.0, "peak": peak, "weight_decay": decay})
    return groups
