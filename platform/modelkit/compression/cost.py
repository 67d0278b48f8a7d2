"""Predicts what a compression will take, from the bundle's manifest and the rows that will score it. Light."""

from __future__ import annotations

from modelkit.bundle import Manifest
from modelkit.contracts import Resources

#: As `modelkit.evaluation.score`, which is heavy: rows that are scored, rows whose latency is measured, in how many
#: rounds, of two bundles.
QUALITY_ROWS, LATENCY_ROWS, ROUNDS = 5000, 100, 2
#: Multiply-adds a second of one thread of ONNX Runtime on short texts, as measured on two cores with AMX.
SPEED = 4.0e10


def predict(manifest: Manifest, *, rows: int, parameters: int, mean_tokens: float) -> Resources:
    """Memory, time by phase and disk of a compression scored on `rows` rows.

    `parameters` may be 0 where the base model is unknown: then they are guessed from the bytes of the weights.
    """
    weights = max((file.size_bytes for file in manifest.files), default=0)
    row_s = (parameters or weights / 4) * max(1.0, mean_tokens) / SPEED
    scored = min(rows, QUALITY_ROWS)
    timed = min(rows, LATENCY_ROWS)
    compressing = 2.0 + weights / 25e6
    # Each bundle answers all rows once; each probe is a fresh process that answers the sample twice.
    evaluating = 1.0 + 2 * scored * row_s + 2 * ROUNDS * (1.5 + 2 * timed * row_s)
    phases = {
        "preparing": 0.5,
        "compressing": compressing,
        "evaluating": evaluating,
        "exporting": 1.0 + 200 * row_s,
        "parity": 1.0 + 200 * row_s,
        "publishing": 3.0,
    }
    # The launcher's imports, the graph, its copy in the quantizer, and both sessions.
    memory = 650 * 2**20 + 5 * weights
    return Resources(
        memory_bytes=int(memory),
        seconds=sum(phases.values()),
        # Baseline, variant and a working copy.
        disk_bytes=3 * manifest.size_bytes,
        phases=phases,
    )
