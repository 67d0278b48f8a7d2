"""A real agent with front and runners per module: they start in well under a second."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.modelkit.serving.toys import Host, make_bundle


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with Host(tmp_path / "home") as running:
        yield running


@pytest.fixture
def client(host: Host) -> Iterator[httpx.Client]:
    """A caller with the owner's token, over one connection."""
    with host.client() as opened:
        yield opened


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """A good bundle."""
    make_bundle(tmp_path / "first")
    return tmp_path / "first"


@pytest.fixture
def second(tmp_path: Path) -> Path:
    """Another good bundle, which answers a little otherwise."""
    make_bundle(tmp_path / "second", bias=0.1)
    return tmp_path / "second"
