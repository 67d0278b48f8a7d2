"""Rows, batches and the order of an epoch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from modelkit.contracts import BaseModelRef, DatasetRef
from modelkit.errors import UserError
from modelkit.tasks.text_classification import data
from modelkit.tasks.text_classification.model import load_base
from tests.tiny.dataset import write_dataset

LENGTHS = np.random.default_rng(1).integers(3, 60, size=1000)


def test_an_epoch_holds_each_row_once() -> None:
    plan = data.plan_epoch(LENGTHS, 32, seed=0, epoch=0)
    assert sorted(np.concatenate(plan)) == list(range(1000))
    assert max(map(len, plan)) == 32


def test_an_epoch_is_a_function_of_seed_and_number() -> None:
    def flat(seed: int, epoch: int) -> list[int]:
        return list(np.concatenate(data.plan_epoch(LENGTHS, 32, seed=seed, epoch=epoch)))

    assert flat(3, 1) == flat(3, 1)
    assert flat(3, 1) != flat(3, 2)
    assert flat(3, 1) != flat(4, 1)


def test_buckets_leave_little_padding() -> None:
    plan = data.plan_epoch(LENGTHS, 16, seed=0, epoch=0)
    padded = sum(len(rows) * LENGTHS[rows].max() for rows in plan)
    assert padded < 1.1 * LENGTHS.sum()


def test_examples_are_texts_with_their_labels(topics: DatasetRef) -> None:
    ids, inputs, truth = data.examples(topics, "test")
    assert len(set(ids)) == len(inputs) == len(truth) == 24
    assert set(truth) <= {"delivery", "payment", "login", "订单"}


def test_one_class_is_refused(tmp_path: Path) -> None:
    ref = write_dataset(tmp_path, {"train": [("a", "x"), ("b", "x")], "test": [("c", "y")]})
    with pytest.raises(UserError) as caught:
        data.load(ref)
    assert caught.value.code == "one_class"


def test_missing_and_damaged_files_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(UserError) as missing:
        data.load(DatasetRef("gone@1", tmp_path / "gone", ""))
    ref = write_dataset(tmp_path / "there", {"train": [("a", "x"), ("b", "y")]})
    (ref.path / "rows.parquet").write_bytes(b"PAR1 no longer")
    with pytest.raises(UserError) as damaged:
        data.load(ref)
    assert (missing.value.code, damaged.value.code) == ("dataset_missing", "dataset_invalid")


def test_collating_pads_to_the_longest_row_and_masks_it(tiny_base: BaseModelRef) -> None:
    base = load_base(tiny_base, 32)
    ids = data.tokenize(base.tokenizer, ["parcel late", "我 想 取 消 订 单", ""], base.pad_id)
    batch = data.collate(ids, base.pad_id, "cpu")
    assert batch["input_ids"].shape == (3, 8)
    assert batch["attention_mask"].sum(dim=1).tolist() == [4, 8, 2]
    assert (batch["input_ids"][batch["attention_mask"] == 0] == base.pad_id).all()
    shown = data.describe_batch(batch, ["parcel late", "", ""], ["delivery", "订单", "login"], base.tokenizer)
    assert shown[0]["tokens"] == ["[CLS]", "parcel", "late", "[SEP]"]


def test_words_outside_the_vocabulary_are_counted() -> None:
    vocabulary = {"[UNK]": 0, "card": 1, "lost": 2}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    assert data.unknown_fraction(tokenizer, [[1, 2], [0, 1]]) == 0.25
    assert data.unknown_fraction(tokenizer, []) == 0.0
