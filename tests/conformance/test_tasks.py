"""What every task must do."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from pydantic import ValidationError

from modelkit import bundle as bundles
from modelkit import catalog
from modelkit.contracts import PHASES, Footprint
from modelkit.errors import Stopped
from modelkit.evaluation import parity
from modelkit.tracking.memory import MemoryReporter
from tests.conformance.conftest import Runs
from tests.tiny.run import train

HEAVY = {"torch", "transformers", "onnxruntime", "numpy", "pyarrow", "sklearn", "mlflow"}


def test_the_spec_is_light(task: str) -> None:
    code = (
        f"import sys; sys.path[:] = {sys.path!r}; from modelkit import catalog; catalog.tasks()[{task!r}]; "
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())


def test_every_parameter_explains_itself(task: str) -> None:
    for name, field in catalog.tasks()[task].params.model_json_schema()["properties"].items():
        if name == "task":
            assert field["const"] == task
            continue
        assert field["title"], name
        assert field["description"], name
        assert field["group"] in ("basic", "advanced"), name


def test_presets_and_example_are_valid(task: str) -> None:
    spec = catalog.tasks()[task]
    for preset in spec.presets:
        params = spec.params.model_validate(preset.values)
        assert spec.params.model_validate(params.model_dump(mode="json")) == params
    spec.request.model_validate(spec.example)
    assert spec.metric(spec.primary_metric)


def test_resources_are_predicted(task: str) -> None:
    spec = catalog.tasks()[task]
    for preset in spec.presets:
        wanted = spec.resources(
            spec.params.model_validate(preset.values), Footprint(800, 100, 100, 10, 12.0, 22_000_000, 90_000_000, 2)
        )
        assert min(wanted.memory_bytes, wanted.seconds, wanted.disk_bytes) > 0


def test_bad_parameters_are_refused_by_name(task: str, runs: Runs) -> None:
    spec = catalog.tasks()[task]
    for field, values in {**runs.case(task).refused, "no_such_setting": {"no_such_setting": 1}}.items():
        with pytest.raises(ValidationError) as caught:
            spec.params.model_validate(values)
        assert {error["loc"][0] for error in caught.value.errors()} == {field}


def test_every_setting_trains_to_a_whole_bundle(task: str, runs: Runs) -> None:
    spec = catalog.tasks()[task]
    for setting in runs.case(task).settings:
        trained = runs.trained(task, setting)
        assert {metric.name for metric in spec.metrics} <= set(trained.outcome.metrics)
        phases = [PHASES.index(event["name"]) for event in trained.reporter.of("phase")]
        assert phases == sorted(phases)
        fractions = [event["fraction"] for event in trained.reporter.of("progress")]
        assert fractions == sorted(fractions)
        assert fractions[-1] == 1.0
        manifest = bundles.verify(trained.outcome.bundle)
        assert manifest.task == task
        assert manifest.metrics == dict(trained.outcome.metrics)
        for event in trained.reporter.of("artifact"):
            json.loads(event["path"].read_text())


def test_the_loss_falls(task: str, runs: Runs) -> None:
    events = runs.trained(task, "loop").reporter.of("metrics")
    losses = [event["values"]["loss"] for event in events if event["split"] == "train" and "loss" in event["values"]]
    third = max(1, len(losses) // 3)
    assert len(losses) >= 3
    assert sum(losses[-third:]) < sum(losses[:third])


def test_same_seed_same_numbers(task: str, runs: Runs) -> None:
    first, second = runs.trained(task, "loop"), runs.trained(task, "loop", "second")
    assert first.reporter.of("metrics") == second.reporter.of("metrics")
    assert bundles.golden(first.outcome.bundle) == bundles.golden(second.outcome.bundle)


def test_a_bundle_read_back_answers_as_the_trained_model(task: str, runs: Runs) -> None:
    for setting in runs.case(task).settings:
        replayed = parity.replay(runs.trained(task, setting).outcome.bundle)
        assert replayed.golden > 0
        assert replayed.ok


def test_a_batch_equals_its_singles(task: str, runs: Runs) -> None:
    bundle = runs.trained(task, "loop").outcome.bundle
    predictor = parity.open_predictor(bundle)
    inputs = bundles.golden(bundle).inputs
    singles = [predictor.predict([item])[0] for item in inputs]
    assert parity.compare(singles, predictor.predict(inputs), max_drift=1e-5).ok
    stepwise = predictor.postprocess(predictor.forward(predictor.preprocess(inputs)))
    assert parity.compare(singles, stepwise, max_drift=1e-5).ok


def test_the_example_request_is_answered(task: str, runs: Runs) -> None:
    spec = catalog.tasks()[task]
    bundle = runs.trained(task, "loop").outcome.bundle
    predictor = parity.open_predictor(bundle)
    predictor.warmup()
    for example in (dict(spec.example), bundles.read(bundle).request_example):
        request = spec.request.model_validate(example)
        outputs = predictor.predict(request.model_dump()["inputs"])
        assert len(outputs) == len(example["inputs"])
        spec.response.model_validate({"outputs": outputs})


def test_a_stopped_training_resumes_to_the_same_result(task: str, runs: Runs) -> None:
    case = runs.case(task)
    scratch = runs.root / task / "stopped"

    def in_the_middle(reporter: MemoryReporter) -> bool:
        return len([event for event in reporter.of("metrics") if event["split"] == "train"]) >= 5

    with pytest.raises(Stopped):
        train(task, scratch, case.dataset, case.base_model, case.settings["loop"], stop_when=in_the_middle)
    assert (scratch / "checkpoints").is_dir()
    resumed = train(task, scratch, case.dataset, case.base_model, case.settings["loop"])
    whole = runs.trained(task, "loop")
    first_step = resumed.reporter.of("metrics")[0]["step"]
    assert first_step > whole.reporter.of("metrics")[0]["step"]
    assert resumed.outcome.metrics == pytest.approx(dict(whole.outcome.metrics), abs=1e-5)
    expected, given = (bundles.golden(run.outcome.bundle).outputs for run in (whole, resumed))
    assert parity.compare(expected, given, max_drift=1e-5).ok
