"""Every engine that is installed answers a real graph as ONNX Runtime does."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from modelkit import bundle
from modelkit.errors import UserError
from modelkit.serving import engines
from modelkit.serving.agent.golden import compare
from modelkit.serving.plan import Runtime
from tests.tiny.run import Trained

HERE = [(name, precision) for name in engines.names() for precision in engines.precisions(name)]


@pytest.mark.parametrize(("engine", "precision"), HERE)
def test_an_engine_answers_the_golden_set_alone_in_batches_and_from_threads(
    instant: Trained, engine: str, precision: str
) -> None:
    folder = instant.outcome.bundle
    golden = bundle.golden(folder)
    runtime = Runtime(engine=engine, precision=precision, slots=2)  # type: ignore[arg-type]
    predictor = engines.open_predictor(folder, runtime)
    predictor.warmup()
    allowed = 0.03 if precision == "bf16" else 1e-4
    assert compare(golden.outputs, predictor.predict(golden.inputs)).max_drift < allowed
    with ThreadPoolExecutor(2) as pool:
        alone = [
            answer for answers in pool.map(lambda text: predictor.predict([text]), golden.inputs) for answer in answers
        ]
    assert compare(golden.outputs, alone).max_drift < allowed


def test_onnx_runtime_and_openvino_are_installed_with_the_serving_extra() -> None:
    assert {name for name, _ in HERE} >= {"onnxruntime", "openvino"}


def test_an_engine_that_is_not_here_is_named(instant: Trained) -> None:
    with pytest.raises(UserError, match="warp"):
        engines.open_predictor(instant.outcome.bundle, Runtime(engine="warp"))


def test_listing_engines_imports_none_of_them() -> None:
    """The agent lists them; what computes is for runners."""
    code = (
        "import sys; from modelkit.serving import engines; [engines.precisions(n) for n in engines.names()];"
        "import modelkit.serving.agent.supervise;"
        "print({'openvino', 'onnxruntime', 'torch', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_openvino_reports_to_nobody(tmp_path: Path) -> None:
    """By itself it sends an event with each import and keeps an identity in the home folder."""
    code = (
        "import sys, modelkit, openvino; from openvino.tools.ovc import telemetry_utils;"
        "print(telemetry_utils.tm.__name__, any(name.startswith('openvino_telemetry.') for name in sys.modules))"
    )
    environment = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["openvino.tools.ovc.telemetry_stub", "False"]
    assert list(tmp_path.iterdir()) == []
