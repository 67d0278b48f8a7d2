"""Dataset versions in the stored layout, without the upload that makes them."""

from __future__ import annotations

import csv
import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from modelkit.contracts import DatasetRef

TOPICS = {
    "delivery": "parcel late courier delivery arrived tracking box shipped",
    "payment": "card charged refund money bank invoice paid price",
    "login": "password account locked login code email reset signin",
    "订单": "我 想 取 消 订 单 退 货",
}
FILLER = "my the a is was please help me with about today again"

Rows = Sequence[tuple[str, str]]


def topic_words() -> list[str]:
    """Every word that `topic_rows` uses."""
    return " ".join([*TOPICS.values(), FILLER]).split()


def topic_rows(count: int, *, seed: int = 0) -> list[tuple[str, str]]:
    """`count` different texts of four easily told topics, as (text, label)."""
    chance = random.Random(seed)
    rows: dict[str, str] = {}
    while len(rows) < count:
        label = chance.choice(list(TOPICS))
        words = chance.sample(TOPICS[label].split(), chance.randint(1, 4))
        words += chance.choices(FILLER.split(), k=chance.randint(0, 9))
        chance.shuffle(words)
        rows.setdefault(" ".join(words), label)
    return list(rows.items())


def write_dataset(folder: Path, splits: Mapping[str, Rows], *, ref: str = "topics@1") -> DatasetRef:
    """Write `rows.parquet` and `dataset.json` of a text-classification version."""
    folder.mkdir(parents=True, exist_ok=True)
    seen: dict[str, int] = {}
    table: dict[str, list[object]] = {name: [] for name in ("row_id", "position", "source", "split", "text", "label")}
    for split in ("train", "validation", "test"):
        for position, (text, label) in enumerate(splits.get(split, ())):
            content = hashlib.sha256(f"{text}\0{label}".encode()).hexdigest()[:16]
            seen[content] = seen.get(content, 0) + 1
            row = (f"{content}-{seen[content]}", position, f"{split}.csv", split, text, label)
            for name, value in zip(table, row, strict=True):
                table[name].append(value)
    pq.write_table(pa.table(table), folder / "rows.parquet", compression="zstd", row_group_size=10_000)
    digest = hashlib.sha256((folder / "rows.parquet").read_bytes()).hexdigest()
    about = {
        "format": 1,
        "task": "text_classification",
        "columns": {"text": "string", "label": "string"},
        "labels": sorted({label for rows in splits.values() for _, label in rows}),
        "splits": {split: len(splits.get(split, ())) for split in ("train", "validation", "test")},
        "rows": len(table["text"]),
        "mapping": {"text": "text", "label": "label"},
        "digest": digest,
    }
    (folder / "dataset.json").write_text(json.dumps(about))
    return DatasetRef(ref=ref, path=folder, digest=digest)


def write_topics(folder: Path, *, train: int = 96, validation: int = 24, test: int = 24, seed: int = 0) -> DatasetRef:
    """A version of `topic_rows`."""
    rows = topic_rows(train + validation + test, seed=seed)
    return write_dataset(
        folder,
        {
            "train": rows[:train],
            "validation": rows[train : train + validation],
            "test": rows[train + validation :],
        },
    )


def write_banking77(folder: Path, source: Path) -> DatasetRef:
    """Banking77 with its own test part; a tenth of train, chosen by a hash of the text, becomes validation."""

    def read(name: str) -> list[tuple[str, str]]:
        with (source / name).open(encoding="utf-8", newline="") as file:
            return [(row["text"].strip(), row["category"]) for row in csv.DictReader(file)]

    def held_out(text: str) -> bool:
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % 10 == 0

    rows = read("train.csv")
    splits = {
        "train": [row for row in rows if not held_out(row[0])],
        "validation": [row for row in rows if held_out(row[0])],
        "test": read("test.csv"),
    }
    return write_dataset(folder, splits, ref="banking77@1")
