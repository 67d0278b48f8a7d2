"""A short way from bytes to a prepared version."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelkit.contracts import Column
from modelkit.data.options import ReadOptions
from modelkit.data.prepare import Prepared, SourceFile, prepare

COLUMNS = (
    Column("text", "Text", "text", synonyms=("sentence", "review", "message")),
    Column("label", "Label", "category", synonyms=("category", "class", "intent")),
)

Prepare = Callable[..., Prepared]


@pytest.fixture
def prepared(tmp_path: Path) -> Prepare:
    """`prepared(content, name="t.csv", parts=..., encoding=..., mapping=..., fixes=...)`."""

    def run(
        content: bytes | str | dict[str, bytes | str],
        name: str = "t.csv",
        mapping: dict[str, str] | None = None,
        fixes: tuple[str, ...] = (),
        **options: Any,
    ) -> Prepared:
        files = []
        for part, data in (content if isinstance(content, dict) else {"all": content}).items():
            path = tmp_path / f"{part}-{name}"
            path.write_bytes(data if isinstance(data, bytes) else data.encode())
            files.append(SourceFile(path, name if part == "all" else f"{part}-{name}", part))  # type: ignore[arg-type]
        target = tmp_path / "out"
        target.mkdir(exist_ok=True)
        declared = ReadOptions(**options)
        return prepare(
            files,
            target,
            task="text_classification",
            columns=COLUMNS,
            options=declared,
            mapping=mapping,
            fixes=fixes,
        )

    return run


def table(rows: int = 40, header: str = "text,label") -> str:
    """Two classes, every text different."""
    lines = [header] if header else []
    for number in range(rows):
        lines.append(f'"My card number {number}, ordered last week, has not arrived",card_arrival')
        lines.append(f"Please give me back the {number} euros,refund")
    return "\n".join(lines) + "\n"
