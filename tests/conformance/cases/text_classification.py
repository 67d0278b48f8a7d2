"""Four topics told apart by a BERT of 64 dimensions."""

from __future__ import annotations

from pathlib import Path

from tests.conformance.case import Case
from tests.tiny.dataset import topic_words, write_topics
from tests.tiny.encoder import write_encoder


def case(folder: Path) -> Case:
    return Case(
        dataset=write_topics(folder / "data"),
        base_model=write_encoder(folder / "encoder", topic_words()),
        settings={
            "loop": {
                "max_length": 32,
                "epochs": 4,
                "batch_size": 8,
                "learning_rate": 1e-3,
                "head_learning_rate": 1e-2,
                "label_smoothing": 0.0,
            },
            "instant": {"max_length": 32, "method": "instant"},
        },
        refused={"epochs": {"epochs": 0}, "learning_rate": {"learning_rate": -1}, "max_length": {"max_length": "long"}},
    )
