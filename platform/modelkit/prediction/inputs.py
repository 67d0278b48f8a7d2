"""The rows that a batch prediction is about, as one stream of tables with the same columns. Heavy (pyarrow).

row       string   a row's id in its dataset version, or its first line in the file
split     string   null for a file
text      string   what the model is asked
expected  string   the class that the row has already, null where there is none
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from modelkit.contracts import DatasetRef, TaskSpec
from modelkit.data.options import ReadOptions
from modelkit.data.readers import TableFile
from modelkit.data.roles import known_names
from modelkit.errors import UserError
from modelkit.prediction.columns import input_role, label_role
from modelkit.training.checkpoints import disk_full_is_user_error

Split = Literal["all", "train", "validation", "test"]

SCHEMA = pa.schema([("row", pa.string()), ("split", pa.string()), ("text", pa.string()), ("expected", pa.string())])
_BATCH_ROWS = 8192


@dataclass(frozen=True)
class FileRef:
    """A user's file on this machine, with the columns of its roles."""

    path: Path
    name: str
    mapping: Mapping[str, str]
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Inputs:
    """Counted rows; `parts(size)` streams them in their order, `size` at a time but for the last."""

    path: Path
    total: int

    def parts(self, size: int) -> Iterator[pa.Table]:
        with pq.ParquetFile(self.path) as file:
            waiting: list[pa.Table] = []
            rows = 0
            for batch in file.iter_batches(batch_size=size):
                waiting.append(pa.Table.from_batches([batch]))
                rows += batch.num_rows
                while rows >= size:
                    table = pa.concat_tables(waiting)
                    yield table.slice(0, size)
                    waiting, rows = [table.slice(size)], rows - size
            if rows:
                yield pa.concat_tables(waiting)


def of_dataset(dataset: DatasetRef, task: TaskSpec, *, split: Split, target: Path) -> Inputs:
    """The rows of a version, or of one of its splits; `target` keeps them for a later attempt."""
    text, label = input_role(task), label_role(task)

    def tables() -> Iterator[pa.Table]:
        with pq.ParquetFile(dataset.path / "rows.parquet") as file:
            names = ["row_id", "split", text, *([label] if label in file.schema_arrow.names else [])]
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=names):
                table = pa.Table.from_batches([batch])
                if split != "all":
                    table = table.filter(pc.equal(table["split"], split))
                expected = table[label] if label in names else pa.nulls(len(table), pa.string())
                yield pa.table([table["row_id"], table["split"], table[text], expected], schema=SCHEMA)

    return _kept(tables, target)


def of_file(file: FileRef, task: TaskSpec, *, target: Path) -> Inputs:
    """The rows of a user's file. Raises UserError for one that cannot be read, as the upload of a dataset does."""
    text, label = input_role(task), label_role(task)

    def tables() -> Iterator[pa.Table]:
        table = TableFile(file.path, file.name, ReadOptions.model_validate(file.options), known_names(task.columns))
        places = {role: table.found.columns.index(column) for role, column in file.mapping.items()}
        for batch in table.batches():
            texts = [_storable(cells[places[text]]) for cells in batch.cells]
            expected = [_storable(cells[places[label]]) or None for cells in batch.cells] if label in places else None
            yield pa.table(
                [
                    pa.array([str(line) for line in batch.lines], pa.string()),
                    pa.nulls(len(texts), pa.string()),
                    pa.array(texts, pa.string()),
                    pa.array(expected, pa.string()) if expected else pa.nulls(len(texts), pa.string()),
                ],
                schema=SCHEMA,
            )

    return _kept(tables, target)


def _kept(tables: Any, target: Path) -> Inputs:
    """Written once: an attempt that resumes must see the very rows that the parts before it were made of."""
    if not target.exists():
        partial = target.with_name(f".{target.name}.part")
        with disk_full_is_user_error():
            target.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                with pq.ParquetWriter(file, SCHEMA, compression="lz4") as writer:
                    for table in tables():
                        writer.write_table(table)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(target)
    total = pq.read_metadata(target).num_rows
    if not total:
        raise UserError("no_rows", "There is no row to predict.", "Choose another split or another file.")
    return Inputs(target, total)


def _storable(cell: str) -> str:
    # Half of a surrogate pair, as broken JSON escapes leave it, cannot be stored.
    return cell.strip().encode("utf-8", "replace").decode()
