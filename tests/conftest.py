"""Fixtures for every test: where real data and models lie, and an own home for everything the code writes."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

# Before Django reads its settings: no test touches the checkout's own instance.
os.environ.setdefault("TUNEYARD_HOME", tempfile.mkdtemp(prefix="ty-test-"))

ROOT = Path(__file__).resolve().parents[1]


def _shared(variable: str, folder: str) -> Path:
    path = Path(os.environ.get(variable) or ROOT.parent / "shared" / folder)
    if not path.is_dir():
        pytest.skip(f"no {folder} at {path}; set {variable}")
    return path


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets."""
    return _shared("TUNEYARD_DATA", "data")


@pytest.fixture(scope="session")
def shared_models() -> Path:
    """The folder of small real pretrained models."""
    return _shared("TUNEYARD_MODELS", "models")
