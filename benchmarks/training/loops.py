"""The training loop against itself without its event sink, and against the plain `transformers` Trainer.

Both comparisons take turns on the same rows, so that a busy host slows both sides alike.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.training.recipes import THREADS, Bench
from modelkit.contracts import Reporter, RunContext
from modelkit.jobfolder import JobFolder
from modelkit.tasks.text_classification import data
from modelkit.tasks.text_classification.finetune import Encoded, FineTuning
from modelkit.tasks.text_classification.model import Classifier, freeze_embeddings, load_base
from modelkit.tasks.text_classification.spec import Params
from modelkit.tracking.folder import FolderReporter
from modelkit.tracking.memory import MemoryReporter
from modelkit.training.precision import choose_precision

BATCH = 32
OVERHEAD_ROWS, OVERHEAD_PAIRS = 1280, 5
TRAINER_ROWS, TRAINER_PAIRS, WARM_STEPS = 1600, 2, 5


class Silence(MemoryReporter):
    """A sink that is off."""

    def _add(self, event: str, /, **values: Any) -> None:
        pass


def _sample(bench: Bench, rows: int) -> tuple[list[str], np.ndarray[Any, np.dtype[np.int64]], list[str]]:
    dataset = data.load(bench.dataset)
    chosen = np.random.default_rng(0).permutation(len(dataset.train))[:rows]
    return [dataset.train.texts[row] for row in chosen], dataset.train.targets[chosen], dataset.labels


def _loop(bench: Bench, scratch: Path, reporter: Reporter, rows: int) -> FineTuning:
    texts, targets, labels = _sample(bench, rows)
    params = Params.model_validate({**bench.params("balanced").model_dump(), "epochs": 1, "batch_size": BATCH})
    base = load_base(bench.base_model, params.max_length)
    model = Classifier(base.encoder, base.width, len(labels))
    freeze_embeddings(model.encoder)
    torch.set_num_threads(THREADS)
    return FineTuning(
        RunContext(scratch, "cpu", 0, reporter, THREADS),
        params,
        model,
        train=Encoded.of(data.tokenize(base.tokenizer, texts, base.pad_id), targets),
        validation=Encoded.of([], np.array([], dtype=np.int64)),
        weights=torch.ones(len(labels)),
        pad_id=base.pad_id,
        precision=choose_precision("auto", "cpu"),
        budget_s=None,
        span=(0.0, 1.0),
    )


def measure_overhead(bench: Bench) -> dict[str, float]:
    """`overhead_ratio`: seconds of an epoch that reports into a job folder, over those of one that reports nowhere."""

    def seconds(number: int, name: str) -> float:
        scratch = bench.folder / f"overhead-{number}-{name}"
        scratch.mkdir()
        loop = _loop(bench, scratch, FolderReporter(JobFolder(scratch)) if name == "on" else Silence(), OVERHEAD_ROWS)
        begun = time.perf_counter()
        loop.train()
        return time.perf_counter() - begun

    seconds(-1, "on")  # the first run pays for caches
    ratios = []
    for number in range(OVERHEAD_PAIRS):
        order = ("on", "off") if number % 2 else ("off", "on")
        took = {name: seconds(number, name) for name in order}
        ratios.append(took["on"] / took["off"])
    return {"overhead_ratio": statistics.median(ratios)}


def _our_rows_per_s(bench: Bench, number: int) -> float:
    loop = _loop(bench, bench.folder / f"ours-{number}", Silence(), TRAINER_ROWS)
    plan = data.plan_epoch(loop.train_rows.lengths, BATCH, seed=0, epoch=0)
    for rows in plan[:WARM_STEPS]:
        loop._update(rows)
    begun = time.perf_counter()
    for rows in plan[WARM_STEPS:]:
        loop._update(rows)
    return sum(map(len, plan[WARM_STEPS:])) / (time.perf_counter() - begun)


def _trainer_rows_per_s(bench: Bench, number: int) -> float:
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    texts, targets, labels = _sample(bench, TRAINER_ROWS)
    tokenizer = AutoTokenizer.from_pretrained(bench.base_model.path)
    encoded = tokenizer(texts, truncation=True, max_length=128)
    rows: Sequence[dict[str, Any]] = [
        {"input_ids": ids, "attention_mask": mask, "label": int(target)}
        for ids, mask, target in zip(encoded["input_ids"], encoded["attention_mask"], targets, strict=True)
    ]
    steps = len(rows) // BATCH
    ticks: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *arguments: Any, **named: Any) -> None:
            ticks.append(time.perf_counter())

    model = AutoModelForSequenceClassification.from_pretrained(bench.base_model.path, num_labels=len(labels))
    Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(bench.folder / f"trainer-{number}"),
            per_device_train_batch_size=BATCH,
            max_steps=steps,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
        ),
        train_dataset=rows,
        data_collator=DataCollatorWithPadding(tokenizer),
        callbacks=[Clock()],
    ).train()
    return (steps - WARM_STEPS) * BATCH / (ticks[-1] - ticks[WARM_STEPS - 1])


def measure_speedup(bench: Bench) -> dict[str, float]:
    """`speedup_vs_trainer`: training rows a second of Balanced over those of the plain Trainer with its defaults."""
    torch.set_num_threads(THREADS)
    ratios = []
    for number in range(TRAINER_PAIRS):
        theirs = _trainer_rows_per_s(bench, number)
        ratios.append(_our_rows_per_s(bench, number) / theirs)
    return {"speedup_vs_trainer": statistics.median(ratios)}
