"""Measures training on Banking77 and prints one JSON object of fractions and seconds as the last line.

Everything else goes to the error stream. A figure that could not be measured is null, with the reason above.
`--only NAME...` measures some parts: instant, balanced, overhead, trainer, pickup. INT8 belongs to balanced.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

# Before torch is imported anywhere: nothing here may look for the network.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")

from benchmarks.training import loops, pickup, recipes
from modelkit.training.precision import cpu_flags

KEYS = (
    "instant_accuracy",
    "instant_s",
    "balanced_accuracy",
    "balanced_s",
    "overhead_ratio",
    "pickup_s",
    "speedup_vs_trainer",
    "int8_bytes_ratio",
    "int8_accuracy_delta",
)
NOTABLE_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8")


def main() -> None:
    """Measure, saying what happens on the error stream."""
    parser = argparse.ArgumentParser(description=__doc__)
    parts: dict[str, Callable[[recipes.Bench], dict[str, float]]] = {
        "instant": recipes.measure_instant,
        "balanced": recipes.measure_balanced,
        "overhead": loops.measure_overhead,
        "trainer": loops.measure_speedup,
        "pickup": pickup.measure_pickup,
    }
    parser.add_argument("--only", nargs="+", choices=list(parts), default=list(parts))
    wanted = parser.parse_args().only
    figures: dict[str, float | list[str] | None] = dict.fromkeys(KEYS)
    with tempfile.TemporaryDirectory(prefix="tuneyard-bench-") as folder:
        bench = recipes.prepare(Path(folder))
        for name in wanted:
            begun = time.monotonic()
            try:
                found = parts[name](bench)
            except Exception:  # one part that fails must not hide the others
                traceback.print_exc(file=sys.stderr)
                found = {}
            figures.update({key: round(value, 4) for key, value in found.items()})
            print(f"{name}: {found} in {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
    figures["cpu_flags"] = [flag for flag in NOTABLE_FLAGS if flag in cpu_flags()]
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
