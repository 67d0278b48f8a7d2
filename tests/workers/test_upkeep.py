"""Upkeep: each sweep for itself."""

from __future__ import annotations

import pytest

from workers.tasks import upkeep

# Tasks close connections that are too old: a transaction around the test would end with its own.
pytestmark = pytest.mark.django_db(transaction=True)


def test_a_sweep_that_fails_keeps_no_other_from_its_work(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    done: list[str] = []

    def failing() -> None:
        raise RuntimeError("no room")

    def forgetting() -> None:
        done.append("forgotten")

    monkeypatch.setattr(upkeep, "_SWEEPS", (failing, forgetting))
    upkeep.tick()
    assert done == ["forgotten"]
    assert "failing() failed" in caplog.text


def test_every_sweep_runs_on_an_installation_that_is_empty(caplog: pytest.LogCaptureFixture) -> None:
    upkeep.tick()
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]
