"""A user's file as named columns and a stream of rows. Light.

Formats: CSV, TSV and kin; JSON (array of objects); JSON Lines. What is found is kept in `Found`, so that it can be
shown and overridden. Row numbers are lines of the file, the ones a text editor shows.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TextIO

from modelkit.data import dialect as dialects
from modelkit.data import encoding as encodings
from modelkit.data.json_stream import OBJECT_LIMIT, flat, read_array
from modelkit.data.options import ReadOptions
from modelkit.errors import UserError
from modelkit.wording import say

#: Longest cell in characters. A longer one is nearly always a quote that was never closed.
CELL_LIMIT = 1_000_000
SAMPLE_CHARS = 1 << 18
#: A batch of rows ends at either: enough rows to make the work per batch small, few enough bytes for long cells.
BATCH_ROWS = 8192
BATCH_BYTES = 4 << 20
PROFILE_ROWS = 2000
MAX_COLUMNS = 2000

Format = Literal["delimited", "json", "jsonl"]


@dataclass(frozen=True)
class Found:
    """What a file is made of, detected or declared."""

    file: str
    format: Format
    encoding: str
    encoding_how: str
    delimiter: str | None
    quoted: bool | None
    header: bool | None
    columns: tuple[str, ...]
    unnamed: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON columns and answers."""
        return {
            "file": self.file,
            "format": self.format,
            "encoding": "utf-8" if self.encoding == "utf-8-sig" else self.encoding,
            "encoding_how": self.encoding_how,
            "byte_order_mark": self.encoding_how == "bom",
            "delimiter": self.delimiter,
            "quoted": self.quoted,
            "header": self.header,
            "columns": list(self.columns),
            "unnamed": list(self.unnamed),
        }


@dataclass
class Tally:
    """What was met while reading: counts, with the lines of the first few."""

    blank: int = 0
    ragged: int = 0
    ragged_examples: list[dict[str, Any]] = field(default_factory=list)
    malformed: int = 0
    malformed_examples: list[dict[str, Any]] = field(default_factory=list)
    bytes_read: int = 0


@dataclass(frozen=True)
class Row:
    """A row's first line and its cells, one per column; `ragged` when the file gave more or fewer."""

    line: int
    cells: list[str]
    ragged: bool = False


@dataclass(frozen=True)
class Batch:
    """Rows that follow each other, as columns of a table are best worked on; `ragged` holds places in the batch."""

    lines: list[int]
    cells: list[list[str]]
    ragged: frozenset[int] = frozenset()


def _lines(file: TextIO) -> Iterator[str]:
    """Lines of the file, refusing one so long that it would not fit in memory."""
    number = 0
    while True:
        line = file.readline(OBJECT_LIMIT)
        if not line:
            return
        number += 1
        if len(line) >= OBJECT_LIMIT:
            raise _too_large(number, OBJECT_LIMIT)
        yield line


def _too_large(line: int, limit: int) -> UserError:
    return UserError(
        "cell_too_large",
        "A cell in the row that begins on line {line} is longer than {limit:,} characters.",
        "Look for a quote that is never closed on line {line}; else shorten the cell.",
        field="file",
        line=line,
        limit=limit,
    )


def _unreadable(line: int, error: csv.Error) -> UserError:
    if "field larger" in str(error):
        return _too_large(line, CELL_LIMIT)
    return UserError(
        "not_a_table",
        "Line {line} cannot be read: {error}.",
        "Save the table as CSV (UTF-8).",
        field="file",
        line=line,
        error=error,
    )


class TableFile:
    """One file, opened: `found` says what it is, `batches()` streams it, again from the start at each call."""

    def __init__(self, path: Path, name: str, options: ReadOptions, known_names: tuple[str, ...] = ()) -> None:
        """Raises UserError: empty_file, not_a_table, wrong_encoding, encoding_broken, malformed_json, no_rows."""
        encodings.require_text(path)
        detected = encodings.declared(path, options.encoding) if options.encoding else encodings.detect(path)
        self._path, self._codec = path, detected.codec
        self._dialect: dialects.Dialect | None = None
        self.size_bytes = path.stat().st_size
        self.tally = Tally()
        with self._open() as file:
            sample = file.read(SAMPLE_CHARS)
        if len(sample) == SAMPLE_CHARS:
            sample = sample[: sample.rfind("\n") + 1] or sample
        if not sample.strip():
            raise UserError("empty_file", "The file holds only white space.", "Upload a file with rows.", field="file")
        format = _format(sample, name)
        header: bool | None = None
        unnamed: tuple[str, ...] = ()
        if format == "delimited":
            columns, unnamed, header = self._look_delimited(sample, name, options, known_names)
        else:
            columns = self._look_json(format)
        if len(columns) > MAX_COLUMNS:
            raise UserError(
                "too_many_columns",
                "The file has {count:,} columns; at most {limit:,} are read.",
                "Check the delimiter, or keep only the columns needed.",
                field="delimiter",
                count=len(columns),
                limit=MAX_COLUMNS,
            )
        self.found = Found(
            file=name,
            format=format,
            encoding=detected.codec,
            encoding_how=detected.how,
            delimiter=self._dialect.delimiter if self._dialect else None,
            quoted=self._dialect.quoted if self._dialect else None,
            header=header,
            columns=columns,
            unnamed=unnamed,
        )

    def batches(self) -> Iterator[Batch]:
        """Every row that is not blank, many at a time; counts what is odd in a fresh `tally`."""
        self.tally = Tally()
        if self.found.format == "delimited":
            yield from self._delimited_batches()
        else:
            yield from self._json_batches(self.found.format, self.found.columns)

    def rows(self) -> Iterator[Row]:
        """The same, one at a time."""
        for batch in self.batches():
            for place, (line, cells) in enumerate(zip(batch.lines, batch.cells, strict=True)):
                yield Row(line, cells, place in batch.ragged)

    def head(self, count: int) -> list[Row]:
        """The first rows."""
        rows = []
        for row in self.rows():
            rows.append(row)
            if len(rows) >= count:
                break
        return rows

    # --- looking ----------------------------------------------------------------------------------------------------

    def _open(self) -> TextIO:
        return io.TextIOWrapper(_Counting(self._path, self.tally), encoding=self._codec, newline="")

    def _look_delimited(
        self, sample: str, name: str, options: ReadOptions, known_names: tuple[str, ...]
    ) -> tuple[tuple[str, ...], tuple[str, ...], bool]:
        if options.delimiter:
            self._dialect = dialects.quoted_by(sample, options.delimiter)
        else:
            self._dialect = dialects.detect_dialect(sample, name)
        filled = (cells for _, records in self._records() for cells in records if any(cell.strip() for cell in cells))
        sampled = list(islice(filled, dialects.SAMPLE_ROWS))
        header = options.header if options.header is not None else dialects.has_header(sampled, known_names)
        if header:
            names = [cell.strip() for cell in sampled[0]]
        else:
            # The usual width, not the widest row's: a stray delimiter must not add a column.
            widths = sorted(len(row) for row in sampled)
            names = [f"column_{number}" for number in range(1, widths[len(widths) // 2] + 1)]
        columns, unnamed = _unique(names)
        return columns, unnamed, header

    def _look_json(self, format: Format) -> tuple[str, ...]:
        keys: dict[str, None] = {}
        for _, value in islice(self._objects(format), PROFILE_ROWS):
            keys.update(dict.fromkeys(value))
        if not keys:
            example = '{"text": "My card has not arrived", "label": "card_arrival"}'
            raise UserError(
                "no_rows",
                "The file holds no JSON objects.",
                "Each row is an object, for example {example}.",
                field="file",
                example=example,
            )
        return tuple(keys)

    # --- streaming --------------------------------------------------------------------------------------------------

    def _records(self) -> Iterator[tuple[list[int], list[list[str]]]]:
        """First lines and cells of the records of a delimited file, many at a time."""
        assert self._dialect is not None  # noqa: S101
        csv.field_size_limit(CELL_LIMIT)
        with self._open() as file:
            reader = self._dialect.records(_lines(file))
            line, failure, more = 1, None, True
            while more and failure is None:
                lines: list[int] = []
                records: list[list[str]] = []
                enough = self.tally.bytes_read + BATCH_BYTES
                try:
                    for cells in reader:
                        lines.append(line)
                        records.append(cells)
                        line = reader.line_num + 1
                        if len(records) == BATCH_ROWS or self.tally.bytes_read > enough:
                            break
                    else:
                        more = False
                except csv.Error as error:
                    failure = _unreadable(line, error)
                except UserError as error:
                    failure = error
                # What came before the fault may hold one of its own, which the user meets first.
                if records:
                    yield lines, records
            if failure is not None:
                raise failure

    def _delimited_batches(self) -> Iterator[Batch]:
        width, tally, skip_header = len(self.found.columns), self.tally, bool(self.found.header)
        for lines, records in self._records():
            blank = {place for place, cells in enumerate(records) if not "".join(cells).strip()}
            tally.blank += len(blank)
            if skip_header and len(blank) < len(records):
                blank.add(next(place for place in range(len(records)) if place not in blank))
                skip_header = False
            if blank:
                lines = [line for place, line in enumerate(lines) if place not in blank]
                records = [cells for place, cells in enumerate(records) if place not in blank]
            odd = [place for place, cells in enumerate(records) if len(cells) != width]
            ragged = frozenset(place for place in odd if self._is_ragged(lines[place], records[place], width))
            for place in odd:
                records[place] = (records[place] + [""] * (width - len(records[place])))[:width]
            if records:
                yield Batch(lines, records, ragged)

    def _is_ragged(self, line: int, cells: list[str], width: int) -> bool:
        # Trailing delimiters alone are not a fault worth a warning.
        if len(cells) > width and not any(cell.strip() for cell in cells[width:]):
            return False
        self.tally.ragged += 1
        if len(self.tally.ragged_examples) < 20:
            self.tally.ragged_examples.append({"line": line, "cells": len(cells), "expected": width})
        return True

    def _json_batches(self, format: Format, columns: tuple[str, ...]) -> Iterator[Batch]:
        lines: list[int] = []
        records: list[list[str]] = []
        enough = BATCH_BYTES
        for line, value in self._objects(format):
            cells = [flat(value.get(column)) for column in columns]
            if any(len(cell) > CELL_LIMIT for cell in cells):
                raise _too_large(line, CELL_LIMIT)
            if not any(cell and not cell.isspace() for cell in cells):
                self.tally.blank += 1
                continue
            lines.append(line)
            records.append(cells)
            if len(records) == BATCH_ROWS or self.tally.bytes_read > enough:
                yield Batch(lines, records)
                lines, records, enough = [], [], self.tally.bytes_read + BATCH_BYTES
        if records:
            yield Batch(lines, records)

    def _objects(self, format: Format) -> Iterator[tuple[int, dict[str, Any]]]:
        with self._open() as file:
            values = read_array(file) if format == "json" else self._json_lines(file)
            for line, value in values:
                if isinstance(value, dict):
                    yield line, value
                else:
                    self._malformed(line, say("not an object"))

    def _json_lines(self, file: TextIO) -> Iterator[tuple[int, Any]]:
        for number, line in enumerate(_lines(file), start=1):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except (json.JSONDecodeError, RecursionError) as error:
                self._malformed(number, getattr(error, "msg", say("nested too deeply")))
                continue
            yield number, value

    def _malformed(self, line: int, reason: str) -> None:
        self.tally.malformed += 1
        if len(self.tally.malformed_examples) < 20:
            self.tally.malformed_examples.append({"line": line, "reason": reason})


class _Counting(io.BufferedReader):
    """A buffered file that notes how far it has been read, for progress."""

    def __init__(self, path: Path, tally: Tally) -> None:
        super().__init__(io.FileIO(path), buffer_size=1 << 18)
        self._tally = tally

    def read1(self, size: int = -1, /) -> bytes:
        block = super().read1(size)
        self._tally.bytes_read += len(block)
        return block


def _format(sample: str, name: str) -> Format:
    """By content first: many a `.txt` is JSON Lines, and many a `.json` too."""
    start = sample.lstrip()
    first_line = start.split("\n", 1)[0].strip()
    if start.startswith("{"):
        try:
            json.loads(first_line)
        except json.JSONDecodeError:
            return "jsonl" if name.lower().endswith((".jsonl", ".ndjson")) else "json"
        # A whole object on the first line: one of many lines, or the one object that holds everything.
        return "jsonl" if start.count("\n") > 1 or name.lower().endswith((".jsonl", ".ndjson")) else _whole(first_line)
    if start.startswith("[") and (name.lower().endswith(".json") or start[1:].lstrip()[:1] in {"{", "]"}):
        return "json"
    if name.lower().endswith((".jsonl", ".ndjson")):
        return "jsonl"
    if name.lower().endswith(".json"):
        raise UserError(
            "malformed_json", "The file does not begin with an array or an object.",
            'Upload an array of objects, {"data": [...]}, or JSON Lines.', field="file",
        )  # fmt: skip
    return "delimited"


def _whole(first_line: str) -> Format:
    value = json.loads(first_line)
    return "json" if any(isinstance(item, list) for item in value.values()) else "jsonl"


def _unique(names: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Distinct column names, and those that stand for an empty header cell."""
    columns: list[str] = []
    unnamed: list[str] = []
    for number, name in enumerate(names, start=1):
        base = name or f"unnamed_{number}"
        candidate, copy = base, 2
        while candidate in columns:
            candidate, copy = f"{base}_{copy}", copy + 1
        columns.append(candidate)
        if not name:
            unnamed.append(candidate)
    return tuple(columns), tuple(unnamed)
