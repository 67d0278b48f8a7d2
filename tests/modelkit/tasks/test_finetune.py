"""The training loop: what changes nothing must change nothing, and what must stop it does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modelkit.contracts import BaseModelRef, RunContext
from modelkit.errors import Stopped, UserError
from modelkit.tasks.text_classification.finetune import Encoded, FineTuning
from modelkit.tasks.text_classification.model import Classifier, load_base
from modelkit.tasks.text_classification.spec import Params
from modelkit.tracking.memory import MemoryReporter
from tests.tiny.encoder import write_encoder

CHANCE = np.random.default_rng(0)
WORDS = [f"w{i}" for i in range(40)]


def rows(count: int) -> Encoded:
    """Rows of two classes, told apart by the half of the vocabulary their tokens come from."""
    targets = CHANCE.integers(0, 2, size=count)
    ids = [[2, *(CHANCE.integers(4, 24, size=CHANCE.integers(2, 9)) + 20 * target).tolist(), 3] for target in targets]
    return Encoded.of(ids, targets)


TRAIN, VALIDATION = rows(64), rows(24)


@pytest.fixture(scope="module")
def steady_base(tmp_path_factory: pytest.TempPathFactory) -> BaseModelRef:
    """Without dropout, so that the same rows give the same gradient however they are cut."""
    return write_encoder(tmp_path_factory.mktemp("steady"), WORDS, dropout=0.0)


@pytest.fixture
def loop(tmp_path: Path, steady_base: BaseModelRef) -> Callable[..., FineTuning]:
    def make(
        folder: str = "run", reporter: MemoryReporter | None = None, budget_s: float | None = None, **values: Any
    ) -> FineTuning:
        torch.manual_seed(1)
        base = load_base(steady_base, 32)
        params = Params.model_validate({"precision": "fp32", "batch_size": 16, "epochs": 2, **values})
        return FineTuning(
            RunContext(tmp_path / folder, "cpu", 0, reporter or MemoryReporter(), 1),
            params,
            Classifier(base.encoder, base.width, 2),
            train=TRAIN,
            validation=VALIDATION,
            weights=torch.ones(2),
            pad_id=0,
            precision="fp32",
            budget_s=budget_s,
            span=(0.0, 1.0),
        )

    return make


def weights(loop: FineTuning) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in loop.model.state_dict().items()}


def losses(loop: FineTuning) -> list[float]:
    return [event["values"]["loss"] for event in loop.ctx.reporter.of("metrics") if event["split"] == "train"]  # type: ignore[attr-defined]


def test_the_loss_falls_and_rows_are_told_apart(loop: Callable[..., FineTuning]) -> None:
    run = loop(epochs=8, learning_rate=1e-3, head_learning_rate=1e-2)
    run.train()
    assert losses(run)[-1] < 0.8 * losses(run)[0]
    assert run.best.value is not None
    assert run.best.value > 0.8


def test_accumulated_batches_are_one_large_batch(loop: Callable[..., FineTuning]) -> None:
    whole, pieces = loop("whole", batch_size=16), loop("pieces", batch_size=4, accumulation=4)
    whole.train()
    pieces.train()
    torch.testing.assert_close(weights(whole), weights(pieces), atol=1e-4, rtol=1e-3)


def test_running_out_of_memory_halves_the_micro_batch_and_changes_no_result(loop: Callable[..., FineTuning]) -> None:
    calm, tight = loop("calm"), loop("tight")
    calm.train()
    forward = tight.model.forward

    def too_large(input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        if tight.model.training and len(input_ids) > 4:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
        return forward(input_ids, attention_mask)

    tight.model.forward = too_large  # type: ignore[method-assign]
    tight.train()
    assert tight.micro.rows == 4
    assert [event["code"] for event in tight.ctx.reporter.of("notice")] == ["smaller_micro_batch"] * 2  # type: ignore[attr-defined]
    torch.testing.assert_close(weights(calm), weights(tight), atol=1e-4, rtol=1e-3)


def test_memory_that_fits_no_row_is_said_plainly(loop: Callable[..., FineTuning]) -> None:
    run = loop()

    def never(input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        raise MemoryError

    run.model.forward = never  # type: ignore[method-assign]
    with pytest.raises(UserError) as caught:
        run.train()
    assert caught.value.code == "out_of_memory"


def test_a_loss_that_is_no_number_ends_training_with_a_hint(loop: Callable[..., FineTuning]) -> None:
    run = loop()
    with torch.no_grad():
        run.model.head.bias.fill_(float("inf"))
    with pytest.raises(UserError) as caught:
        run.train()
    assert caught.value.code == "loss_not_finite"
    assert "learning rate" in caught.value.hint


def stop_at(step: int) -> MemoryReporter:
    looks = iter(range(1000))
    return MemoryReporter(lambda reporter: next(looks) == step)


@pytest.mark.parametrize("step", [0, 3, 5, 7])
def test_a_stopped_run_goes_on_to_the_same_weights(loop: Callable[..., FineTuning], step: int) -> None:
    whole = loop("whole")
    whole.train()
    with pytest.raises(Stopped):
        loop("parts", stop_at(step)).train()
    resumed = loop("parts")
    resumed.train()
    assert [event["code"] for event in resumed.ctx.reporter.of("notice")] == ["resumed"]  # type: ignore[attr-defined]
    torch.testing.assert_close(weights(whole), weights(resumed))


def test_a_damaged_checkpoint_is_passed_over(loop: Callable[..., FineTuning]) -> None:
    whole = loop("whole")
    whole.train()
    with pytest.raises(Stopped):
        loop("parts", stop_at(8)).train()  # two of these looks fall into validation
    newest = loop("parts").store.path(6)
    (newest / "tensors.safetensors").write_bytes((newest / "tensors.safetensors").read_bytes()[:-100])
    resumed = loop("parts")
    resumed.train()
    assert "step 4 of 8" in resumed.ctx.reporter.of("notice")[0]["message"]  # type: ignore[attr-defined]
    torch.testing.assert_close(weights(whole), weights(resumed))


def test_a_spent_budget_ends_training_with_a_model(loop: Callable[..., FineTuning]) -> None:
    run = loop(budget_s=0.0)
    run.train()
    assert run.step == 0
    assert [event["code"] for event in run.ctx.reporter.of("notice")] == ["budget_spent"]  # type: ignore[attr-defined]


def test_patience_ends_training_and_the_best_weights_are_restored(loop: Callable[..., FineTuning]) -> None:
    # The rate is so high that after the first epochs nothing gets better for long.
    run = loop(epochs=30, patience=2, learning_rate=0.01, head_learning_rate=1.0, schedule="constant", warmup=0)
    run.train()
    events = run.ctx.reporter.of("metrics")  # type: ignore[attr-defined]
    validation = [(event["step"], event["values"]["accuracy"]) for event in events if event["split"] == "validation"]
    best = max(validation, key=lambda entry: entry[1])
    assert len(validation) < 30
    assert run.best.step == best[0]
    stored = run.store.load(best[0])
    assert stored is not None
    torch.testing.assert_close(stored.tensors["model.head.weight"], weights(run)["head.weight"])


def test_frozen_embeddings_do_not_move(loop: Callable[..., FineTuning]) -> None:
    run = loop(frozen_embeddings=False)
    before = run.model.encoder.get_input_embeddings().weight.clone()  # type: ignore[operator]
    run.train()
    assert not torch.equal(before, run.model.encoder.get_input_embeddings().weight)  # type: ignore[operator]
