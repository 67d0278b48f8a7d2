"""What a model answered for each row it was measured on, kept in its bundle so that versions compare row by row.

    evaluated.parquet    row_id, split, truth, predicted (strings), score (float32: the probability of `predicted`)

Texts are not repeated: a row's id finds them in the dataset version. Heavy (pyarrow); readers need only DuckDB.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from modelkit import bundle as bundles
from modelkit.training.checkpoints import disk_full_is_user_error

SCHEMA = pa.schema(
    [
        ("row_id", pa.string()),
        ("split", pa.string()),
        ("truth", pa.string()),
        ("predicted", pa.string()),
        ("score", pa.float32()),
    ]
)


def write(
    bundle: Path,
    *,
    split: str,
    row_ids: Sequence[str],
    truth: Sequence[str],
    predicted: Sequence[str],
    scores: Sequence[float],
) -> None:
    """Write the file into a bundle that is not sealed yet. Raises UserError `disk_full`."""
    columns = [list(row_ids), [split] * len(row_ids), list(truth), list(predicted), list(scores)]
    table = pa.table([pa.array(values, field.type) for values, field in zip(columns, SCHEMA, strict=True)], SCHEMA)
    with disk_full_is_user_error():
        pq.write_table(table, bundle / bundles.EVALUATED, compression="zstd")
