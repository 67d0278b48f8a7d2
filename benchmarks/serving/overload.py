"""A minute of ten times what can be answered, and how soon the host is itself again.

Sustainable are 64 callers; 640 ask at once, and again as soon as they were answered or refused. A second after the last
of them eight callers are measured as they were before.
"""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.serving.product import Product
from benchmarks.serving.stage import ask

CALLERS = 640
OVERLOAD_S = 60
CALM_S = 5
AFTER_S = 1.0


def measure(product: Product, script: Path) -> dict[str, float]:
    """What 640 callers got, growth of memory in MB, and the p50 of eight callers afterwards over that before."""
    before = ask(product.url, script, connections=8, seconds=CALM_S)
    memory_mb = product.memory_mb()
    load = ask(product.url, script, connections=CALLERS, seconds=OVERLOAD_S)
    grown_mb = product.memory_mb() - memory_mb
    time.sleep(AFTER_S)
    after = ask(product.url, script, connections=8, seconds=CALM_S)
    return {
        "overload_refused": load.refused / load.requests,
        "overload_broken": load.broken,
        "overload_rate_over_calm": (load.requests - load.refused) / load.seconds / before.rate,
        "overload_grown_mb": grown_mb,
        "overload_p50_after_over_before": after.p50_ms / before.p50_ms,
        "overload_failed_after": after.broken + after.refused,
    }
