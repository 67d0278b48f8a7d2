"""Where each staged row goes: its split, its number among rows of the same text, whether a fix drops it. Heavy (numpy).

Nearly every text of a large file is there once, and nothing needs to be known of it but what is staged. So only texts
that occur again become a table here, `repeats`; a `Placement` names the rows that differ from what is staged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np

from modelkit.data import splits, store
from modelkit.data.checks import RARE_ROWS
from modelkit.data.splits import SplitRule

Numbers = np.ndarray[Any, np.dtype[np.int64]]

_RANK = "CASE split WHEN 'train' THEN 0 WHEN 'validation' THEN 1 ELSE 2 END"


@dataclass(frozen=True)
class Placement:
    """Staged rows by `seq`, ascending: the number of a repeated text, the split of a moved row, rows left out."""

    repeated: Numbers
    occurrence: Numbers
    moved: Numbers
    moved_to: np.ndarray[Any, np.dtype[np.object_]]
    dropped: Numbers


def place(
    connection: duckdb.DuckDBPyConnection, rule: SplitRule, label: str | None, fixes: frozenset[str]
) -> Placement:
    """Divide and fix the rows of the view `staged`, which may be far larger than memory."""
    column = store.name(label) if label else "''"
    connection.execute(f"CREATE VIEW classed AS SELECT seq, part, high, low, split, {column} AS class FROM staged")
    connection.execute(
        """CREATE TEMP TABLE repeats AS
           SELECT *, row_number() OVER (PARTITION BY high, low ORDER BY seq) - 1 AS occurrence FROM classed
           WHERE (high, low) IN (SELECT (high, low) FROM classed GROUP BY high, low HAVING count(*) > 1)"""
    )
    repeats = _columns(connection, "SELECT seq, occurrence FROM repeats ORDER BY seq")
    moved = _rescue(connection, rule) if label else _columns(connection, "SELECT 0 AS seq, '' AS split WHERE false")
    _drop(connection, fixes, label)
    dropped = _columns(connection, "SELECT DISTINCT seq FROM dropped ORDER BY seq")
    return Placement(repeats["seq"], repeats["occurrence"], moved["seq"], moved["split"], dropped["seq"])


def _rescue(connection: duckdb.DuckDBPyConnection, rule: SplitRule) -> dict[str, Any]:
    """Move texts of classes that miss a split; only the part that is divided may move."""
    wanted = [split for split, share in rule.shares.items() if share > 0]
    part = store.literal(rule.divided)
    connection.execute(
        f"""CREATE VIEW texts AS
            SELECT class, high, low, split FROM classed WHERE part = {part} AND seq NOT IN (SELECT seq FROM repeats)
            UNION ALL SELECT min(class), high, low, any_value(split) FROM repeats WHERE part = {part}
            GROUP BY high, low"""
    )
    members = connection.execute(
        """SELECT class, high, low, split FROM texts WHERE class IN
           (SELECT class FROM texts GROUP BY class HAVING count(DISTINCT split) < ?)""",
        [len(wanted)],
    ).fetchall()
    moves = splits.rescues(
        ((class_, f"{high:016x}{low:016x}", low / 2**64, split) for class_, high, low, split in members), wanted
    )
    connection.execute("CREATE TEMP TABLE moves (high UBIGINT, low UBIGINT, split VARCHAR)")
    if moves:
        values = [(int(key[:16], 16), int(key[16:], 16), split) for key, split in moves.items()]
        connection.executemany("INSERT INTO moves VALUES (?, ?, ?)", values)
        connection.execute(
            f"""UPDATE repeats SET split = moves.split FROM moves
                WHERE repeats.high = moves.high AND repeats.low = moves.low AND part = {part}"""
        )
    return _columns(
        connection,
        f"""SELECT seq, moves.split AS split FROM classed JOIN moves USING (high, low) WHERE part = {part}
            ORDER BY seq""",
    )


def _drop(connection: duckdb.DuckDBPyConnection, fixes: frozenset[str], label: str | None) -> None:
    """Fixes that look at more than one row; the others were made while staging."""
    connection.execute("CREATE TEMP TABLE dropped (seq BIGINT)")
    rules = {
        "drop_conflicts": """(high, low) IN
            (SELECT (high, low) FROM repeats GROUP BY high, low HAVING count(DISTINCT class) > 1)""",
        # The test part is what scores are measured on, so it keeps its rows.
        "drop_leaks": f"""seq IN (SELECT seq FROM (SELECT seq, {_RANK} AS rank, max({_RANK})
            OVER (PARTITION BY high, low) AS last FROM repeats) WHERE rank < last)""",
        "drop_duplicates": "seq NOT IN (SELECT min(seq) FROM repeats GROUP BY high, low, class, split)",
    }
    for fix, condition in rules.items():
        if fix in fixes:
            connection.execute(f"INSERT INTO dropped SELECT seq FROM repeats WHERE {condition}")
            connection.execute("DELETE FROM repeats WHERE seq IN (SELECT seq FROM dropped)")
    if "drop_rare_classes" in fixes and label:
        connection.execute(
            """INSERT INTO dropped SELECT seq FROM classed WHERE class NOT IN (SELECT class FROM classed
               WHERE seq NOT IN (SELECT seq FROM dropped) GROUP BY class HAVING count(*) >= ?)""",
            [RARE_ROWS],
        )


def _columns(connection: duckdb.DuckDBPyConnection, query: str) -> dict[str, Any]:
    # A query of numbers and short names: 20 bytes a row that differs, not the rows themselves.
    return dict(connection.execute(query).fetchnumpy())
