"""What computes a graph on this host: one module an engine, found by its name. Light.

An engine module is light to import. It has `precisions() -> tuple[str, ...]`, what it can compute on this processor
(nothing where its package is missing), and `open_session(graph, *, precision, slots) -> Session`. The default, ONNX
Runtime with the graph as it is, is what every version was checked with when it was made; predictors open it themselves.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from modelkit import bundle, catalog
from modelkit.errors import UserError
from modelkit.serving.plan import Runtime


class Session(Protocol):
    """What a predictor needs of an engine; safe to call from `slots` threads at once."""

    def run(self, names: Sequence[str], feed: Mapping[str, Any]) -> list[Any]:
        """The outputs `names`, in their order, for the inputs `feed`; arrays as in `onnxruntime.InferenceSession`."""
        ...


def names() -> list[str]:
    """Every engine that comes with the platform, installed or not."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def precisions(name: str) -> tuple[str, ...]:
    """What an engine can compute here; empty where it is not installed."""
    found: tuple[str, ...] = _module(name).precisions()
    return found


def open_predictor(folder: Path, runtime: Runtime) -> Any:
    """The predictor of a bundle on this runtime. Raises UserError for an engine that is not here."""
    manifest = bundle.read(folder)
    predictor = catalog.task_module(manifest.task, "predict").Predictor
    # One single-thread session shared by all slots: two slots give 1.8-2x, two threads in one slot 1.0-1.2x.
    if runtime.engine == Runtime().engine:
        return predictor(folder, threads=1)
    try:
        module = _module(runtime.engine)
        graph = folder / manifest.graph
        session = module.open_session(graph, precision=runtime.precision, slots=max(1, runtime.slots))
    except ImportError:
        raise UserError(
            "engine_missing",
            "This host has no engine {engine}.",
            "Install its package on the serving host, or choose another engine.",
            engine=runtime.engine,
        ) from None
    return predictor(folder, threads=1, session=session)


def _module(name: str) -> ModuleType:
    if name not in names():
        raise ImportError(name)
    return importlib.import_module(f"{__name__}.{name}")
