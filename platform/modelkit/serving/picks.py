"""The best class and its score for each input of an answer, in six bytes: what the front reads of a reply.

The front passes the answer itself on unread; from the picks it counts labels and compares revisions. Light.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

_BYTES = 6
#: More classes than this have no picks.
MAX_LABELS = 65_536


def pack_picks(outputs: Sequence[Mapping[str, Any]], index_of: Mapping[str, int]) -> bytes:
    """Label indices, then scores; empty where an output has no label that the model declares."""
    if not index_of or len(index_of) > MAX_LABELS:
        return b""
    try:
        indices = [index_of[row["label"]] for row in outputs]
        return struct.pack(f"={len(indices)}H{len(indices)}f", *indices, *[row["score"] for row in outputs])
    except (KeyError, IndexError, TypeError, struct.error):
        return b""


def label_indices(picks: bytes) -> tuple[int, ...]:
    """The index of each input's label."""
    return struct.unpack_from(f"={len(picks) // _BYTES}H", picks)


def label_scores(picks: bytes) -> tuple[float, ...]:
    """The score of each input's label."""
    count = len(picks) // _BYTES
    return struct.unpack_from(f"={count}f", picks, 2 * count)
