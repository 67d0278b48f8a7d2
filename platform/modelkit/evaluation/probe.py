"""What a bundle costs, measured from inside a fresh process that does nothing else.

`python -m modelkit.evaluation.probe BUNDLE TEXTS.json` prints one JSON object. It opens the bundle by the bundle's own
`predictor.py`, as a stranger would, so that nothing of Tuneyard counts towards the memory.
"""

from __future__ import annotations

import importlib.util
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: As in `modelkit.bundle`, which is not imported here: pydantic would count towards the memory.
PREDICTOR = "predictor.py"
#: Requests before the clock counts.
WARM_REQUESTS = 5
TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Cost:
    """Latencies of single inputs in ms, throughput of all inputs at once, and the peak memory of the process."""

    latencies_ms: list[float]
    throughput_rows_s: float
    peak_memory_bytes: int


def _peak_memory_bytes() -> int:
    # Not ru_maxrss where it can be helped: Linux lets a child begin with its parent's.
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _measure(bundle: Path, inputs: Sequence[Any]) -> dict[str, Any]:
    # A bundle is sealed: not even the bytecode of its predictor is put into it.
    sys.dont_write_bytecode = True
    spec = importlib.util.spec_from_file_location("bundle_predictor", bundle / PREDICTOR)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(bundle / PREDICTOR)
    module = importlib.util.module_from_spec(spec)
    sys.modules["bundle_predictor"] = module
    spec.loader.exec_module(module)
    predictor = module.Predictor(bundle, threads=1)
    for item in list(inputs[:WARM_REQUESTS]) or [None]:
        predictor.predict([item])
    latencies = []
    for item in inputs:
        begun = time.perf_counter()
        predictor.predict([item])
        latencies.append((time.perf_counter() - begun) * 1e3)
    begun = time.perf_counter()
    predictor.predict(list(inputs))
    throughput = len(inputs) / (time.perf_counter() - begun)
    return {
        "latencies_ms": latencies,
        "throughput_rows_s": throughput,
        "peak_memory_bytes": _peak_memory_bytes(),
    }


def probe(bundle: Path, inputs: Sequence[Any]) -> Cost:
    """Measure a bundle in a process of its own, on one thread. Raises RuntimeError with what it printed."""
    with tempfile.TemporaryDirectory(prefix="tuneyard-probe-") as folder:
        path = Path(folder) / "inputs.json"
        path.write_text(json.dumps(list(inputs)))
        # The parent's path travels: it may hold plugin folders or an editable checkout.
        code = f"import sys; sys.path[:] = {sys.path!r}; from modelkit.evaluation.probe import main; main(sys.argv[1:])"
        done = subprocess.run(
            [sys.executable, "-c", code, str(bundle), str(path)],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"The probe of {bundle.name} failed: {done.stderr.strip()[-2000:]}")
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


def pool(costs: Sequence[Cost]) -> Cost:
    """Several rounds as one: all latencies, the median throughput, the highest memory."""
    return Cost(
        [latency for cost in costs for latency in cost.latencies_ms],
        statistics.median(cost.throughput_rows_s for cost in costs),
        max(cost.peak_memory_bytes for cost in costs),
    )


def main(arguments: Sequence[str]) -> None:
    """Entry point of the process that `probe` starts."""
    bundle, inputs = arguments
    sys.stdout.write(json.dumps(_measure(Path(bundle), json.loads(Path(inputs).read_text()))) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
