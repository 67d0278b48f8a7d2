"""One score for all bundles."""

from __future__ import annotations

import pytest

from modelkit.contracts import DatasetRef
from modelkit.evaluation import probe, score
from tests.tiny.run import Trained


def test_a_bundle_scores_what_its_training_reported(instant: Trained, topics: DatasetRef) -> None:
    rows = score.choose_rows(instant.outcome.bundle, topics, seed=0)
    assert rows.split == "test"
    values = score.score(instant.outcome.bundle, rows).values
    for name, value in instant.outcome.metrics.items():
        assert values[name] == pytest.approx(value, abs=1e-6)
    assert (values["agreement"], values["max_drift"]) == (1.0, 0.0)
    assert 0 < values["graph_bytes"] < values["size_bytes"]


def test_without_a_dataset_the_golden_set_is_asked_and_no_quality_claimed(instant: Trained) -> None:
    rows = score.choose_rows(instant.outcome.bundle, None, seed=0)
    values = score.score(instant.outcome.bundle, rows).values
    assert rows.split == "golden"
    assert "accuracy" not in values


def test_costs_come_from_a_process_that_holds_the_bundle_only(instant: Trained) -> None:
    cost = probe.probe(instant.outcome.bundle, ["parcel late", "card charged", "reset my password"])
    assert len(cost.latencies_ms) == 3
    assert cost.throughput_rows_s > 0
    # This process holds torch: a child that began with its memory would show several times as much.
    assert 20e6 < cost.peak_memory_bytes < 250e6


def test_a_probe_leaves_no_bytecode_in_the_bundle(instant: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    before = {path.name for path in instant.outcome.bundle.iterdir()}
    probe.probe(instant.outcome.bundle, ["parcel late"])
    assert {path.name for path in instant.outcome.bundle.iterdir()} == before


def test_a_probe_that_fails_says_why(instant: Trained, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(RuntimeError, match=r"predictor\.py"):
        probe.probe(tmp_path_factory.mktemp("empty"), ["a"])


def test_what_is_worse_is_named() -> None:
    baseline = {"accuracy": 0.9, "f1_macro": 0.9, "p50_ms": 2.0, "size_bytes": 100.0, "peak_memory_bytes": 100.0}
    variant = {**baseline, "accuracy": 0.89, "p50_ms": 3.0, "size_bytes": 25.0}
    assert score.drawbacks(baseline, variant) == ["accuracy", "p50_ms"]
    assert score.drawbacks(baseline, baseline) == []
