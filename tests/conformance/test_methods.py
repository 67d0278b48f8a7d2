"""What every compression method must do, on a bundle of every task."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from modelkit import bundle as bundles
from modelkit import catalog
from modelkit.compression import recipe
from modelkit.contracts import PHASES, RunContext
from modelkit.errors import UserError
from modelkit.evaluation import parity
from modelkit.tracking.memory import MemoryReporter
from tests.conformance.conftest import Runs


def test_every_parameter_explains_itself(method: str) -> None:
    spec = catalog.methods()[method]
    for name, field in spec.params.model_json_schema()["properties"].items():
        assert name == "method" or (field["title"] and field["description"] and field["group"]), name
    spec.params()  # defaults suffice
    with pytest.raises(ValidationError):
        spec.params.model_validate({"no_such_setting": 1})


def test_a_variant_is_a_bundle_of_its_own(method: str, task: str, runs: Runs, tmp_path: Path) -> None:
    spec = catalog.methods()[method]
    source = runs.trained(task, "loop").outcome.bundle
    parent = bundles.verify(source)
    reporter = MemoryReporter()

    def compress() -> Path:
        return recipe.run(
            RunContext(tmp_path, "cpu", 0, reporter, 1),
            source=source,
            target=tmp_path / "bundle",
            method=method,
            params=spec.params(),
            dataset=runs.case(task).dataset,
            lineage={"job": "tiny"},
        ).bundle

    applies = spec.applies(parent, "cpu")
    if not applies.yes:
        assert applies.reason
        with pytest.raises(UserError, match="cannot be used"):
            compress()
        return
    variant = bundles.verify(compress())
    assert bundles.verify(source) == parent
    assert variant.digest != parent.digest
    assert variant.lineage["parent"]["digest"] == parent.digest
    assert variant.recipe[-1]["method"] == method
    assert variant.labels == parent.labels
    phases = [PHASES.index(event["name"]) for event in reporter.of("phase")]
    assert phases == sorted(phases)
    scores = json.loads((tmp_path / "artifacts" / "score.json").read_text())
    assert set(scores["baseline"]) == set(scores["variant"])
    assert parity.replay(tmp_path / "bundle", min_agreement=recipe.MIN_AGREEMENT, max_drift=1.0).ok
    outputs = parity.open_predictor(tmp_path / "bundle").predict(parent.request_example["inputs"])
    assert len(outputs) == len(parent.request_example["inputs"])
