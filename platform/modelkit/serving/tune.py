"""`python -m modelkit.serving.tune`: measure one runtime of one bundle in a process of its own.

Writes a `Candidate` as the last line. Half of the time goes to one text after another from one caller, half to full
batches in every slot, both over the bundle's golden inputs; its golden answers are compared first.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import os
import signal
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from modelkit import bundle
from modelkit.errors import UserError
from modelkit.serving import engines
from modelkit.serving.agent import golden
from modelkit.serving.plan import Candidate, Goal, Runtime
from modelkit.wording import both, say

#: Answers of an exact runtime may differ from the frozen ones by this much in a probability: rounding of float32.
EXACT_DRIFT = 1e-3
#: No measuring takes longer; the agent gives up at the same time.
END_S = 120


def measure(folder: Path, runtime: Runtime, goal: Goal, *, seconds: float) -> Candidate:
    """The figures of `runtime` on this host. What cannot run is a candidate that does not pass, with the reason."""
    try:
        predictor = engines.open_predictor(folder, runtime)
        predictor.warmup()
        expected = bundle.golden(folder)
        given = predictor.predict(expected.inputs)
    except UserError as error:
        return Candidate(runtime=runtime, reason=both(error.message, error.hint))
    except Exception as error:
        logging.getLogger("modelkit.serving.tune").exception("The runtime cannot run this model.")
        cause = f"{type(error).__name__}: {error}"[:300]
        return Candidate(runtime=runtime, reason=say("It cannot run this model: {error}", error=cause))
    replay = golden.compare(expected.outputs, given)
    reason = golden.verdict(replay, bundle.read(folder), runtime)
    if not reason and goal == "exact" and (replay.agree < replay.total or replay.max_drift > EXACT_DRIFT):
        reason = say(
            "A probability differs by up to {drift:.4f}; exact answers allow {allowed:g}.",
            drift=replay.max_drift,
            allowed=EXACT_DRIFT,
        )
    times_ms = _one_caller(predictor, expected.inputs, seconds / 2)
    rate = _full_batches(predictor, expected.inputs, runtime, seconds / 2)
    return Candidate(
        runtime=runtime,
        p50_ms=round(statistics.median(times_ms), 3),
        p95_ms=round(sorted(times_ms)[int(len(times_ms) * 0.95)], 3),
        texts_per_s=round(rate, 1),
        memory_mb=psutil.Process().memory_info().rss // 1_000_000,
        golden=replay,
        passes=not reason,
        reason=reason,
    )


def _one_caller(predictor: Any, inputs: list[Any], seconds: float) -> list[float]:
    times_ms: list[float] = []
    rotation = itertools.cycle(inputs)
    until = time.perf_counter() + seconds
    while not times_ms or time.perf_counter() < until:
        begun = time.perf_counter()
        predictor.predict([next(rotation)])
        times_ms.append((time.perf_counter() - begun) * 1000)
    return times_ms


def _full_batches(predictor: Any, inputs: list[Any], runtime: Runtime, seconds: float) -> float:
    """Texts per second of `slots` threads."""
    counts = [0] * max(1, runtime.slots)
    begun = time.perf_counter()

    def work(slot: int, batches: Iterator[list[Any]]) -> None:
        while not counts[slot] or time.perf_counter() - begun < seconds:
            counts[slot] += len(predictor.predict(next(batches)))

    threads = []
    for slot in range(len(counts)):
        shift = slot * len(inputs) // len(counts)
        threads.append(threading.Thread(target=work, args=(slot, _batches(inputs, shift, runtime.max_batch))))
        threads[-1].start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - begun)


def _batches(inputs: list[Any], shift: int, size: int) -> Iterator[list[Any]]:
    rotation = itertools.islice(itertools.cycle(inputs), shift, None)
    while True:
        yield list(itertools.islice(rotation, size))


def _end_with_parent() -> None:
    """Nobody reads what an agent that was killed had asked for, and the next one measures on the same processors."""
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m modelkit.serving.tune", description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--runtime", type=Runtime.model_validate_json, required=True, help="a Runtime as JSON")
    parser.add_argument("--goal", default="")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--with-parent", action="store_true", help="end when standard input ends")
    options = parser.parse_args(arguments)
    # A model that hangs would stay for ever where nobody waits for us any more.
    signal.alarm(END_S)
    if options.with_parent:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO, stream=sys.stderr)
    found = measure(options.bundle, options.runtime, options.goal, seconds=options.seconds)
    sys.stdout.write(found.model_dump_json() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
