"""ONNX Runtime, the engine of every bundle's own predictor."""

from __future__ import annotations


def precisions() -> tuple[str, ...]:
    return ("as_is",)
