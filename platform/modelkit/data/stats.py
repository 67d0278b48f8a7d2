"""Statistics of a version, for its page. Light; asks the DuckDB view `rows`."""

from __future__ import annotations

from typing import Any

import duckdb

from modelkit.data import store
from modelkit.data.options import SPLITS

BINS = 30


def compute(connection: duckdb.DuckDBPyConnection, *, text: str | None, label: str | None) -> dict[str, Any]:
    """Rows per class and split, largest class first; and lengths in characters with a histogram."""
    found: dict[str, Any] = {}
    if label:
        column = store.name(label)
        counts = ", ".join(f"count(*) FILTER (split = '{split}')" for split in SPLITS)
        rows = connection.execute(
            f"SELECT {column}, count(*), {counts} FROM rows GROUP BY 1 ORDER BY 2 DESC, 1"
        ).fetchall()
        found["classes"] = [
            {"label": row[0], "rows": row[1], **dict(zip(SPLITS, row[2:], strict=True))} for row in rows
        ]
    if text:
        found["lengths"] = _lengths(connection, store.name(text))
    return found


def _lengths(connection: duckdb.DuckDBPyConnection, column: str) -> dict[str, Any]:
    row = connection.execute(
        f"""SELECT min(length({column})), avg(length({column})), max(length({column})),
            quantile_disc(length({column}), 0.5), quantile_disc(length({column}), 0.95),
            quantile_disc(length({column}), 0.995) FROM rows"""
    ).fetchall()[0]
    low, mean, high, p50, p95, edge = row
    # The last bin takes the tail, so that one long text does not flatten the picture.
    width = max(1, -(-(int(edge) + 1) // BINS))
    bins = dict(
        connection.execute(
            f"SELECT least(length({column}) // {width}, {BINS - 1}), count(*) FROM rows GROUP BY 1"
        ).fetchall()
    )
    last = max(bins)
    return {
        "unit": "characters",
        "min": low,
        "mean": round(mean, 1),
        "p50": p50,
        "p95": p95,
        "max": high,
        "histogram": [
            {
                "from": number * width,
                "to": (number + 1) * width - 1 if number < last else high,
                "rows": int(bins.get(number, 0)),
            }
            for number in range(int(last) + 1)
        ],
    }
