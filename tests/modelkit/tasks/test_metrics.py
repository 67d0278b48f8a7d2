"""Our numbers against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, log_loss, precision_recall_fscore_support

from modelkit.tasks.text_classification import metrics
from modelkit.tasks.text_classification.data import Split

CHANCE = np.random.default_rng(5)
# Class 3 is neither true nor predicted in the first rows; class 4 is never true.
TARGETS = CHANCE.choice([0, 0, 0, 1, 2], size=60)
PROBABILITIES = metrics.softmax(CHANCE.normal(size=(60, 5)) * 2 + np.eye(5)[TARGETS] * 2 - np.eye(5)[3] * 50)


def test_numbers_are_those_of_scikit_learn() -> None:
    predicted = PROBABILITIES.argmax(axis=1)
    values = metrics.measure(TARGETS, PROBABILITIES)
    assert values == pytest.approx(
        {
            "accuracy": accuracy_score(TARGETS, predicted),
            "f1_macro": f1_score(TARGETS, predicted, average="macro"),
            "f1_weighted": f1_score(TARGETS, predicted, average="weighted"),
            "loss": log_loss(TARGETS, PROBABILITIES, labels=range(5)),
        }
    )


def test_the_table_is_that_of_scikit_learn() -> None:
    predicted = PROBABILITIES.argmax(axis=1)
    table = metrics.per_class(metrics.confusion_matrix(TARGETS, predicted, 5))
    expected = precision_recall_fscore_support(TARGETS, predicted, labels=range(5), zero_division=0)
    for name, column in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        np.testing.assert_allclose(table[name], column, err_msg=name)


def test_answers_of_a_predictor_score_as_their_probabilities_do() -> None:
    labels = ["a", "b", "c", "d", "e"]
    answers = [{"label": "?", "scores": dict(zip(labels, row, strict=True))} for row in PROBABILITIES]
    assert metrics.score(answers, [labels[t] for t in TARGETS]) == metrics.measure(TARGETS, PROBABILITIES)


def test_a_certain_mistake_has_a_finite_loss() -> None:
    assert np.isfinite(metrics.measure(np.array([0]), np.array([[0.0, 1.0]]))["loss"])


def test_samples_show_the_worst_first() -> None:
    part = Split([f"r{i}" for i in range(60)], [f"text {i}" for i in range(60)], TARGETS)
    report = metrics.report(list("abcde"), "test", part, PROBABILITIES, seed=0)
    losses = [row["loss"] for row in report["samples"]["worst"]]
    assert losses == sorted(losses, reverse=True)
    assert report["samples"]["best"][0]["loss"] <= min(losses)
    assert sum(map(sum, report["confusion"]["matrix"])) == 60
