"""DuckDB over a version's Parquet file, within a fixed share of memory. Light."""

from __future__ import annotations

from pathlib import Path

import duckdb

ROWS = "rows.parquet"


def connect(*, memory_mb: int = 256, threads: int = 2, scratch: Path | None = None) -> duckdb.DuckDBPyConnection:
    """An in-memory database; spills to `scratch` when given, and reads no file that it is not told to."""
    connection = duckdb.connect(":memory:")
    connection.execute(f"SET memory_limit = '{int(memory_mb)}MB'")
    connection.execute(f"SET threads = {int(threads)}")
    connection.execute("SET autoinstall_known_extensions = false")
    connection.execute("SET python_enable_replacements = false")
    if scratch is not None:
        connection.execute(f"SET temp_directory = {literal(str(scratch))}")
    return connection


def literal(text: str) -> str:
    """A SQL string literal, for the places that take no parameter."""
    return "'" + text.replace("'", "''") + "'"


def name(column: str) -> str:
    """A quoted SQL identifier."""
    return '"' + column.replace('"', '""') + '"'


def parquet(path: Path) -> str:
    """The table expression that reads a Parquet file."""
    return f"read_parquet({literal(str(path))})"
