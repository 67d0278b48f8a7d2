"""Runs a recipe in a temporary folder, with a reporter that remembers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelkit import catalog
from modelkit.contracts import BaseModelRef, DatasetRef, Outcome, RunContext, TrainJob
from modelkit.tracking.memory import MemoryReporter


@dataclass(frozen=True)
class Trained:
    """A finished training and what it reported."""

    outcome: Outcome
    reporter: MemoryReporter
    scratch: Path


def train(
    task: str,
    scratch: Path,
    dataset: DatasetRef,
    base_model: BaseModelRef,
    params: Mapping[str, Any],
    *,
    stop_when: Callable[[MemoryReporter], bool] = lambda reporter: False,
    budget_s: float | None = None,
) -> Trained:
    """Train with one thread on the CPU. A second call with the same scratch folder resumes."""
    reporter = MemoryReporter(stop_when)
    job = TrainJob(
        task=task,
        params=catalog.tasks()[task].params.model_validate(params),
        dataset=dataset,
        base_model=base_model,
        model_name="tiny",
        budget_s=budget_s,
        lineage={"job": "tiny"},
    )
    outcome = catalog.task_module(task, "train").run(RunContext(scratch, "cpu", 0, reporter, 1), job)
    return Trained(outcome, reporter, scratch)
