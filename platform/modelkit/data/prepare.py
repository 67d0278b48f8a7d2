"""The whole way from files to a version's `rows.parquet` and `dataset.json`, in constant memory. Heavy (pyarrow).

Reads from top to bottom: open the files, map columns to roles, stage the rows, divide and fix them, write them in
their final order, check them. What the user can mend comes back in `Prepared.error`, never as an exception.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import duckdb

from modelkit.contracts import Column
from modelkit.data import checks, placing, roles, splits, stats, store
from modelkit.data.options import FIXES, SPLITS, Part, ReadOptions
from modelkit.data.readers import PROFILE_ROWS, TableFile
from modelkit.data.staging import Source, Staged, stage
from modelkit.data.writing import FORMAT, write_rows
from modelkit.errors import UserError
from modelkit.wording import say

#: More classes than this, on more than half as many rows, is a column of texts or ids.
MANY_CLASSES = 1000


@dataclass(frozen=True)
class SourceFile:
    """A user's file on this machine."""

    path: Path
    name: str
    part: Part = "all"


@dataclass
class Prepared:
    """What became of the files. `rows.parquet` and `dataset.json` exist when the status is ready."""

    status: Literal["ready", "needs_mapping", "rejected"]
    detected: dict[str, Any] = field(default_factory=dict)
    mapping: dict[str, str] = field(default_factory=dict)
    rows: int = 0
    splits: dict[str, int] = field(default_factory=dict)
    labels: list[str] = field(default_factory=list)
    digest: str = ""
    checks: list[dict[str, Any]] = field(default_factory=list)
    stats: dict[str, Any] = field(default_factory=dict)
    error: dict[str, str] | None = None


def prepare(
    files: Sequence[SourceFile],
    target: Path,
    *,
    task: str,
    columns: Sequence[Column],
    options: ReadOptions,
    mapping: Mapping[str, str] | None = None,
    fixes: Sequence[str] = (),
    progress: Callable[[float], None] = lambda fraction: None,
) -> Prepared:
    """Read `files` and write the version's files into `target`, an existing folder; scratch files go there too."""
    prepared = Prepared("rejected")
    try:
        _run(prepared, files, target, task, columns, options, dict(mapping or {}), frozenset(fixes), progress)
    except UserError as error:
        prepared.error = error.card()
    finally:
        for leftover in ("staged.parquet", "rows.parquet.part"):
            (target / leftover).unlink(missing_ok=True)
    return prepared


def _run(
    prepared: Prepared,
    files: Sequence[SourceFile],
    target: Path,
    task: str,
    columns: Sequence[Column],
    options: ReadOptions,
    declared: dict[str, str],
    fixes: frozenset[str],
    progress: Callable[[float], None],
) -> None:
    unknown = fixes - FIXES.keys()
    if unknown:
        raise UserError(
            "unknown_fix",
            "There is no fix {fix!r}.",
            "Fixes are {fixes}.",
            field="fixes",
            fix=min(unknown),
            fixes=", ".join(FIXES),
        )
    rule = splits.rule_for(file.part for file in files)
    sources = _open(files, columns, options, prepared)
    if not _map(prepared, sources, columns, declared):
        return
    staging = target / "staged.parquet"
    staged = stage(
        sources,
        staging,
        roles=columns,
        mapping=prepared.mapping,
        rule=rule,
        label_names=options.label_names(),
        fixes=fixes,
        progress=lambda fraction: progress(0.7 * fraction),
    )
    if staged.rows == 0:
        raise _no_rows(staged)
    label = next((role.role for role in columns if role.kind == "category" and role.role in prepared.mapping), None)
    with store.connect(memory_mb=512, scratch=target) as connection:
        connection.execute(f"CREATE VIEW staged AS SELECT * FROM {store.parquet(staging)}")
        _require_classes(connection, label, prepared.mapping)
        placement = placing.place(connection, rule, label, fixes)
    progress(0.8)
    used = {role.role: prepared.mapping[role.role] for role in columns if role.role in prepared.mapping}
    prepared.digest = write_rows(
        staging, target, placement, used, rule, rows=staged.rows, progress=lambda part: progress(0.8 + 0.15 * part)
    )
    rows_path = target / store.ROWS
    with store.connect(memory_mb=512, scratch=target) as connection:
        connection.execute(f"CREATE VIEW rows AS SELECT * FROM {store.parquet(rows_path)}")
        prepared.splits = _split_counts(connection)
        prepared.rows = sum(prepared.splits.values())
        prepared.labels = _labels(connection, label)
        if len(prepared.labels) < 2 and label:
            raise _one_class(prepared.labels, prepared.mapping[label])
        if prepared.splits["train"] == 0:
            raise UserError(
                "train_empty", "No row is left to train on.", "Leave out a fix, or add rows.", field="train"
            )
        text = next((role.role for role in columns if role.kind == "text" and role.role in prepared.mapping), None)
        prepared.stats = stats.compute(connection, text=text, label=label)
        given = rule.parts != ("all",)
        prepared.checks = checks.run(connection, staged, prepared.stats, text=text, label=label, splits_given=given)
    _write_card(target, prepared, task, columns)
    progress(1.0)
    prepared.status = "ready"


# --- opening and mapping --------------------------------------------------------------------------------------------


def _open(
    files: Sequence[SourceFile], columns: Sequence[Column], options: ReadOptions, prepared: Prepared
) -> list[Source]:
    sources = []
    for file in files:
        try:
            table = TableFile(file.path, file.name, options, roles.known_names(columns))
        except UserError as error:
            message = say("{file}: {problem}", file=file.name, problem=error.message)
            raise UserError(error.code, message, error.hint, field=error.field) from None
        sources.append(Source(table, file.part))
        prepared.detected = {"files": [{**source.table.found.as_dict(), "part": source.part} for source in sources]}
    return sources


def _map(prepared: Prepared, sources: Sequence[Source], columns: Sequence[Column], declared: dict[str, str]) -> bool:
    """Fill `mapping`; False when the user has to choose, with the reason in `error`."""
    table = sources[0].table
    head = [row.cells for row in table.head(PROFILE_ROWS)]
    profiles = roles.profile_columns(table.found.columns, head)
    prepared.detected["columns"] = [profile.as_dict() for profile in profiles]
    if not head:
        raise UserError(
            "no_rows",
            "{file} has a header and no rows.",
            "Add rows below the header, or say that the file has no header.",
            field="header",
            file=table.found.file,
        )
    try:
        roles.check_declared(declared, columns, table.found.columns, table.found.file)
    except UserError as error:
        if len(table.found.columns) < 2:
            raise
        suggested = roles.map_columns(profiles, columns, {})
        prepared.detected["suggestions"] = {
            role: [name] for role, name in suggested.columns.items()
        } | suggested.suggestions
        prepared.error = error.card()
        prepared.status = "needs_mapping"
        return False
    found = roles.map_columns(profiles, columns, declared)
    prepared.mapping = found.columns
    prepared.detected["suggestions"] = found.suggestions
    if found.missing:
        missing = found.missing[0]
        if not found.suggestions[missing]:
            raise UserError(
                f"{missing}_missing",
                "{file} has no column for the {missing}; it has {columns}.",
                "Add a column with the {missing} of each row; check the delimiter if there should be one.",
                field=f"mapping.{missing}",
                file=table.found.file,
                missing=missing,
                columns=", ".join(table.found.columns),
            )
        choice = ", ".join(found.suggestions[missing][:8])
        if missing in found.unlike:
            message = say("No column of {file} looks like the {missing}.", file=table.found.file, missing=missing)
            hint = say("Choose one of {columns} all the same, or upload a file with such a column.", columns=choice)
        else:
            message = say("It is not clear which column holds the {missing}.", missing=missing)
            hint = say("Choose one of {columns}.", columns=choice)
        prepared.error = {
            "code": "mapping_needed",
            "message": message,
            "hint": hint,
            "field": f"mapping.{missing}",
        }
        prepared.status = "needs_mapping"
        return False
    for source in sources[1:]:
        roles.check_declared(prepared.mapping, columns, source.table.found.columns, source.table.found.file)
    return True


# --- asked of the staged rows ---------------------------------------------------------------------------------------


def _require_classes(connection: duckdb.DuckDBPyConnection, label: str | None, mapping: Mapping[str, str]) -> None:
    if label is None:
        return
    column = store.name(label)
    classes, rows = _one(connection, f"SELECT count(DISTINCT {column}), count(*) FROM staged")
    if classes < 2:
        only = _one(connection, f"SELECT any_value({column}) FROM staged")[0]
        raise _one_class([only], mapping[label])
    if classes > MANY_CLASSES and classes > rows / 2:
        raise UserError(
            "label_not_classes",
            "The column {column!r} has {classes:,} different values in {rows:,} rows, too many for classes.",
            "Choose the column that holds the class of each row.",
            field=f"mapping.{label}",
            column=mapping[label],
            classes=classes,
            rows=rows,
        )


def _write_card(target: Path, prepared: Prepared, task: str, columns: Sequence[Column]) -> None:
    card = {
        "format": FORMAT,
        "task": task,
        "columns": {role.role: "string" for role in columns if role.role in prepared.mapping},
        "labels": prepared.labels,
        "splits": prepared.splits,
        "rows": prepared.rows,
        "mapping": prepared.mapping,
        "digest": prepared.digest,
    }
    (target / "dataset.json").write_text(json.dumps(card, ensure_ascii=False, indent=2), encoding="utf-8")


# --- small questions ------------------------------------------------------------------------------------------------


def _one(connection: duckdb.DuckDBPyConnection, query: str) -> tuple[Any, ...]:
    # Fetched whole: a result with rows left would block the connection.
    (row,) = connection.execute(query).fetchall()
    return tuple(row)


def _split_counts(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    counts = dict(connection.execute("SELECT split, count(*) FROM rows GROUP BY split").fetchall())
    return {split: int(counts.get(split, 0)) for split in SPLITS}


def _labels(connection: duckdb.DuckDBPyConnection, label: str | None) -> list[str]:
    if label is None:
        return []
    found = connection.execute(f"SELECT DISTINCT {store.name(label)} FROM rows").fetchall()
    return sorted(value for (value,) in found)


def _no_rows(staged: Staged) -> UserError:
    if staged.unlabelled.count:
        return UserError(
            "no_labels",
            "None of the {rows:,} rows has a label.",
            "Fill in the label column, or choose another column for it.",
            field="mapping.label",
            rows=staged.read,
        )
    return UserError("no_rows", "The file holds no rows.", "Add rows below the header.", field="file")


def _one_class(labels: Sequence[str], column: str) -> UserError:
    return UserError(
        "one_class",
        "The column {column!r} holds only one class, {label!r}; there is nothing to tell apart."
        if labels
        else "The column {column!r} holds no class; there is nothing to tell apart.",
        "Add rows of at least one other class, or choose another column for the label.",
        field="mapping.label",
        column=column,
        label=labels[0] if labels else "",
    )
