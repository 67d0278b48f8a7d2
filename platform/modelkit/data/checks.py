"""Checks of a version's rows: what is wrong, how often, where, and the fix that makes a new version. Light.

Each check has a page in `docs/reference/dataset-checks.md`. `values` carries the numbers of a message, so that an
interface can say it in another language.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import duckdb

from modelkit.data import store
from modelkit.data.tokens import LONG_TOKENS, TOKENS_SQL

if TYPE_CHECKING:
    from modelkit.data.staging import Found, Staged

EXAMPLES = 20
#: A class with fewer rows than this is hardly learnt, and its scores mean little.
RARE_ROWS = 10
#: The largest class has this many times the rows of the smallest before it is called imbalance.
IMBALANCE = 5.0
#: Shares above which a warning is a failure.
CONFLICT_SHARE = 0.05
LEAK_SHARE = 0.02

Severity = Literal["pass", "warn", "fail"]


@dataclass(frozen=True)
class Check:
    """One answer. `count` is in the unit that `message` names; `fix` is a code of `options.FIXES`."""

    code: str
    severity: Severity
    message: str
    count: int = 0
    fix: str | None = None
    hint: str = ""
    examples: list[dict[str, Any]] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)


def run(
    connection: duckdb.DuckDBPyConnection,
    staged: Staged,
    stats: dict[str, Any],
    *,
    text: str | None,
    label: str | None,
    splits_given: bool,
) -> list[dict[str, Any]]:
    """Every check that applies, worst first."""
    found: list[Check] = []
    rows = _scalar(connection, "SELECT count(*) FROM rows")
    connection.execute("CREATE OR REPLACE VIEW keyed AS SELECT *, substr(row_id, 1, 16) AS key FROM rows")
    # Of rows with the same text only one has the number 0 at the end of its id, so a text that repeats shows there.
    filled = f"AND {store.name(text)} <> ''" if text else ""
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE repeated AS
            SELECT key, split, {store.name(label) if label else "''"} AS class FROM keyed
            WHERE key IN (SELECT key FROM keyed WHERE NOT ends_with(row_id, '-0')) {filled}"""
    )
    if text and label:
        found.append(_duplicates(connection, text))
        found.append(_conflicts(connection, text, rows))
    if text:
        found.append(_leaks(connection, text, label, splits_given))
    if label:
        found += [_rare(stats), _coverage(stats), _imbalance(stats)]
    if text:
        found += [_empty(connection, text, label), _lengths(connection, text, stats)]
    found += _reading(staged)
    order = {"fail": 0, "warn": 1, "pass": 2}
    return [asdict(check) for check in sorted(found, key=lambda check: order[check.severity])]


# --- asked of the rows ----------------------------------------------------------------------------------------------


def _duplicates(connection: duckdb.DuckDBPyConnection, text: str) -> Check:
    t = store.name(text)
    groups = "SELECT key, class, split, count(*) AS n FROM repeated GROUP BY ALL HAVING n > 1"
    count = _scalar(connection, f"SELECT coalesce(sum(n - 1), 0) FROM ({groups})")
    examples = _examples(
        connection,
        count,
        f"""SELECT any_value({t}) AS text, class AS label, groups.split AS split, any_value(n) AS rows
            FROM ({groups}) AS groups JOIN keyed USING (key) GROUP BY key, class, groups.split
            ORDER BY rows DESC, text, label, split LIMIT {EXAMPLES}""",
    )
    message = "No row repeats another." if not count else f"{count:,} rows repeat the text and class of another row."
    return Check(
        "duplicates", _warn(count), message, count, "drop_duplicates" if count else None,
        "Repeated rows weigh more in training and flatter the scores." if count else "", examples, {"count": count},
    )  # fmt: skip


def _conflicts(connection: duckdb.DuckDBPyConnection, text: str, rows: int) -> Check:
    t = store.name(text)
    groups = """SELECT key, list_sort(list(DISTINCT class)) AS labels, count(*) AS n FROM repeated
                GROUP BY key HAVING count(DISTINCT class) > 1"""
    ((count, affected),) = connection.execute(f"SELECT count(*), coalesce(sum(n), 0) FROM ({groups})").fetchall()
    examples = _examples(
        connection,
        count,
        f"""SELECT any_value({t}) AS text, any_value(labels) AS labels, any_value(n) AS rows FROM ({groups})
            JOIN keyed USING (key) GROUP BY key ORDER BY text LIMIT {EXAMPLES}""",
    )
    severity: Severity = "fail" if affected > CONFLICT_SHARE * rows else _warn(count)
    message = f"{count:,} texts carry more than one class ({affected:,} rows)." if count else "No text has two classes."
    return Check(
        "conflicts", severity, message, int(count), "drop_conflicts" if count else None,
        "A model cannot learn both; correct the labels in the file, or drop the rows." if count else "", examples,
        {"count": int(count), "rows": int(affected)},
    )  # fmt: skip


def _leaks(connection: duckdb.DuckDBPyConnection, text: str, label: str | None, splits_given: bool) -> Check:
    t = store.name(text)
    groups = """SELECT key, list_sort(list(DISTINCT split)) AS splits FROM repeated
                GROUP BY key HAVING count(DISTINCT split) > 1"""
    count = _scalar(connection, f"SELECT count(*) FROM ({groups})")
    class_ = f", min({store.name(label)}) AS label" if label else ""
    examples = _examples(
        connection,
        count,
        f"""SELECT min({t}) AS text{class_}, any_value(splits) AS splits FROM ({groups})
            JOIN keyed USING (key) GROUP BY key ORDER BY text LIMIT {EXAMPLES}""",
    )
    held_out = _scalar(connection, "SELECT count(*) FROM rows WHERE split <> 'train'")
    severity: Severity = "fail" if count > LEAK_SHARE * max(1, held_out) else _warn(count)
    if count:
        message = f"{count:,} texts stand in more than one split, so that the test is partly known."
    else:
        message = "No text stands in two splits." if splits_given else "Splits are made by text, so none can leak."
    return Check(
        "leaks", severity, message, count, "drop_leaks" if count else None,
        "The fix drops them from train and keeps the test as it is." if count else "", examples,
        {"count": count, "splits_given": splits_given},
    )  # fmt: skip


def _rare(stats: dict[str, Any]) -> Check:
    rare = [row for row in stats["classes"] if row["rows"] < RARE_ROWS]
    message = (
        f"{len(rare):,} classes have fewer than {RARE_ROWS} rows."
        if rare
        else f"Every class has at least {RARE_ROWS} rows."
    )
    examples = [{"label": row["label"], "rows": row["rows"]} for row in sorted(rare, key=lambda row: row["rows"])]
    # Dropping all classes but one would leave nothing to learn.
    fixable = bool(rare) and len(stats["classes"]) - len(rare) >= 2
    return Check(
        "rare_classes", _warn(len(rare)), message, len(rare), "drop_rare_classes" if fixable else None,
        "Add rows to them, or drop the classes." if rare else "", examples[:EXAMPLES],
        {"count": len(rare), "needed": RARE_ROWS},
    )  # fmt: skip


def _coverage(stats: dict[str, Any]) -> Check:
    untrained = [row for row in stats["classes"] if row["train"] == 0]
    unmeasured = [row for row in stats["classes"] if row["train"] and not (row["test"] and row["validation"])]
    count = len(untrained) + len(unmeasured)
    if untrained:
        message = f"{len(untrained):,} classes have no row in train and cannot be learnt."
    elif unmeasured:
        message = f"{len(unmeasured):,} classes have no row in validation or test and cannot be measured there."
    else:
        message = "Every class is in train, validation and test."
    examples = [
        {"label": row["label"], "train": row["train"], "validation": row["validation"], "test": row["test"]}
        for row in [*untrained, *unmeasured][:EXAMPLES]
    ]
    return Check(
        "split_coverage", "fail" if untrained else _warn(count), message, count, None,
        "Add rows of these classes to the parts that lack them." if count else "", examples,
        {"untrained": len(untrained), "unmeasured": len(unmeasured)},
    )  # fmt: skip


def _imbalance(stats: dict[str, Any]) -> Check:
    largest, smallest = stats["classes"][0], stats["classes"][-1]
    ratio = largest["rows"] / smallest["rows"]
    uneven = ratio >= IMBALANCE
    message = f"The largest class has {ratio:.1f} times the rows of the smallest." + (
        "" if uneven else " That is balanced enough."
    )
    return Check(
        "imbalance", _warn(uneven), message, int(uneven), None,
        "Judge by macro F1 rather than accuracy, or turn on class weights." if uneven else "",
        [{"label": row["label"], "rows": row["rows"]} for row in (largest, smallest)], {"ratio": round(ratio, 1)},
    )  # fmt: skip


def _empty(connection: duckdb.DuckDBPyConnection, text: str, label: str | None) -> Check:
    where = f"{store.name(text)} = ''"
    count = _scalar(connection, f"SELECT count(*) FROM rows WHERE {where}")
    class_ = f", {store.name(label)} AS label" if label else ""
    examples = _examples(
        connection,
        count,
        f"SELECT row_id, source AS file, position, split{class_} FROM rows WHERE {where} LIMIT {EXAMPLES}",
    )
    message = f"{count:,} rows have no text." if count else "Every row has text."
    return Check(
        "empty_rows", _warn(count), message, count, "drop_empty_rows" if count else None,
        "A row without text teaches only how often its class occurs." if count else "", examples, {"count": count},
    )  # fmt: skip


def _lengths(connection: duckdb.DuckDBPyConnection, text: str, stats: dict[str, Any]) -> Check:
    column, lengths = store.name(text), stats["lengths"]
    tokens = TOKENS_SQL.format(column=column)
    # No text has more tokens than bytes; the guess itself would look at every character.
    where = f"CASE WHEN strlen({column}) <= {LONG_TOKENS} THEN false ELSE {tokens} > {LONG_TOKENS} END"
    count = _scalar(connection, f"SELECT count(*) FROM rows WHERE {where}")
    examples = _examples(
        connection,
        count,
        f"""SELECT row_id, length({column}) AS characters, left({column}, 200) AS text FROM rows WHERE {where}
            ORDER BY characters DESC, row_id LIMIT {EXAMPLES}""",
    )
    message = (
        f"Half of the texts have up to {lengths['p50']:,} characters, 95 % up to {lengths['p95']:,}, "
        f"the longest {lengths['max']:,}."
    )
    if count:
        message += f" {count:,} rows are longer than an encoder reads (about {LONG_TOKENS} tokens)."
    return Check(
        "lengths", _warn(count), message, count, "drop_long_rows" if count else None,
        "Training cuts them off at the maximum length." if count else "", examples,
        {"count": count, "p50": lengths["p50"], "p95": lengths["p95"], "max": lengths["max"], "tokens": LONG_TOKENS},
    )  # fmt: skip


# --- met while reading ----------------------------------------------------------------------------------------------


def _reading(staged: Staged) -> Iterable[Check]:
    n = staged.unlabelled.count
    yield _met(
        "empty_labels", staged.unlabelled,
        f"{n:,} rows have no label and are left out." if n else "Every row has a label.",
        hint="Fill in the labels in the file and upload it as a new version.",
    )  # fmt: skip
    n = staged.ragged.count
    yield _met(
        "ragged_rows", staged.ragged,
        f"{n:,} rows have more or fewer cells than the header." if n else "Every row has as many cells as the header.",
        fix="drop_ragged_rows",
        hint="Cells too many are ignored, missing ones empty. Quote cells that hold the delimiter.",
    )  # fmt: skip
    n = staged.damaged.count
    yield _met(
        "encoding_damage", staged.damaged,
        f"{n:,} rows hold characters broken by a wrong conversion, such as å£ for £." if n else "No broken characters.",
        fix="repair_encoding" if any(row["repaired"] != row["text"] for row in staged.damaged.examples) else None,
        hint="Repair what can be undone, or export the file again in UTF-8.",
    )  # fmt: skip
    n = staged.spilled.count
    if n:
        yield _met(
            "spilled_cells", staged.spilled, f"{n:,} rows go on in columns without a name.",
            fix="join_spilled_cells", hint="Texts were broken at the delimiter; join them, or leave the rest out.",
        )  # fmt: skip
    n = staged.malformed.count
    if n:
        yield _met(
            "malformed_rows", staged.malformed, f"{n:,} lines are not JSON objects and are left out.",
            hint="Correct these lines and upload the file as a new version.",
        )  # fmt: skip


def _met(code: str, found: Found, message: str, *, fix: str | None = None, hint: str = "") -> Check:
    n = found.count
    return Check(code, _warn(n), message, n, fix if n else None, hint if n else "", list(found.examples), {"count": n})


def _warn(count: int | bool) -> Severity:
    return "warn" if count else "pass"


def _scalar(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    ((value,),) = connection.execute(query).fetchall()
    return int(value)


def _examples(connection: duckdb.DuckDBPyConnection, count: int, query: str) -> list[dict[str, Any]]:
    """The first of `count` rows; where there are none, no text is read to find that out."""
    if not count:
        return []
    cursor = connection.execute(query)
    names = [column[0] for column in cursor.description or ()]
    return [{name: _short(value) for name, value in zip(names, row, strict=True)} for row in cursor.fetchall()]


def _short(value: Any) -> Any:
    return f"{value[:200]}…" if isinstance(value, str) and len(value) > 200 else value
