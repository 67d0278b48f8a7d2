"""One score for a bundle and its variants: the same rows, the same process, the same clock.

Quality is what the task's `metrics.score` says of the answers to `data.examples`; agreement and drift compare the
answers with the baseline's; latency, memory and throughput come from `probe`, in turns so that a busy host hits both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modelkit import bundle as bundles
from modelkit import catalog
from modelkit.contracts import DatasetRef, Predictor
from modelkit.evaluation.parity import compare, open_predictor
from modelkit.evaluation.probe import Cost, pool, probe

#: More rows would tell little more and take minutes on a slow model.
QUALITY_ROWS = 5000
LATENCY_ROWS = 100
ROUNDS = 2


@dataclass(frozen=True)
class Rows:
    """Inputs to score on; `ids` and `truth` are empty without a dataset. `split` says where they come from."""

    ids: list[str]
    inputs: list[Any]
    truth: list[Any]
    split: str


@dataclass(frozen=True)
class Scored:
    """A bundle's score as the artifact `score` holds it, and the answers it rests on."""

    values: dict[str, float]
    answers: list[dict[str, Any]]


def choose_rows(bundle: Path, dataset: DatasetRef | None, *, seed: int) -> Rows:
    """Rows of the test part, else of validation, at most `QUALITY_ROWS` by chance; without a dataset the golden set."""
    if dataset is not None:
        task = bundles.read(bundle).task
        for split in ("test", "validation"):
            ids, inputs, truth = catalog.task_module(task, "data").examples(dataset, split)
            if inputs:
                kept = np.sort(np.random.default_rng(seed).permutation(len(inputs))[:QUALITY_ROWS])
                return Rows([ids[i] for i in kept], [inputs[i] for i in kept], [truth[i] for i in kept], split)
    return Rows([], bundles.golden(bundle).inputs, [], "golden")


def score(bundle: Path, rows: Rows, *, baseline: Scored | None = None, predictor: Predictor | None = None) -> Scored:
    """Quality, agreement with the baseline, and size. A baseline agrees with itself."""
    manifest = bundles.read(bundle)
    answers = (predictor or open_predictor(bundle)).predict(rows.inputs)
    values: dict[str, float] = {}
    if rows.truth:
        values |= catalog.task_module(manifest.task, "metrics").score(answers, rows.truth)
    parity = compare(baseline.answers if baseline else answers, answers)
    values |= {
        "agreement": parity.agreement,
        "mean_drift": parity.mean_drift,
        "max_drift": parity.max_drift,
        "size_bytes": float(manifest.size_bytes),
        "graph_bytes": float((bundle / manifest.graph).stat().st_size),
    }
    return Scored(values, answers)


def cost_values(cost: Cost) -> dict[str, float]:
    """The part of a score that a probe gives."""
    return {
        "p50_ms": float(np.percentile(cost.latencies_ms, 50)),
        "p95_ms": float(np.percentile(cost.latencies_ms, 95)),
        "throughput_rows_s": cost.throughput_rows_s,
        "peak_memory_bytes": float(cost.peak_memory_bytes),
    }


def measure_costs(bundles_by_name: Mapping[str, Path], inputs: Sequence[Any]) -> dict[str, dict[str, float]]:
    """Latency, throughput and memory of several bundles, measured in turns."""
    sample = list(inputs[:LATENCY_ROWS])
    rounds: dict[str, list[Cost]] = {name: [] for name in bundles_by_name}
    for _ in range(ROUNDS):
        for name, bundle in bundles_by_name.items():
            rounds[name].append(probe(bundle, sample))
    return {name: cost_values(pool(costs)) for name, costs in rounds.items()}


def drawbacks(baseline: Mapping[str, float], variant: Mapping[str, float]) -> list[str]:
    """In which numbers a variant is worse than its baseline by more than noise: what its page must not hide."""
    worse = []
    for name in ("accuracy", "f1_macro"):
        if name in baseline and variant[name] < baseline[name] - 0.003:
            worse.append(name)
    for name in ("p50_ms", "size_bytes", "peak_memory_bytes"):
        if variant[name] > baseline[name] * 1.05:
            worse.append(name)
    return worse
