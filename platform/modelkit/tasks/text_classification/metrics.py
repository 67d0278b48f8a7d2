"""How good answers are, as numbers and as the tables of the job's page. Knows numpy only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelkit.tasks.text_classification.data import Split
from modelkit.tasks.text_classification.predict import softmax

SHOWN_SAMPLES = 25
#: A probability of exactly zero would make the loss infinite.
_TINY = 1e-12


def confusion_matrix(targets: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Counts (classes, classes): rows are true, columns predicted."""
    matrix = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(matrix, (targets, predicted), 1)
    return matrix


def per_class(matrix: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """`precision`, `recall`, `f1` and `support` of each class; 0 where a ratio has no denominator."""
    hits = np.diag(matrix).astype(np.float64)
    support, predicted = matrix.sum(axis=1).astype(np.float64), matrix.sum(axis=0).astype(np.float64)

    def ratio(top: NDArray[np.float64], bottom: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0)

    return {
        "precision": ratio(hits, predicted),
        "recall": ratio(hits, support),
        "f1": ratio(2 * hits, support + predicted),
        "support": support,
    }


def measure(targets: NDArray[np.int64], probabilities: NDArray[np.float64]) -> dict[str, float]:
    """`accuracy`, `f1_macro`, `f1_weighted` and `loss` of probabilities (rows, classes).

    F1 is averaged over the classes that occur, as truth or as prediction.
    """
    matrix = confusion_matrix(targets, probabilities.argmax(axis=1), probabilities.shape[1])
    table = per_class(matrix)
    occurs = (matrix.sum(axis=0) + matrix.sum(axis=1)) > 0
    likelihood = probabilities[np.arange(len(targets)), targets]
    return {
        "accuracy": float(np.trace(matrix) / len(targets)),
        "f1_macro": float(table["f1"][occurs].mean()),
        "f1_weighted": float((table["f1"] * table["support"]).sum() / table["support"].sum()),
        "loss": float(-np.log(np.maximum(likelihood, _TINY)).mean()),
    }


def measure_logits(targets: NDArray[np.int64], logits: NDArray[np.float32]) -> dict[str, float]:
    """`measure` of logits (rows, classes)."""
    return measure(targets, softmax(logits))


def score(answers: Sequence[Mapping[str, Any]], truth: Sequence[str]) -> dict[str, float]:
    """`measure` of what a `Predictor` answered, every class's score included, against the true labels."""
    labels = list(answers[0]["scores"])
    index = {label: position for position, label in enumerate(labels)}
    probabilities = np.array([[answer["scores"][label] for label in labels] for answer in answers])
    return measure(np.array([index[label] for label in truth], dtype=np.int64), probabilities)


def report(
    labels: Sequence[str], split: str, part: Split, probabilities: NDArray[np.float64], seed: int
) -> dict[str, dict[str, Any]]:
    """The artifacts `confusion`, `per_class` and `samples`, by name."""
    predicted = probabilities.argmax(axis=1)
    matrix = confusion_matrix(part.targets, predicted, len(labels))
    table = {name: values.tolist() for name, values in per_class(matrix).items()}
    rows = [
        {"label": label, **{name: table[name][i] for name in ("precision", "recall", "f1")}}
        | {"support": int(table["support"][i])}
        for i, label in enumerate(labels)
    ]
    losses = -np.log(np.maximum(probabilities[np.arange(len(part)), part.targets], _TINY))

    def shown(positions: NDArray[np.int64]) -> list[dict[str, Any]]:
        return [
            {
                "row_id": part.row_ids[i],
                "text": part.texts[i],
                "label": labels[part.targets[i]],
                "predicted": labels[predicted[i]],
                "score": float(probabilities[i, predicted[i]]),
                "loss": float(losses[i]),
            }
            for i in positions
        ]

    order = np.argsort(losses, kind="stable")
    chance = np.random.default_rng(seed).permutation(len(part))
    return {
        "confusion": {"labels": list(labels), "matrix": matrix.tolist(), "split": split},
        "per_class": {"rows": rows, "split": split},
        "samples": {
            "best": shown(order[:SHOWN_SAMPLES]),
            "worst": shown(order[::-1][:SHOWN_SAMPLES]),
            "random": shown(chance[:SHOWN_SAMPLES]),
            "split": split,
        },
    }
