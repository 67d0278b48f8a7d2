"""Rows of a dataset version as token ids, and the batches that training takes from them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from modelkit.contracts import DatasetRef
from modelkit.errors import UserError
from modelkit.tasks.text_classification.predict import encode_texts, pad_rows

#: Batches that are shuffled together and sorted by length within: enough to keep padding low and order random.
BUCKET_BATCHES = 50
TOKENIZE_ROWS = 4096
#: How vocabularies name what they do not hold; those with byte fallback have no such token.
UNKNOWN_TOKENS = ("[UNK]", "<unk>")


@dataclass(frozen=True)
class Split:
    """One split: `targets[i]` is the index of the label of `texts[i]`."""

    row_ids: list[str]
    texts: list[str]
    targets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True)
class Dataset:
    """A dataset version in memory. Splits without rows are present and empty."""

    labels: list[str]
    train: Split
    validation: Split
    test: Split


def load(ref: DatasetRef) -> Dataset:
    """Read a version; raises UserError `dataset_missing`, `dataset_invalid`, `one_class` or `no_training_rows`."""
    try:
        about = json.loads((ref.path / "dataset.json").read_bytes())
        table = pq.read_table(ref.path / "rows.parquet", columns=["row_id", "split", "text", "label"])
    except FileNotFoundError as error:
        raise UserError(
            "dataset_missing",
            "The files of {ref} are not there: {file}.",
            "Upload the dataset again.",
            ref=ref.ref,
            file=error.filename,
        ) from None
    except (ValueError, OSError) as error:
        raise UserError(
            "dataset_invalid",
            "The files of {ref} cannot be read: {error}",
            "Upload the dataset again.",
            ref=ref.ref,
            error=error,
        ) from None
    labels: list[str] = about["labels"]
    index = {label: position for position, label in enumerate(labels)}
    splits: dict[str, tuple[list[str], list[str], list[int]]] = {}
    for row_id, split, text, label in zip(*(column.to_pylist() for column in table.columns), strict=True):
        row_ids, texts, targets = splits.setdefault(split, ([], [], []))
        row_ids.append(row_id)
        texts.append(text)
        targets.append(index[label])
    parts = {
        name: Split(*splits.get(name, ([], []))[:2], np.array(splits.get(name, ([], [], []))[2], dtype=np.int64))
        for name in ("train", "validation", "test")
    }
    dataset = Dataset(labels, **parts)
    if not len(dataset.train):
        raise UserError(
            "no_training_rows", "{ref} has no rows to train on.", "Upload a file with more rows.", ref=ref.ref
        )
    if len(np.unique(dataset.train.targets)) < 2:
        raise UserError(
            "one_class",
            "All training rows of {ref} carry one label, so there is nothing to tell apart.",
            "Map the right column to the label, or add rows of a second class.",
            ref=ref.ref,
        )
    return dataset


def examples(ref: DatasetRef, split: str) -> tuple[list[str], list[Any], list[Any]]:
    """The ids of a split's rows, inputs for a `Predictor`, and the true labels as `metrics.score` takes them."""
    dataset = load(ref)
    part: Split = getattr(dataset, split)
    return list(part.row_ids), list(part.texts), [dataset.labels[target] for target in part.targets]


def tokenize(tokenizer: Tokenizer, texts: Sequence[str], pad_id: int) -> list[list[int]]:
    """Token ids of each text, in blocks, so that encodings of a large dataset never sit in memory together."""
    ids: list[list[int]] = []
    for start in range(0, len(texts), TOKENIZE_ROWS):
        ids += encode_texts(tokenizer, list(texts[start : start + TOKENIZE_ROWS]), pad_id)
    return ids


def unknown_fraction(tokenizer: Tokenizer, ids: Sequence[Sequence[int]]) -> float:
    """The part of all tokens that stand for a word outside the vocabulary, 0 to 1."""
    unknown = {tokenizer.token_to_id(token) for token in UNKNOWN_TOKENS} - {None}
    return sum(token in unknown for row in ids for token in row) / max(1, sum(map(len, ids)))


def plan_epoch(lengths: NDArray[np.int64], rows: int, *, seed: int, epoch: int) -> list[NDArray[np.int64]]:
    """The updates of an epoch, each the positions of at most `rows` rows of similar length, in random order.

    A function of its arguments only: a resumed run finds the same plan and goes on in the middle of it.
    """
    generator = np.random.default_rng((seed, epoch))
    order = generator.permutation(len(lengths))
    updates: list[NDArray[np.int64]] = []
    for start in range(0, len(order), rows * BUCKET_BATCHES):
        bucket = order[start : start + rows * BUCKET_BATCHES]
        bucket = bucket[np.argsort(lengths[bucket], kind="stable")]
        updates += [bucket[cut : cut + rows] for cut in range(0, len(bucket), rows)]
    generator.shuffle(updates)
    return updates


def by_length(lengths: NDArray[np.int64], rows: int) -> Iterator[NDArray[np.int64]]:
    """All positions in batches of similar length, the longest first, so that memory runs out early or never."""
    order = np.argsort(-lengths, kind="stable")
    for start in range(0, len(order), rows):
        yield order[start : start + rows]


def collate(ids: Sequence[Sequence[int]], pad_id: int, device: str) -> dict[str, torch.Tensor]:
    """Padded `input_ids` and `attention_mask` on `device`, no wider than the longest row."""
    input_ids, attention_mask = pad_rows(ids, pad_id)
    return {
        "input_ids": torch.from_numpy(input_ids).to(device),
        "attention_mask": torch.from_numpy(attention_mask).to(device),
    }


def describe_batch(
    batch: Mapping[str, torch.Tensor], texts: Sequence[str], labels: Sequence[str], tokenizer: Tokenizer
) -> list[dict[str, Any]]:
    """What the model sees of each row: read back from the collated tensors, not from the texts."""
    rows = []
    for text, label, ids, mask in zip(texts, labels, batch["input_ids"], batch["attention_mask"], strict=True):
        tokens = [tokenizer.id_to_token(int(token)) for token in ids[mask.bool()]]
        rows.append({"text": text, "tokens": tokens, "label": label})
    return rows
