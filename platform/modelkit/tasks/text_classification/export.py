"""Writes a trained classifier as a bundle, and proves that the bundle answers as the model did."""

from __future__ import annotations

import copy
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import nn

from modelkit import bundle as bundles
from modelkit.tasks.text_classification import predict
from modelkit.tasks.text_classification.data import Split, collate
from modelkit.tasks.text_classification.model import Classifier
from modelkit.tasks.text_classification.spec import SPEC
from modelkit.training.checkpoints import disk_full_is_user_error

GOLDEN_ROWS = 64
GRAPH = "model.onnx"
TOKENIZER = "tokenizer.json"
OPSET = 17


class _Graph(nn.Module):
    """What the exported graph gives: the logits, and the vector that the head reads, which costs nothing more."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        embedding = self.model.embed(input_ids, attention_mask)
        return self.model.head(embedding), embedding


def write_graph(model: Classifier, path: Path) -> None:
    """Trace the model in float32 to ONNX: `input_ids` and `attention_mask` (rows, tokens) to `logits` (rows, classes)
    and `embedding` (rows, width), unit vectors.

    The tracing exporter: it takes 3 s where the dynamo exporter takes 10, and gives the same figures; that it traced
    what depends on the input is proven by the parity check, whose texts vary in length.
    """
    # A new module is in training mode, and the exporter would put the model back into it.
    graph = _Graph(model).eval()
    # Rows of different length, so that no branch for unpadded input is traced.
    example = collate([[1, 2, 3, 4, 5], [1, 2]], pad_id=0, device="cpu")
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            graph,
            (example["input_ids"], example["attention_mask"]),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=["input_ids", "attention_mask"],
            output_names=["logits", "embedding"],
            dynamic_axes={
                "input_ids": {0: "rows", 1: "tokens"},
                "attention_mask": {0: "rows", 1: "tokens"},
                "logits": {0: "rows"},
                "embedding": {0: "rows"},
            },
        )


def choose_golden(part: Split, seed: int) -> list[str]:
    """At most `GOLDEN_ROWS` different texts: of as many classes as possible, by chance within a class."""
    order = np.random.default_rng(seed).permutation(len(part))
    seen_of_class: dict[int, int] = {}
    ranked: list[tuple[int, int, str]] = []
    for position in order:
        target = int(part.targets[position])
        ranked.append((seen_of_class.get(target, 0), len(ranked), part.texts[position]))
        seen_of_class[target] = seen_of_class.get(target, 0) + 1
    return list(dict.fromkeys(text for _, _, text in sorted(ranked)))[:GOLDEN_ROWS]


def answer_with_model(
    model: Classifier, tokenizer: Tokenizer, pad_id: int, labels: Sequence[str], texts: Sequence[str]
) -> list[dict[str, Any]]:
    """What the torch model in float32 says of each text, one at a time."""
    answers = []
    for tokens in predict.encode_texts(tokenizer, list(texts), pad_id):
        with torch.inference_mode():
            logits = model(**collate([tokens], pad_id, "cpu"))
        row = predict.softmax(logits.numpy())[0]
        scores = dict(zip(labels, row.tolist(), strict=True))
        answers.append({"label": labels[int(row.argmax())], "score": float(row.max()), "scores": scores})
    return answers


def write_bundle(
    target: Path,
    model: Classifier,
    tokenizer: Tokenizer,
    *,
    pad_id: int,
    max_length: int,
    name: str,
    labels: Sequence[str],
    golden_texts: Sequence[str],
    metrics: Mapping[str, float],
    metrics_split: str,
    lineage: Mapping[str, Any],
    write_evaluated: Callable[[Path], None],
) -> bundles.Manifest:
    """Write and seal the bundle folder `target`, replacing what a killed attempt left there.

    `write_evaluated` adds what the model answered for the rows it was measured on.
    """
    model = copy.deepcopy(model).cpu().float().eval()
    with disk_full_is_user_error():
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        write_graph(model, target / GRAPH)
        # The encoder under its own names: the bundle is itself a base model folder, `AutoModel` opens it.
        weights = {name: tensor.contiguous() for name, tensor in model.encoder.state_dict().items()}
        weights |= {
            f"{bundles.HEAD_PREFIX}{name}": tensor.contiguous() for name, tensor in model.head.state_dict().items()
        }
        save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
        model.encoder.config.to_json_file(target / "config.json")
        tokenizer.save(str(target / TOKENIZER))
        shutil.copyfile(predict.__file__, target / bundles.PREDICTOR)
        golden = bundles.Golden(
            inputs=list(golden_texts), outputs=answer_with_model(model, tokenizer, pad_id, labels, golden_texts)
        )
        (target / bundles.GOLDEN).write_text(golden.model_dump_json())
        write_evaluated(target)
        return bundles.seal(
            target,
            bundles.Manifest(
                task=SPEC.name,
                name=name,
                created_at=datetime.now(UTC).isoformat(timespec="seconds"),
                labels=list(labels),
                graph=GRAPH,
                embedding_width=model.head.in_features,
                preprocessing={"tokenizer": TOKENIZER, "max_length": max_length, "pad_id": pad_id},
                request_example={"inputs": list(golden_texts[:2])},
                metrics=dict(metrics),
                metrics_split=metrics_split,
                lineage=dict(lineage),
            ),
        )
