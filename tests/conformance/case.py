"""How a task tells the suite what to run it on."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelkit.contracts import BaseModelRef, DatasetRef


@dataclass(frozen=True)
class Case:
    """A tiny training. `settings` hold parameter sets by name, `loop` among them: one that trains step by step.

    `refused` maps a field to parameters that must be refused because of it.
    """

    dataset: DatasetRef
    base_model: BaseModelRef
    settings: Mapping[str, Mapping[str, Any]]
    refused: Mapping[str, Mapping[str, Any]]


def find(task: str, folder: Path) -> Case:
    """The case of a task, its files written below `folder`; fails where there is none."""
    for name in (f"modelkit.tasks.{task}.conformance", f"tests.conformance.cases.{task}"):
        if importlib.util.find_spec(name) is not None:
            case: Case = importlib.import_module(name).case(folder)
            return case
    raise AssertionError(f"The task {task} has no conformance case: write tests/conformance/cases/{task}.py.")
