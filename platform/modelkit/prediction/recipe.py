"""A batch prediction from top to bottom: rows in parts, each part's answers on disk, then the files. Heavy (pyarrow).

A part is written whole or not at all, so an attempt that resumes skips the parts that are there. Within a part texts
run in the order of their lengths, on as many threads as the job has.
"""

from __future__ import annotations

import csv
import heapq
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from modelkit import bundle as bundles
from modelkit import catalog
from modelkit.contracts import DatasetRef, Predictor, RunContext, TaskSpec
from modelkit.errors import Stopped, UserError
from modelkit.prediction import inputs
from modelkit.prediction.inputs import FileRef, Inputs, Split
from modelkit.training.checkpoints import disk_full_is_user_error

#: What a kill costs at most, in rows; and how often progress is safe.
PART_ROWS = 2048
#: Rows that one thread answers before it looks whether it shall stop.
CHUNK_ROWS = 64
#: Rows that the job's page shows, and those with the lowest scores.
SHOWN_ROWS = 20
SCHEMA = pa.schema([*inputs.SCHEMA, ("label", pa.string()), ("score", pa.float32())])
#: The files of a result by their artifact names.
FILES = {name: f"predictions.{name}" for name in ("csv", "jsonl", "parquet")}


@dataclass
class Tally:
    """What the answers are like, for the job's page. `agree` counts rows whose own class was answered."""

    rows: int = 0
    labelled: int = 0
    agree: int = 0
    score_sum: float = 0.0
    labels: Counter[str] = field(default_factory=Counter)
    first: list[dict[str, Any]] = field(default_factory=list)
    unsure: list[tuple[float, int, dict[str, Any]]] = field(default_factory=list)

    def add(self, row: dict[str, Any]) -> None:
        self.rows += 1
        self.labels[row["label"]] += 1
        self.score_sum += row["score"]
        if row["expected"] is not None:
            self.labelled += 1
            self.agree += row["expected"] == row["label"]
        if len(self.first) < SHOWN_ROWS:
            self.first.append(_short(row))
        # The heap's smallest is the surest of the least sure: the one to give up for a less sure row.
        entry = (-row["score"], -self.rows)
        if len(self.unsure) < SHOWN_ROWS:
            heapq.heappush(self.unsure, (*entry, _short(row)))
        elif entry > self.unsure[0][:2]:
            heapq.heapreplace(self.unsure, (*entry, _short(row)))

    def as_json(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "labelled": self.labelled,
            "agree": self.agree,
            "accuracy": self.agree / self.labelled if self.labelled else None,
            "mean_score": self.score_sum / self.rows if self.rows else None,
            "labels": [{"label": label, "rows": count} for label, count in self.labels.most_common()],
            "first": self.first,
            "unsure": [row for _, _, row in sorted(self.unsure, reverse=True)],
        }


def run(
    ctx: RunContext,
    *,
    source: Path,
    dataset: DatasetRef | None,
    file: FileRef | None,
    split: Split = "all",
) -> Tally:
    """Answer every row. Raises UserError `bundle_damaged`, `no_rows`, those of reading a file; Stopped."""
    reporter = ctx.reporter
    reporter.phase("preparing")
    manifest = bundles.verify(source)
    task = catalog.tasks()[manifest.task]
    rows = _inputs(ctx, task, dataset, file, split)
    _go_on(ctx)

    reporter.phase("loading")
    # One single-thread session for all threads: two threads in two runs give twice what they give in one.
    predictor: Predictor = catalog.task_module(manifest.task, "predict").Predictor(source, threads=1)
    predictor.warmup()

    reporter.phase("predicting")
    parts = ctx.scratch / "checkpoints" / "parts"
    with disk_full_is_user_error():
        parts.mkdir(parents=True, exist_ok=True)
    _predict(ctx, predictor, rows, parts)

    reporter.phase("exporting")
    with disk_full_is_user_error():
        tally = _export(ctx, parts, rows)
    reporter.progress(1.0)
    return tally


def _inputs(ctx: RunContext, task: TaskSpec, dataset: DatasetRef | None, file: FileRef | None, split: Split) -> Inputs:
    target = ctx.scratch / "checkpoints" / "inputs.parquet"
    if dataset is not None:
        return inputs.of_dataset(dataset, task, split=split, target=target)
    if file is not None:
        return inputs.of_file(file, task, target=target)
    raise UserError("no_rows", "The job names neither a dataset nor a file.", "Clone the job and choose one.")


def _go_on(ctx: RunContext) -> None:
    if ctx.reporter.should_stop():
        raise Stopped


# --- answering --------------------------------------------------------------------------------------------------------


def _predict(ctx: RunContext, predictor: Predictor, rows: Inputs, parts: Path) -> None:
    done = answered = 0
    begun = time.monotonic()

    def progress(now: int) -> None:
        """`now` rows of the present part are answered as well."""
        rate = (answered + now) / max(1e-6, time.monotonic() - begun)
        left = rows.total - done - now
        ctx.reporter.progress(
            0.02 + 0.93 * (done + now) / rows.total,
            step=done + now,
            steps=rows.total,
            rows_per_s=rate if rate else None,
            eta_s=left / rate if rate else None,
        )

    with ThreadPoolExecutor(max(1, ctx.threads), thread_name_prefix="predict") as pool:
        for number, table in enumerate(rows.parts(PART_ROWS)):
            path = parts / f"{number:06d}.parquet"
            if not path.exists():
                answers = _answers(ctx, pool, predictor, table["text"].to_pylist(), progress)
                with disk_full_is_user_error():
                    _write_part(path, table, answers)
                answered += len(table)
            done += len(table)
            ctx.reporter.checkpoint(parts, step=done, epoch=done / rows.total, values={})
            progress(0)
            _go_on(ctx)


def _answers(
    ctx: RunContext,
    pool: ThreadPoolExecutor,
    predictor: Predictor,
    texts: Sequence[str],
    progress: Callable[[int], None],
) -> list[dict[str, Any]]:
    """The answers in the order of the texts. Raises Stopped; then the part is left for the next attempt."""
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    # The longest first, so that no thread is left with them while the others have nothing to do.
    chunks = [order[start : start + CHUNK_ROWS] for start in range(0, len(order), CHUNK_ROWS)][::-1]

    def answer(chunk: list[int]) -> list[dict[str, Any]]:
        return [] if ctx.reporter.should_stop() else predictor.predict([texts[place] for place in chunk])

    answers: list[dict[str, Any]] = [{}] * len(texts)
    found_rows = 0
    for chunk, found in zip(chunks, pool.map(answer, chunks), strict=True):
        if len(found) != len(chunk):
            raise Stopped
        for place, one in zip(chunk, found, strict=True):
            answers[place] = one
        found_rows += len(chunk)
        progress(found_rows)
    return answers


def _write_part(path: Path, table: pa.Table, answers: Sequence[dict[str, Any]]) -> None:
    labels = pa.array([answer["label"] for answer in answers], pa.string())
    scores = pa.array([answer["score"] for answer in answers], pa.float32())
    whole = pa.table([*table.columns, labels, scores], schema=SCHEMA)
    partial = path.with_suffix(".part")
    with partial.open("wb") as file:
        pq.write_table(whole, file, compression="zstd")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


# --- the files --------------------------------------------------------------------------------------------------------


def _export(ctx: RunContext, parts: Path, rows: Inputs) -> Tally:
    """The parts as one file of each format, and what the page shows of them."""
    folder = ctx.scratch / "artifacts"
    folder.mkdir(exist_ok=True)
    partial = {name: folder / f".{file}.part" for name, file in FILES.items()}
    names = list(SCHEMA.names)
    tally = Tally()
    with (
        partial["csv"].open("w", encoding="utf-8", newline="") as csv_file,
        partial["jsonl"].open("w", encoding="utf-8") as jsonl_file,
        pq.ParquetWriter(partial["parquet"], SCHEMA, compression="zstd") as parquet,
    ):
        table_writer = csv.writer(csv_file)
        table_writer.writerow(names)
        for table in _tables(parts):
            parquet.write_table(table)
            for row in table.to_pylist():
                row["score"] = round(row["score"], 6)
                table_writer.writerow([row[name] for name in names])
                jsonl_file.write(json.dumps(row, ensure_ascii=False) + "\n")
                tally.add(row)
            ctx.reporter.progress(0.95 + 0.05 * tally.rows / rows.total)
            _go_on(ctx)
    for name, path in partial.items():
        target = folder / FILES[name]
        path.replace(target)
        ctx.reporter.artifact(f"predictions_{name}", target, kind="file")
    shown = folder / "predictions.json"
    shown.write_text(json.dumps(tally.as_json(), ensure_ascii=False))
    ctx.reporter.artifact("predictions", shown, kind="predictions")
    return tally


def _tables(parts: Path) -> Iterator[pa.Table]:
    for path in sorted(parts.glob("*.parquet")):
        yield pq.read_table(path, schema=SCHEMA)


def _short(row: dict[str, Any]) -> dict[str, Any]:
    text = row["text"]
    return {**row, "text": text if len(text) <= 300 else f"{text[:300]}…"}
