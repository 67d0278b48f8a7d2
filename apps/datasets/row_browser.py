"""Pages through a version's rows without loading them: DuckDB over the Parquet file, ids first, then the rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from django.utils.translation import gettext as _

from apps.core import storage
from apps.core.errors import Conflict
from apps.datasets.models import DatasetVersion, VersionStatus
from modelkit.data import store

Sort = Literal["position", "length", "label"]
MEMORY_MB = 192


@dataclass(frozen=True)
class RowFilter:
    """What to show. `search` is looked for anywhere in the text, whatever its case."""

    split: str = ""
    label: str = ""
    search: str = ""
    sort: Sort = "position"
    descending: bool = False


@dataclass(frozen=True)
class RowPage:
    """Rows as dictionaries by column, and how many match altogether."""

    rows: list[dict[str, Any]]
    total: int


def rows_path(version: DatasetVersion) -> Path:
    """The version's Parquet file on this machine; raises Conflict unless the version is ready and the file is there."""
    if version.status != VersionStatus.READY:
        state = VersionStatus(version.status).label
        raise Conflict(
            _("%(ref)s is in the state “%(state)s”, so it has no rows to show.") % {"ref": version.ref, "state": state},
            code="version_not_ready",
            hint=_("Wait until the checks are done, or see what they found."),
        )
    try:
        path = storage.local_dir(version.prefix) / store.ROWS
    except FileNotFoundError:
        path = None
    if path is None or not path.is_file():
        message = _("The rows of %(ref)s are not in the storage any more.") % {"ref": version.ref}
        hint = _("Bring the storage back from its backup, or upload the file as a new version.")
        raise Conflict(message, code="rows_missing", hint=hint, fields={"dataset": message})
    return path


def rows_browse(version: DatasetVersion, wanted: RowFilter, *, offset: int = 0, limit: int = 50) -> RowPage:
    """One page of the rows that match."""
    table = f"read_parquet({store.literal(str(rows_path(version)))}, file_row_number = true)"
    has_label, has_text = "label" in version.mapping, "text" in version.mapping
    where, values = ["true"], []
    if wanted.split:
        where.append("split = ?")
        values.append(wanted.split)
    if wanted.label and has_label:
        where.append("label = ?")
        values.append(wanted.label)
    if wanted.search and has_text:
        # `contains` takes % and _ as they are; lower() folds case beyond ASCII.
        where.append("contains(lower(text), lower(?))")
        values.append(wanted.search)
    key = {"length": "length(text)" if has_text else "file_row_number", "label": "label" if has_label else "split"}
    order = f"{key.get(wanted.sort, 'file_row_number')} {'DESC' if wanted.descending else 'ASC'}, file_row_number"
    condition = " AND ".join(where)
    with store.connect(memory_mb=MEMORY_MB, threads=1) as connection:
        ((total,),) = connection.execute(f"SELECT count(*) FROM {table} WHERE {condition}", values).fetchall()
        ids = connection.execute(
            f"SELECT file_row_number FROM {table} WHERE {condition} ORDER BY {order} LIMIT ? OFFSET ?",
            [*values, limit, offset],
        ).fetchall()
        if not ids:
            return RowPage([], int(total))
        numbers = ", ".join(str(int(number)) for (number,) in ids)
        cursor = connection.execute(f"SELECT * FROM {table} WHERE file_row_number IN ({numbers})")
        names = [column[0] for column in cursor.description or ()]
        by_number = {
            row["file_row_number"]: row for row in (dict(zip(names, r, strict=True)) for r in cursor.fetchall())
        }
    rows = [by_number[number] for (number,) in ids]
    for row in rows:
        del row["file_row_number"]
    return RowPage(rows, int(total))


@dataclass(frozen=True)
class VersionDiff:
    """How `version` differs from `base`, by the text of rows."""

    added: int
    removed: int
    relabelled: int
    examples: list[dict[str, Any]]


def versions_diff(base: DatasetVersion, version: DatasetVersion, *, examples: int = 20) -> VersionDiff:
    """Counts of rows added, removed and given another class; a row is the same when its text (and occurrence) is."""
    label = '"label"' if "label" in version.mapping and "label" in base.mapping else "''"
    text = '"text"' if "text" in version.mapping and "text" in base.mapping else "''"
    old, new = (store.parquet(rows_path(item)) for item in (base, version))
    with store.connect(memory_mb=MEMORY_MB, threads=1) as connection:
        connection.execute(f"CREATE VIEW old AS SELECT row_id, {text} AS text, {label} AS label FROM {old}")
        connection.execute(f"CREATE VIEW new AS SELECT row_id, {text} AS text, {label} AS label FROM {new}")
        (counts,) = connection.execute(
            """SELECT count(*) FILTER (old.row_id IS NULL), count(*) FILTER (new.row_id IS NULL),
               count(*) FILTER (old.label <> new.label) FROM old FULL JOIN new USING (row_id)"""
        ).fetchall()
        rows = connection.execute(
            f"""SELECT CASE WHEN old.row_id IS NULL THEN 'added' WHEN new.row_id IS NULL THEN 'removed'
                ELSE 'relabelled' END AS change, row_id, left(coalesce(new.text, old.text), 200) AS text,
                old.label AS before, new.label AS after FROM old FULL JOIN new USING (row_id)
                WHERE old.row_id IS NULL OR new.row_id IS NULL OR old.label <> new.label
                ORDER BY change DESC, row_id LIMIT {int(examples)}"""
        ).fetchall()
    keys = ("change", "row_id", "text", "before", "after")
    added, removed, relabelled = map(int, counts)
    return VersionDiff(added, removed, relabelled, [dict(zip(keys, row, strict=True)) for row in rows])
