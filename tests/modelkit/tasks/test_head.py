"""The Instant head against scikit-learn's, and embedding that goes on where it stopped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from modelkit.contracts import BaseModelRef, RunContext
from modelkit.errors import Stopped
from modelkit.tasks.text_classification import head
from modelkit.tasks.text_classification.model import Classifier, load_base
from modelkit.tracking.memory import MemoryReporter

CHANCE = np.random.default_rng(0)
TARGETS = CHANCE.choice(4, p=[0.5, 0.3, 0.15, 0.05], size=300)
EMBEDDINGS = torch.nn.functional.normalize(
    torch.from_numpy(CHANCE.normal(size=(300, 12)) + 1.2 * np.eye(4, 12)[TARGETS]).float(), dim=-1
)


@pytest.mark.parametrize("mode", ["none", "balanced"])
@pytest.mark.parametrize("strength", [1.0, 50.0])
def test_the_fit_is_that_of_scikit_learn(mode: str, strength: float) -> None:
    weights = head.class_weights(TARGETS, 4, mode)  # type: ignore[arg-type]
    ours = head.fit(EMBEDDINGS, TARGETS, weights, strength)
    theirs = LogisticRegression(
        C=strength, class_weight=None if mode == "none" else "balanced", max_iter=2000, tol=1e-8
    ).fit(EMBEDDINGS.numpy(), TARGETS)
    expected = theirs.predict_proba(EMBEDDINGS.numpy())
    given = torch.softmax(torch.from_numpy(ours.logits(EMBEDDINGS)), dim=-1).numpy()
    np.testing.assert_allclose(given, expected, atol=2e-3)


def context(tmp_path: Path, reporter: MemoryReporter | None = None) -> RunContext:
    return RunContext(tmp_path, "cpu", 0, reporter or MemoryReporter(), 1)


def test_the_strength_that_does_best_on_validation_wins(tmp_path: Path) -> None:
    own, held_out = slice(0, 200), slice(200, 300)
    chosen, curve = head.choose(
        context(tmp_path),
        EMBEDDINGS[own],
        TARGETS[own],
        (EMBEDDINGS[held_out], TARGETS[held_out]),
        weights=torch.ones(4),
        optimise_for="loss",
        higher_is_better=False,
    )
    assert len(curve) == len(head.STRENGTHS)
    losses = [point["loss"] for point in curve]
    smooth = [sum(near) / len(near) for near in (losses[max(0, i - 1) : i + 2] for i in range(len(losses)))]
    assert chosen.strength == curve[smooth.index(min(smooth))]["strength"]


def test_a_lucky_strength_between_bad_ones_does_not_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accuracies = iter([0.90, 0.80, 0.85, 0.86, 0.87, 0.86, 0.80])
    monkeypatch.setattr(head, "measure_logits", lambda targets, logits: {"accuracy": next(accuracies), "loss": 1.0})
    chosen, _curve = head.choose(
        context(tmp_path),
        EMBEDDINGS[:50],
        TARGETS[:50],
        (EMBEDDINGS[50:60], TARGETS[50:60]),
        weights=torch.ones(4),
        optimise_for="accuracy",
        higher_is_better=True,
    )
    assert chosen.strength == 25.0


def test_without_validation_the_default_strength_is_used(tmp_path: Path) -> None:
    chosen, curve = head.choose(
        context(tmp_path),
        EMBEDDINGS,
        TARGETS,
        None,
        weights=torch.ones(4),
        optimise_for="accuracy",
        higher_is_better=True,
    )
    assert (chosen.strength, curve) == (head.DEFAULT_STRENGTH, [])


def test_embedding_goes_on_where_it_was_stopped(tmp_path: Path, tiny_base: BaseModelRef) -> None:
    base = load_base(tiny_base, 32)
    model = Classifier(base.encoder, base.width, 2)
    ids = [[2, *range(4, 4 + length), 3] for length in CHANCE.integers(1, 20, size=50)]

    def embed(folder: Path, reporter: MemoryReporter) -> torch.Tensor:
        return head.embed(context(folder, reporter), model, ids, pad_id=0, rows=8, precision="fp32", span=(0.0, 1.0))

    looks = iter(range(100))
    stopping = MemoryReporter(lambda reporter: next(looks) == 3)
    with pytest.raises(Stopped):
        embed(tmp_path / "stopped", stopping)
    assert len(stopping.of("checkpoint")) == 1
    resumed = embed(tmp_path / "stopped", MemoryReporter())
    torch.testing.assert_close(resumed, embed(tmp_path / "whole", MemoryReporter()))
