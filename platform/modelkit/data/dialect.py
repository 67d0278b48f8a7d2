"""Delimiter, quoting and header of a delimited text file. Light.

`csv.Sniffer` guesses from single lines and trips over quotes; here every candidate parses the sample and the one that
makes the most regular table wins.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import _csv

SAMPLE_ROWS = 400


@dataclass(frozen=True)
class Dialect:
    """How lines become cells. `quoted` False means that quotes are ordinary characters."""

    delimiter: str
    quoted: bool = True

    def records(self, lines: Iterable[str]) -> _csv.Reader:
        """A reader of the lines' records; its `line_num` counts physical lines."""
        quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if self.quoted else csv.QUOTE_NONE
        return csv.reader(lines, delimiter=self.delimiter, quoting=quoting)


def _parse(sample: str, dialect: Dialect) -> list[list[str]]:
    rows: list[list[str]] = []
    try:
        for row in dialect.records(io.StringIO(sample, newline="")):
            if any(cell.strip() for cell in row):
                rows.append(row)
            if len(rows) > SAMPLE_ROWS:
                break
    except csv.Error:
        pass
    return rows


def _score(rows: Sequence[Sequence[str]]) -> float:
    """0 for one column; else how regular the rows are, with a little more for a table that is not very wide."""
    if not rows:
        return 0.0
    counts = Counter(len(row) for row in rows)
    width, hits = counts.most_common(1)[0]
    if width < 2:
        return 0.0
    regular = hits / len(rows)
    # A comma inside sentences makes wide, ragged rows; a real delimiter gives every row the same width.
    stray = sum(any("\n" in cell and len(cell) > 2000 for cell in row) for row in rows) / len(rows)
    return regular - stray - (0.05 if width > 50 else 0.0)


def detect_dialect(sample: str, file_name: str) -> Dialect:
    """The dialect of a sample of whole lines; a single column comes out as comma-delimited."""
    tabbed = file_name.lower().endswith((".tsv", ".tab"))
    best, best_score = Dialect("\t" if tabbed else ","), 0.0
    for delimiter in ("\t", ",", ";", "|") if tabbed else (",", "\t", ";", "|"):
        dialect, score = _with_quoting(sample, delimiter)
        if score > best_score + 1e-9:
            best, best_score = dialect, score
    return best


def quoted_by(sample: str, delimiter: str) -> Dialect:
    """The dialect with a declared delimiter: whether quotes quote is still found from the sample."""
    return _with_quoting(sample, delimiter)[0]


def _with_quoting(sample: str, delimiter: str) -> tuple[Dialect, float]:
    """Quotes quote, unless taking them as characters makes a better table: more regular, or as regular with more rows.

    Cells that hold the delimiter or a line break make the plain table irregular; a stray quote at the start of a cell
    makes the quoted one swallow rows.
    """
    quoted, plain = Dialect(delimiter, True), Dialect(delimiter, False)
    quoted_rows, plain_rows = _parse(sample, quoted), _parse(sample, plain)
    quoted_score, plain_score = _score(quoted_rows), _score(plain_rows) - 0.02
    swallowed = plain_score > 0.97 and len(plain_rows) > len(quoted_rows)
    return (plain, plain_score) if plain_score > quoted_score or swallowed else (quoted, quoted_score)


_NAME = re.compile(r"^[^\W\d][\w .\-/#()]{0,39}$")
_NUMBER = re.compile(r"^[+-]?\d+(\.\d+)?$")


def has_header(rows: Sequence[Sequence[str]], known_names: Iterable[str]) -> bool:
    """Whether the first row names the columns.

    A known name decides. Else each column votes: a first cell that occurs again below, or a number above numbers, is
    data; a short name above numbers, above a few repeated values or above long texts is a name.
    """
    if not rows:
        return False
    first = [cell.strip() for cell in rows[0]]
    known = {name.lower() for name in known_names}
    if any(cell.lower() in known for cell in first):
        return True
    body = [row for row in rows[1:] if len(row) == len(rows[0])]
    if not body or len(set(filter(None, first))) < len(list(filter(None, first))):
        return False
    votes = 0
    for index, cell in enumerate(first):
        values = [row[index].strip() for row in body if row[index].strip()]
        if not values or not cell:
            continue
        distinct = set(values)
        if cell in distinct or _NUMBER.match(cell):
            votes -= 2
        elif all(_NUMBER.match(value) for value in values):
            votes += 2
        elif len(distinct) <= max(2, len(values) // 5) or (
            _NAME.match(cell) and len(cell) < 0.5 * median(len(value) for value in values)
        ):
            votes += 1
        else:
            votes -= 1
    return votes > 0
