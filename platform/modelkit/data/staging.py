"""First pass over a user's files: mapped, cleaned rows in one Parquet file, in source order. Heavy (pyarrow).

A row without a label teaches nothing and is left out here, counted and shown. Everything that needs to see more than
one row at a time is left to `placing`, which asks DuckDB. Batches are worked on by column, which is what makes a file
of ten million rows bearable; a row with anything odd about it goes through `_Columns.careful` alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from modelkit.contracts import Column
from modelkit.data.damage import is_damaged, repair
from modelkit.data.options import Part
from modelkit.data.readers import Batch, TableFile
from modelkit.data.splits import SplitRule
from modelkit.data.tokens import LONG_TOKENS, estimated_tokens
from modelkit.errors import UserError

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
    schema = pa.schema(
        [("seq", pa.int64()), ("source", pa.string()), ("position", pa.int64()), ("part", pa.string())]
        + [("high", pa.uint64()), ("low", pa.uint64()), ("split", pa.string())]
        + [(role.role, pa.string()) for role in used]
    )
    staged = Staged()
    sizes = [source.table.size_bytes for source in sources]
    with pq.ParquetWriter(target, schema, compression="lz4") as writer:
        for number, source in enumerate(sources):
            table = source.table
            columns = _Columns(source, used, mapping, label_names, fixes, staged)
            position = 0
            for batch in table.batches():
                progress((sum(sizes[:number]) + table.tally.bytes_read) / max(1, sum(sizes)))
                rows = list(columns.values(batch))
                positions = [position + place for place, row in enumerate(rows) if row is not None]
                kept = [row for row in rows if row is not None]
                if kept:
                    arrays = _arrays(kept, positions, source, rule, columns.inputs, first=staged.rows)
                    writer.write_batch(pa.record_batch(arrays, schema=schema))
                staged.rows += len(kept)
                staged.read += len(rows)
                position += len(rows)
            staged.blank += table.tally.blank
            staged.malformed.count += table.tally.malformed
            staged.malformed.examples += [{"file": table.found.file, **row} for row in table.tally.malformed_examples]
    _require_mostly_whole(staged)
    return staged


class _Columns:
    """Cells of one file -> a value per role, with what is odd counted in `staged`."""

    def __init__(
        self,
        source: Source,
        used: Sequence[Column],
        mapping: Mapping[str, str],
        label_names: Mapping[str, str],
        fixes: frozenset[str],
        staged: Staged,
    ) -> None:
        columns = source.table.found.columns
        self._file, self._delimiter = source.table.found.file, source.table.found.delimiter
        self._names, self._fixes, self._staged = label_names, fixes, staged
        self._roles = [role.role for role in used]
        self._cells = [columns.index(mapping[role]) for role in self._roles]
        self._text = next((place for place, role in enumerate(used) if role.kind == "text"), None)
        self._required = [place for place, role in enumerate(used) if role.kind == "category" and role.required]
        self._classes = [place for place, role in enumerate(used) if role.kind == "category"]
        self._spill = _spill_columns(source.table, self._cells[self._text] if self._text is not None else -1)
        inputs = [place for place, role in enumerate(used) if role.kind in ("text", "file")]
        #: Places of the values that make two rows the same.
        self.inputs = inputs or list(range(len(used)))

    def values(self, batch: Batch) -> Iterator[tuple[str, ...] | None]:
        """The values of each row of a batch, None for a row that is left out."""
        columns = [[cells[index].strip() for cells in batch.cells] for index in self._cells]
        odd = set(batch.ragged)
        odd.update(self._spilled(batch))
        for column in columns:
            odd.update(_unstorable(column))
        for place in self._required:
            if "" in columns[place]:
                odd.update(row for row, value in enumerate(columns[place]) if not value)
        if self._text is not None:
            odd.update(self._odd_texts(columns[self._text]))
        if self._names:
            for place in self._classes:
                odd.update(row for row, value in enumerate(columns[place]) if value not in self._names)
                columns[place] = [self._names.get(value, value) for value in columns[place]]
        for row, values in enumerate(zip(*columns, strict=True)):
            yield self.careful(batch, row) if row in odd else values

    def _spilled(self, batch: Batch) -> Iterable[int]:
        for index in self._spill:
            yield from (row for row, cells in enumerate(batch.cells) if cells[index] and cells[index].strip())

    def _odd_texts(self, texts: list[str]) -> Iterable[int]:
        if not "".join(texts).isascii():
            yield from (row for row, text in enumerate(texts) if not text.isascii() and is_damaged(text))
        if "drop_empty_rows" in self._fixes and "" in texts:
            yield from (row for row, text in enumerate(texts) if not text)
        if "drop_long_rows" in self._fixes:
            # No text has more tokens than characters.
            yield from (row for row, text in enumerate(texts) if len(text) > LONG_TOKENS)

    def careful(self, batch: Batch, row: int) -> tuple[str, ...] | None:
        """The values of one row, told and mended; None when it is left out."""
        line, cells, staged = batch.lines[row], batch.cells[row], self._staged
        if row in batch.ragged:
            if "drop_ragged_rows" in self._fixes:
                return None
            staged.ragged.add(file=self._file, line=line)
        values = [cells[index] for index in self._cells]
        if any(cells[index].strip() for index in self._spill):
            spilled = [cells[index] for index in self._spill]
            while spilled and not spilled[-1].strip():
                spilled.pop()
            if "join_spilled_cells" in self._fixes:
                values[self._text or 0] += "".join(f"{self._delimiter}{cell}" for cell in spilled)
            else:
                staged.spilled.add(file=self._file, line=line, text=_short(" | ".join(spilled)))
        values = [_clean(value) for value in values]
        text = "" if self._text is None else values[self._text]
        if self._text is not None and is_damaged(text):
            if "repair_encoding" in self._fixes:
                values[self._text] = text = repair(text)
            if is_damaged(text):
                staged.damaged.add(file=self._file, line=line, text=_short(text), repaired=_short(repair(text)))
        if any(not values[place] for place in self._required):
            staged.unlabelled.add(file=self._file, line=line, text=_short(text))
            return None
        if self._names:
            for place in self._classes:
                values[place] = _named(values[place], self._names, self._file, line)
        if self._text is not None and "drop_empty_rows" in self._fixes and not text:
            return None
        if self._text is not None and "drop_long_rows" in self._fixes and estimated_tokens(text) > LONG_TOKENS:
            return None
        return tuple(values)


def _arrays(
    rows: Sequence[tuple[str, ...]],
    positions: list[int],
    source: Source,
    rule: SplitRule,
    inputs: Sequence[int],
    *,
    first: int,
) -> list[pa.Array]:
    """A batch in the order of the staging file's schema."""
    count = len(rows)
    if len(inputs) == 1:
        keyed: Iterable[str] = (row[inputs[0]] for row in rows)
    else:
        keyed = ("\x1f".join([row[place] for place in inputs]) for row in rows)
    digests = b"".join([hashlib.sha256(text.encode()).digest()[:16] for text in keyed])
    keys = np.frombuffer(digests, dtype=">u8").reshape(count, 2).astype(np.uint64)
    if source.part == rule.divided:
        split = pa.array(_splits(keys[:, 1], rule), pa.string())
    else:
        split = pa.repeat(source.part, count)
    return [
        pa.array(np.arange(first, first + count)),
        pa.repeat(source.table.found.file, count),
        pa.array(positions, pa.int64()),
        pa.repeat(source.part, count),
        pa.array(keys[:, 0]),
        pa.array(keys[:, 1]),
        split,
        *(pa.array(column, pa.string()) for column in zip(*rows, strict=True)),
    ]


def _splits(hashes: np.ndarray[Any, np.dtype[np.uint64]], rule: SplitRule) -> list[str]:
    """The split of each text by its hash, as `SplitRule.edges` says."""
    names = [*rule.edges, "train"]
    edges = np.array(list(rule.edges.values())) - 1e-12
    return [names[place] for place in np.searchsorted(edges, hashes / 2.0**64, side="right").tolist()]


def _unstorable(values: list[str]) -> Iterable[int]:
    """Places of values that `_clean` changes beyond stripping."""
    joined = "".join(values)
    if "\x00" in joined or (not joined.isascii() and _has_surrogate(joined)):
        yield from (row for row, value in enumerate(values) if "\x00" in value or _has_surrogate(value))


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
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _short(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}…"


def _spill_columns(table: TableFile, text_index: int) -> list[int]:
    """Unnamed columns right of the text: where a text broken at its delimiter goes on."""
    columns = table.found.columns
    return [columns.index(name) for name in table.found.unnamed if 0 <= text_index < columns.index(name)]


def _named(written: str, names: Mapping[str, str], file: str, line: int) -> str:
    name = names.get(written) or names.get(written.removesuffix(".0"))
    if name is not None:
        return name
    if written in names.values():
        return written
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
