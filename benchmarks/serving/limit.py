"""LIMIT: tokenization and inference alone, in single-thread processes that do nothing else.

The upper bound of what any server can reach with this model on this machine: the same model function, batches of half
the concurrency (at most 16) sorted by length, no HTTP, no queue. One caller can keep only one process busy, so that for
concurrency 1 there is one.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.serving.stage import Stage

MAX_BATCH = 16
PROCESSES = 2


@dataclass(frozen=True)
class Bound:
    """Texts per second of all processes together, and processor milliseconds per text."""

    rate: float
    cpu_ms: float


class Limit:
    """Its processes, loaded and waiting between measurements."""

    def __init__(self, bundle: Path, stage: Stage) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Any] = []
        self._processes = []
        for number in range(PROCESSES):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs, bundle, stage.sentences, number), daemon=True)
            process.start()
            self._pipes.append(ours)
            self._processes.append(process)
        for pipe in self._pipes:
            pipe.recv()

    def measure(self, *, concurrency: int, seconds: float) -> Bound:
        """Run for `seconds` as if `concurrency` callers were waiting."""
        batch = max(1, min(MAX_BATCH, concurrency // 2))
        pipes = self._pipes[: min(PROCESSES, concurrency)]
        for pipe in pipes:
            pipe.send((batch, seconds))
        results = [pipe.recv() for pipe in pipes]
        texts = sum(count for count, _, _ in results)
        return Bound(
            rate=sum(count / took for count, took, _ in results), cpu_ms=sum(cpu for _, _, cpu in results) / texts * 1e3
        )

    def close(self) -> None:
        for process in self._processes:
            process.terminate()
            process.join()


def _work(pipe: Any, bundle: Path, sentences: list[str], number: int) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    from modelkit.tasks.text_classification.predict import Predictor

    predictor = Predictor(bundle, threads=1)
    predictor.warmup()
    at = number * len(sentences) // PROCESSES
    pipe.send("ready")
    while True:
        batch, seconds = pipe.recv()
        count = 0
        begun, cpu = time.perf_counter(), time.process_time()
        while (took := time.perf_counter() - begun) < seconds:
            texts = [sentences[(at + i) % len(sentences)] for i in range(batch)]
            predictor.forward(predictor.preprocess(texts))
            at, count = at + batch, count + batch
        pipe.send((count, took, time.process_time() - cpu))
