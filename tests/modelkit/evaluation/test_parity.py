"""When a bundle answers as its model did, and when it does not."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from modelkit import bundle as bundles
from modelkit.errors import UserError
from modelkit.evaluation import parity
from tests.tiny.run import Trained


def answer(label: str, a: float) -> dict[str, Any]:
    return {"label": label, "scores": {"a": a, "b": 1 - a}}


def test_a_trained_bundle_answers_as_its_model(instant: Trained) -> None:
    replayed = parity.replay(instant.outcome.bundle)
    assert replayed.ok
    assert (replayed.golden, replayed.agreement) == (24, 1.0)
    stored = json.loads((instant.scratch / "artifacts" / "parity.json").read_text())
    assert set(stored) == {"golden", "agree", "max_drift", "mean_drift", "ok"}


def test_another_model_in_the_bundle_is_noticed(instant: Trained, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(instant.outcome.bundle, tmp_path / "copy"))
    golden = bundles.golden(copy)
    golden.outputs[0]["scores"] = dict.fromkeys(golden.outputs[0]["scores"], 0.25)
    (copy / "golden.json").write_text(golden.model_dump_json())
    replayed = parity.replay(copy)
    assert not replayed.ok
    with pytest.raises(UserError) as caught:
        parity.require(replayed)
    assert caught.value.code == "parity_failed"


@pytest.mark.parametrize(
    ("given", "ok"),
    [
        (answer("a", 0.9), True),
        (answer("a", 0.9004), True),
        (answer("a", 0.95), False),
        (answer("b", 0.9), False),
        (answer("a", math.nan), False),
    ],
)
def test_bounds(given: dict[str, Any], ok: bool) -> None:
    assert parity.compare([answer("a", 0.9)], [given]).ok is ok


def test_a_variant_may_be_given_other_bounds() -> None:
    expected = [answer("a", 0.9)] * 10
    given = [answer("a", 0.8)] * 9 + [answer("b", 0.4)]
    compared = parity.compare(expected, given, min_agreement=0.9, max_drift=0.5)
    assert (compared.ok, compared.agree, compared.max_drift) == (True, 9, pytest.approx(0.5))
    assert not parity.compare(expected, given, min_agreement=0.95, max_drift=0.5).ok
