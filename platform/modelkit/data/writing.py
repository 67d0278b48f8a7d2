"""Staged rows -> `rows.parquet` in its final order, and the digest of what it says. Heavy (pyarrow).

Train, validation, test, each in the order of the files: three readings of the staging file need neither a sort nor
memory, where sorting whole rows would need both.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from modelkit.data import store
from modelkit.data.options import SPLITS
from modelkit.data.placing import Numbers, Placement
from modelkit.data.splits import SplitRule

FORMAT = 1
ROW_GROUP_ROWS = 8192
ROW_GROUP_BYTES = 64 << 20


def write_rows(
    staging: Path,
    target: Path,
    placement: Placement,
    mapping: Mapping[str, str],
    rule: SplitRule,
    *,
    rows: int,
    progress: Callable[[float], None],
) -> str:
    """Write `rows.parquet` and return the version's digest; `mapping` is of the roles used, in their order."""
    schema = pa.schema(
        [("row_id", pa.string()), ("position", pa.int64()), ("source", pa.string()), ("split", pa.string())]
        + [(role, pa.string()) for role in mapping]
    )
    digest = hashlib.sha256()
    rule_and_mapping = {"format": FORMAT, "rule": rule.text, "mapping": dict(sorted(mapping.items()))}
    digest.update(json.dumps(rule_and_mapping, sort_keys=True, ensure_ascii=False).encode())
    partial, seen = target / "rows.parquet.part", 0
    with pq.ParquetFile(staging) as staged, pq.ParquetWriter(partial, schema, compression="zstd") as writer:
        groups = _Groups(writer, schema)
        for split in SPLITS:
            # Group by group, as staging bounded them: a batch of a number of rows could hold very long ones.
            for number in range(staged.num_row_groups):
                group = staged.read_row_group(number)
                seen += group.num_rows
                progress(seen / max(1, len(SPLITS) * rows))
                chosen = _chosen(group, split, placement, list(mapping), schema)
                if chosen.num_rows:
                    _add_to(digest, chosen, list(mapping))
                    groups.add(chosen)
        groups.flush()
    partial.replace(target / store.ROWS)
    return digest.hexdigest()


def _chosen(group: pa.Table, split: str, placement: Placement, roles: list[str], schema: pa.Schema) -> pa.Table:
    """The rows of a group that belong to `split`, with their ids."""
    first, count = group.column("seq")[0].as_py(), group.num_rows
    wanted = pc.equal(group.column("split"), split).to_numpy().copy()
    here = _within(placement.moved, first, count)
    wanted[placement.moved[here] - first] = placement.moved_to[here] == split
    wanted[placement.dropped[_within(placement.dropped, first, count)] - first] = False
    occurrence = np.zeros(count, dtype=np.int64)
    here = _within(placement.repeated, first, count)
    occurrence[placement.repeated[here] - first] = placement.occurrence[here]
    mask = pa.array(wanted)
    group = group.filter(mask)
    high = group.column("high").to_numpy().astype(">u8").tobytes().hex()
    keys = pa.array([high[at : at + 16] for at in range(0, len(high), 16)], pa.string())
    ids = pc.binary_join_element_wise(keys, pa.array(occurrence[wanted]).cast(pa.string()), "-")
    columns = [ids, group.column("position"), group.column("source"), pa.repeat(split, group.num_rows)]
    return pa.Table.from_arrays([*columns, *(group.column(role) for role in roles)], schema=schema)


def _within(numbers: Numbers, first: int, count: int) -> slice:
    low, high = np.searchsorted(numbers, [first, first + count])
    return slice(int(low), int(high))


def _add_to(digest: Any, rows: pa.Table, roles: list[str]) -> None:
    """Cells apart by U+001F, rows ended by U+001E, as one stretch of bytes."""
    cells = [rows.column(name) for name in ("row_id", "split", *roles)]
    joined = pc.binary_join_element_wise(pc.binary_join_element_wise(*cells, "\x1f"), "", "\x1e")
    for chunk in joined.chunks:
        _, offsets, data = chunk.buffers()
        ends = np.frombuffer(offsets, dtype=np.int32)[chunk.offset : chunk.offset + len(chunk) + 1]
        digest.update(memoryview(data)[ends[0] : ends[-1]])


class _Groups:
    """Row groups of a few thousand rows, so that a page of the row browser reads little."""

    def __init__(self, writer: pq.ParquetWriter, schema: pa.Schema) -> None:
        self._writer, self._schema = writer, schema
        self._pending: list[pa.Table] = []

    def add(self, rows: pa.Table) -> None:
        count = sum(table.num_rows for table in self._pending)
        size = sum(table.nbytes for table in self._pending)
        if count + rows.num_rows > ROW_GROUP_ROWS or size > ROW_GROUP_BYTES:
            self.flush()
        self._pending.append(rows)

    def flush(self) -> None:
        if self._pending:
            self._writer.write_table(pa.concat_tables(self._pending).combine_chunks(), ROW_GROUP_ROWS)
        self._pending = []
