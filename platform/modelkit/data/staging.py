"""First pass over a user's files: mapped, cleaned rows in one Parquet file, in source order. Heavy (pyarrow).

A row without a label teaches nothing and is left out here, counted and shown. Everything that needs to see more than
one row at a time is left to `prepare`, which asks DuckDB.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from modelkit.contracts import Column
from modelkit.data.damage import is_damaged, repair
from modelkit.data.options import Part
from modelkit.data.readers import TableFile
from modelkit.data.splits import SplitRule, split_of
from modelkit.data.tokens import LONG_TOKENS, estimated_tokens
from modelkit.errors import UserError

BATCH_ROWS = 8192
BATCH_CHARS = 8_000_000
EXAMPLES = 20
#: Of rows read, the share that may be ragged or malformed before the file as a whole is refused.
BROKEN_SHARE = 0.5


@dataclass(frozen=True)
class Source:
    """One opened file and the part it was given as."""

    table: TableFile
    part: Part


@dataclass
class Found:
    """A kind of trouble: how many rows, and the first few."""

    count: int = 0
    examples: list[dict[str, Any]] = field(default_factory=list)

    def add(self, **example: Any) -> None:
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(example)


@dataclass
class Staged:
    """What the first pass counted."""

    rows: int = 0
    read: int = 0
    blank: int = 0
    ragged: Found = field(default_factory=Found)
    malformed: Found = field(default_factory=Found)
    unlabelled: Found = field(default_factory=Found)
    spilled: Found = field(default_factory=Found)
    damaged: Found = field(default_factory=Found)


def stage(
    sources: Sequence[Source],
    target: Path,
    *,
    roles: Sequence[Column],
    mapping: Mapping[str, str],
    rule: SplitRule,
    label_names: Mapping[str, str],
    fixes: frozenset[str],
    progress: Callable[[float], None],
) -> Staged:
    """Write the staging file; raises UserError `ragged_rows`, `malformed_rows` or `label_name_missing`."""
    used = [role for role in roles if role.role in mapping]
    inputs = [role.role for role in used if role.kind in ("text", "file")] or [role.role for role in used]
    required = [role.role for role in used if role.kind == "category" and role.required]
    schema = pa.schema(
        [("seq", pa.int64()), ("source", pa.string()), ("position", pa.int64()), ("part", pa.string())]
        + [("key", pa.string()), ("unit", pa.float64()), ("split", pa.string())]
        + [(role.role, pa.string()) for role in used]
    )
    staged = Staged()
    sizes = [source.table.size_bytes for source in sources]
    with pq.ParquetWriter(target, schema, compression="lz4") as writer:
        buffer = _Buffer(writer, schema)
        for number, source in enumerate(sources):
            table, name = source.table, source.table.found.file
            cell_of = {role.role: table.found.columns.index(mapping[role.role]) for role in used}
            text_role = next((role.role for role in used if role.kind == "text"), None)
            spill = _spill_columns(table, cell_of.get(text_role, -1) if text_role else -1)
            for position, row in enumerate(table.rows()):
                staged.read += 1
                if position % BATCH_ROWS == 0:
                    progress((sum(sizes[:number]) + table.tally.bytes_read) / max(1, sum(sizes)))
                if row.ragged:
                    if "drop_ragged_rows" in fixes:
                        continue
                    staged.ragged.add(file=name, line=row.line)
                cells = dict(zip(cell_of, (row.cells[index] for index in cell_of.values()), strict=True))
                if spill and any(row.cells[index].strip() for index in spill):
                    spilled = [row.cells[index] for index in spill]
                    while spilled and not spilled[-1].strip():
                        spilled.pop()
                    if "join_spilled_cells" in fixes:
                        cells[text_role or ""] += "".join(f"{table.found.delimiter}{cell}" for cell in spilled)
                    else:
                        staged.spilled.add(file=name, line=row.line, text=_short(" | ".join(spilled)))
                values = {role: _clean(cell) for role, cell in cells.items()}
                if text_role and is_damaged(values[text_role]):
                    if "repair_encoding" in fixes:
                        values[text_role] = repair(values[text_role])
                    if is_damaged(values[text_role]):
                        text = values[text_role]
                        staged.damaged.add(file=name, line=row.line, text=_short(text), repaired=_short(repair(text)))
                unlabelled = any(not values[role] for role in required)
                if unlabelled:
                    text = _short(values.get(text_role or "", ""))
                    staged.unlabelled.add(file=name, line=row.line, text=text)
                    continue
                if label_names:
                    _name_labels(values, used, label_names, name, row.line)
                if text_role and "drop_empty_rows" in fixes and not values[text_role]:
                    continue
                if text_role and "drop_long_rows" in fixes and estimated_tokens(values[text_role]) > LONG_TOKENS:
                    continue
                key = hashlib.sha256("\x1f".join(values[role] for role in inputs).encode()).hexdigest()[:32]
                unit = int(key[16:], 16) / 2**64
                split = split_of(unit, rule) if source.part == rule.divided else source.part
                buffer.add((staged.rows, name, position, source.part, key, unit, split, *values.values()))
                staged.rows += 1
            staged.blank += table.tally.blank
            staged.malformed.count += table.tally.malformed
            staged.malformed.examples += [{"file": name, **example} for example in table.tally.malformed_examples]
        buffer.flush()
    _require_mostly_whole(staged)
    return staged


class _Buffer:
    """Rows on their way to Parquet, flushed by count and by size."""

    def __init__(self, writer: pq.ParquetWriter, schema: pa.Schema) -> None:
        self._writer, self._schema = writer, schema
        self._rows: list[tuple[Any, ...]] = []
        self._chars = 0

    def add(self, row: tuple[Any, ...]) -> None:
        self._rows.append(row)
        self._chars += sum(len(value) for value in row[7:])
        if len(self._rows) >= BATCH_ROWS or self._chars >= BATCH_CHARS:
            self.flush()

    def flush(self) -> None:
        if self._rows:
            columns = [list(column) for column in zip(*self._rows, strict=True)]
            arrays = [pa.array(column, field.type) for column, field in zip(columns, self._schema, strict=True)]
            self._writer.write_batch(pa.record_batch(arrays, schema=self._schema))
        self._rows, self._chars = [], 0


def _clean(cell: str) -> str:
    """Surrounding white space goes; what no encoding can carry becomes the replacement character."""
    text = cell.strip()
    if "\x00" in text:
        text = text.replace("\x00", "\ufffd")
    if not text.isascii():
        # Half of a surrogate pair, as broken JSON escapes leave it, cannot be stored.
        text = text.encode("utf-8", "replace").decode() if _has_surrogate(text) else text
    return text


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= char <= "\udfff" for char in text)


def _short(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}…"


def _spill_columns(table: TableFile, text_index: int) -> list[int]:
    """Unnamed columns right of the text: where a text broken at its delimiter goes on."""
    columns = table.found.columns
    return [columns.index(name) for name in table.found.unnamed if 0 <= text_index < columns.index(name)]


def _name_labels(
    values: dict[str, str], used: Sequence[Column], names: Mapping[str, str], file: str, line: int
) -> None:
    for role in used:
        if role.kind != "category":
            continue
        written = values[role.role]
        name = names.get(written) or names.get(written.removesuffix(".0"))
        if name is None:
            if written in names.values():
                continue
            raise UserError(
                "label_name_missing",
                "{file}, line {line}: the class {written!r} has no name among the {count} given.",
                "Add a name for {written!r}; a list of names counts from 0.",
                field="labels",
                file=file,
                line=line,
                written=written,
                count=len(names),
            )
        values[role.role] = name


def _require_mostly_whole(staged: Staged) -> None:
    if staged.ragged.count > BROKEN_SHARE * max(1, staged.read):
        first = staged.ragged.examples[0]
        raise UserError(
            "ragged_rows",
            "{count:,} of {rows:,} rows have more or fewer cells than the header, the first on line {line} of {file}.",
            "Choose another delimiter, or quote cells that contain it.",
            field="delimiter",
            count=staged.ragged.count,
            rows=staged.read,
            line=first["line"],
            file=first["file"],
        )
    total = staged.read + staged.malformed.count
    if staged.malformed.count > BROKEN_SHARE * max(1, total):
        first = staged.malformed.examples[0]
        raise UserError(
            "malformed_rows",
            "{count:,} of {total:,} lines are not JSON objects, the first is line {line} of {file}: {reason}.",
            "Write one JSON object per line.",
            field="file",
            count=staged.malformed.count,
            total=total,
            line=first["line"],
            file=first["file"],
            reason=first["reason"],
        )
