"""Finds tasks and compression methods by their folders, and imports their heavy halves on first use. Light.

A folder under `modelkit/tasks/` or `modelkit/compression/` with a `spec.py` is registered; nothing else is edited.
`TUNEYARD_PLUGINS` (folders separated by `:`) adds further folders that hold `tasks/` and `compression/`.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
from functools import cache
from pathlib import Path
from types import ModuleType

import modelkit.compression
import modelkit.tasks
from modelkit.contracts import CompressionSpec, TaskSpec


def _extend(package: ModuleType, folder: str) -> None:
    for root in filter(None, os.environ.get("TUNEYARD_PLUGINS", "").split(":")):
        path = str(Path(root) / folder)
        if path not in package.__path__:
            package.__path__.append(path)


def _names(package: ModuleType) -> list[str]:
    return sorted(
        info.name
        for info in pkgutil.iter_modules(package.__path__)
        if info.ispkg and (Path(info.module_finder.path) / info.name / "spec.py").is_file()  # type: ignore[union-attr]
    )


@cache
def tasks() -> dict[str, TaskSpec]:
    """Every task by name."""
    _extend(modelkit.tasks, "tasks")
    return {name: importlib.import_module(f"modelkit.tasks.{name}.spec").SPEC for name in _names(modelkit.tasks)}


@cache
def methods() -> dict[str, CompressionSpec]:
    """Every compression method by name."""
    _extend(modelkit.compression, "compression")
    package = modelkit.compression
    return {name: importlib.import_module(f"{package.__name__}.{name}.spec").SPEC for name in _names(package)}


def task_module(name: str, part: str) -> ModuleType:
    """The heavy module `part` (data, model, train, metrics, export, predict) of a task; raises KeyError if unknown."""
    tasks()[name]
    return importlib.import_module(f"modelkit.tasks.{name}.{part}")


def method_module(name: str) -> ModuleType:
    """The heavy module `apply` of a compression method; raises KeyError if unknown."""
    methods()[name]
    return importlib.import_module(f"modelkit.compression.{name}.apply")
