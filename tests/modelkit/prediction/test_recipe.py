"""Batch predictions in a child of their own: the answers, the files, and a kill -9 in the middle."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modelkit.jobfolder import JobFolder
from modelkit.prediction.recipe import PART_ROWS, Tally
from tests.modelkit.launching import child_environment
from tests.modelkit.serving.toys import PLUGIN, make_bundle

LABELS = ("card", "refund", "transfer")


def dataset(folder: Path, texts: list[str], *, labels: list[str] | None = None) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    splits = ["train" if place % 4 else "test" for place in range(len(texts))]
    columns = {"row_id": [f"{place}-0" for place in range(len(texts))], "split": splits, "text": texts}
    if labels is not None:
        columns["label"] = labels
    pq.write_table(pa.table(columns), folder / "rows.parquet")
    return {"ref": "tickets@1", "path": str(folder), "digest": "d"}


def job(tmp_path: Path, **spec: Any) -> JobFolder:
    if not (tmp_path / "bundle").exists():
        make_bundle(tmp_path / "bundle")
    folder = JobFolder(tmp_path / "job")
    source = {"ref": "intents@1", "bundle": str(tmp_path / "bundle")}
    folder.create({"kind": "predict", "seed": 0, "task": "toy_words", "source": source, "split": "all"} | spec)
    return folder


def start(folder: JobFolder) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "modelkit.run", str(folder.path), "--threads", "2"]
    environment = child_environment(TUNEYARD_PLUGINS=str(PLUGIN))
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def run(folder: JobFolder) -> dict[str, Any]:
    assert start(folder).wait(60) == 0
    result = folder.result()
    assert result is not None
    return result


def rows_of(folder: JobFolder) -> list[dict[str, Any]]:
    lines = (folder.artifacts_path / "predictions.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_every_row_is_answered_in_its_order_and_compared_with_its_class(tmp_path: Path) -> None:
    texts = [f"{LABELS[place % 3]} " * (1 + place % 7) for place in range(PART_ROWS + 300)]
    labels = [LABELS[place % 3] if place % 10 else "card" for place in range(len(texts))]
    folder = job(tmp_path, dataset=dataset(tmp_path / "rows", texts, labels=labels))
    result = run(folder)
    agree = sum(label == LABELS[place % 3] for place, label in enumerate(labels))
    assert result["outcome"] == "succeeded", result
    assert result["metrics"] == {"rows": len(texts), "accuracy": pytest.approx(agree / len(texts))}
    rows = rows_of(folder)
    assert [row["row"] for row in rows] == [f"{place}-0" for place in range(len(texts))]
    assert [row["label"] for row in rows] == [LABELS[place % 3] for place in range(len(texts))]
    assert [row["expected"] for row in rows] == labels
    with (folder.artifacts_path / "predictions.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [(row["text"], row["label"]) for row in table] == [(row["text"], row["label"]) for row in rows]
    parquet = pq.read_table(folder.artifacts_path / "predictions.parquet")
    assert parquet.column_names == ["row", "split", "text", "expected", "label", "score"]
    assert parquet["label"].to_pylist() == [row["label"] for row in rows]
    shown = json.loads((folder.artifacts_path / "predictions.json").read_text())
    assert (shown["rows"], shown["labelled"], shown["agree"]) == (len(texts), len(texts), agree)
    assert sum(item["rows"] for item in shown["labels"]) == len(texts)
    assert shown["unsure"][0]["score"] == min(row["score"] for row in rows)


def test_one_split_of_a_version_without_classes(tmp_path: Path) -> None:
    folder = job(tmp_path, dataset=dataset(tmp_path / "rows", ["card"] * 10), split="test")
    assert run(folder)["metrics"] == {"rows": 3.0}
    assert {row["split"] for row in rows_of(folder)} == {"test"}
    assert rows_of(folder)[0]["expected"] is None


def test_a_user_s_file_in_another_encoding(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes("id;Nachricht\n1;card für mich\n\n2;refund bitte\n".encode("cp1252"))
    file = {"path": str(path), "name": "file.csv", "mapping": {"text": "Nachricht"}, "options": {"encoding": "cp1252"}}
    folder = job(tmp_path, file=file)
    assert run(folder)["outcome"] == "succeeded"
    assert [(row["row"], row["text"], row["label"]) for row in rows_of(folder)] == [
        ("2", "card für mich", "card"),
        ("4", "refund bitte", "refund"),
    ]


def test_an_empty_split_fails_with_a_remedy(tmp_path: Path) -> None:
    folder = job(tmp_path, dataset=dataset(tmp_path / "rows", ["card"]), split="validation")
    result = run(folder)
    assert (result["outcome"], result["error"]["code"]) == ("failed", "no_rows")


def test_a_killed_child_goes_on_after_the_last_part(tmp_path: Path) -> None:
    texts = ["card"] * PART_ROWS + ["refund {sleep}"] + ["refund"] * 99
    folder = job(tmp_path, dataset=dataset(tmp_path / "rows", texts))
    part = folder.checkpoints_path / "parts" / "000000.parquet"
    child = start(folder)
    until = time.monotonic() + 60
    while not part.exists():
        assert time.monotonic() < until, "the first part never came"
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert folder.result() is None
    before = part.stat().st_ino
    assert run(folder)["outcome"] == "succeeded"
    assert part.stat().st_ino == before, "the part was made again"
    assert [row["label"] for row in rows_of(folder)] == ["card"] * PART_ROWS + ["refund"] * 100


def test_a_cancel_ends_it_between_two_chunks(tmp_path: Path) -> None:
    folder = job(tmp_path, dataset=dataset(tmp_path / "rows", [f"refund {'{sleep}'}{'x' * n}" for n in range(2000)]))
    child = start(folder)
    until = time.monotonic() + 60
    while not any(event.get("name") == "predicting" for event in folder.iter_events()):
        assert time.monotonic() < until, "it never began"
        time.sleep(0.01)
    folder.request_stop("cancel")
    assert child.wait(60) == 0
    result = folder.result()
    assert result is not None
    assert result["outcome"] == "cancelled"
    assert not list((folder.checkpoints_path / "parts").glob("*.parquet"))


def test_the_least_sure_are_kept_in_order() -> None:
    tally = Tally()
    for score in (0.9, 0.1, 0.5, *([0.99] * 50), 0.05):
        tally.add({"row": "1", "split": None, "text": "a", "expected": None, "label": "b", "score": score})
    assert [row["score"] for row in tally.as_json()["unsure"]][:4] == [0.05, 0.1, 0.5, 0.9]
