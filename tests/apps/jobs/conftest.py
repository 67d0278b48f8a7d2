"""Inputs that every job needs."""

from __future__ import annotations

from typing import Any

import pytest

from tests.apps.jobs.factory import base_model_make, dataset_make


@pytest.fixture
def ready(team: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The team with a ready dataset `tickets@1` and a base model `tiny`; messages go nowhere, since no broker runs."""
    from apps.jobs import queue

    sent: list[str] = []
    monkeypatch.setattr(queue, "send", lambda name, *args, **options: sent.append(name))
    team.workspace.sent = sent
    dataset_make(team.workspace)
    base_model_make()
    return team
