"""Which columns of a task a batch prediction reads, and those of a user's file that hold them. Light.

A file needs no classes: only the input has to be found. Where it has classes, they are compared with the answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from modelkit.contracts import TaskSpec
from modelkit.data import roles
from modelkit.data.options import ReadOptions
from modelkit.data.readers import PROFILE_ROWS, TableFile
from modelkit.errors import UserError


def input_role(task: TaskSpec) -> str:
    """The role of the texts that the task's models are asked. Raises UserError for a task of other inputs."""
    for column in task.columns:
        if column.kind == "text":
            return column.role
    raise UserError("no_text_input", "Models of this task are not asked with texts.", "Ask its endpoint instead.")


def label_role(task: TaskSpec) -> str:
    """The role of the classes; empty for a task without."""
    return next((column.role for column in task.columns if column.kind == "category"), "")


def map_file(
    path: Path, name: str, *, task: TaskSpec, options: ReadOptions, declared: Mapping[str, str]
) -> dict[str, str]:
    """Role -> column of a user's file, as far as roles have one. Raises UserError for what the user can mend."""
    text = input_role(task)
    table = TableFile(path, name, options, roles.known_names(task.columns))
    head = [row.cells for row in table.head(PROFILE_ROWS)]
    if not head:
        raise UserError(
            "no_rows",
            "{file} has a header and no rows.",
            "Add rows below the header, or say that the file has no header.",
            field="header",
            file=name,
        )
    roles.check_declared(declared, task.columns, table.found.columns, name)
    profiles = roles.profile_columns(table.found.columns, head)
    mapping = dict(roles.map_columns(profiles, task.columns, declared).columns)
    if text not in mapping and len(table.found.columns) == 1:
        mapping = {text: table.found.columns[0]}
    if text not in mapping:
        raise UserError(
            "mapping_needed",
            "It is not clear which column of {file} holds the {role}.",
            "Name it in the mapping; its columns are {columns}.",
            field="mapping",
            file=name,
            role=text,
            columns=", ".join(table.found.columns[:20]),
        )
    return mapping
