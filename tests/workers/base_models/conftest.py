"""A team whose imports are worked on within the test, and a hub on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.personas import Team, team_make
from tests.workers.hub_repo import write_repo
from tests.workers.hub_server import Hub


@pytest.fixture
def team(transactional_db: None, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Team:
    """Rows that the heartbeat's own connection sees; messages go nowhere, since no broker runs."""
    monkeypatch.setattr("apps.jobs.queue.send", lambda name, *args, **options: None)
    settings.BASE_MODELS_DIR, settings.BUNDLES_DIR = tmp_path / "base-models", tmp_path / "bundles"
    settings.MLFLOW_TRACKING_URI = "http://127.0.0.1:9"
    return team_make()


@pytest.fixture
def hub(tmp_path: Path, settings: Any) -> Iterator[Hub]:
    made = Hub(write_repo(tmp_path / "repo"))
    settings.HUB_URL, settings.HUB_TOKEN = made.url, ""
    yield made
    made.close()
