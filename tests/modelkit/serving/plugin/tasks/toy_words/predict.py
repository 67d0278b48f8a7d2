"""Scores each label by how often its word occurs.

Some words make it misbehave: {sleep}, {hang}, {grow}, {fail}, {invalid}, {die}.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class Predictor:
    def __init__(self, bundle: Path, threads: int = 1) -> None:
        weights = json.loads((bundle / "weights.json").read_text())
        if weights.get("die_on_load"):
            os._exit(9)
        time.sleep(weights.get("load_s", 0.0))
        self.labels: list[str] = json.loads((bundle / "manifest.json").read_text())["labels"]
        self.bias: float = weights["bias"]
        self.leak: list[bytes] = []

    def warmup(self) -> None:
        self.predict(["warm"])

    def preprocess(self, inputs: Sequence[Any]) -> list[str]:
        if any("{invalid}" in text for text in inputs):
            raise ValueError("A text holds {invalid}.")
        return list(inputs)

    def token_counts(self, batch: list[str]) -> list[int]:
        return [len(text.split()) for text in batch]

    def uncut_token_counts(self, inputs: Sequence[Any]) -> list[int]:
        return [len(text.split()) for text in inputs]

    def forward(self, batch: list[str]) -> list[list[float]]:
        if any("{sleep}" in text for text in batch):
            time.sleep(0.3)
        if any("{hang}" in text for text in batch):
            time.sleep(3600)
        if any("{grow}" in text for text in batch):
            self.leak.append(os.urandom(300_000_000))
        if any("{fail}" in text for text in batch):
            raise ArithmeticError("asked to fail")
        if any("{die}" in text for text in batch):
            os._exit(9)
        return [[text.split().count(label) + i * self.bias for i, label in enumerate(self.labels)] for text in batch]

    def forward_embeddings(self, batch: list[str]) -> list[list[float]]:
        if any("{fail}" in text for text in batch):
            raise ArithmeticError("asked to fail")
        counts = [[text.split().count(label) + 1.0 for label in self.labels] for text in batch]
        return [[count / math.hypot(*row) for count in row] for row in counts]

    def embed(self, inputs: Sequence[Any]) -> list[list[float]]:
        return self.forward_embeddings(self.preprocess(inputs))

    def postprocess(self, raw: list[list[float]], *, scores: bool = True) -> list[dict[str, Any]]:
        answers = []
        for row in raw:
            powers = [math.exp(value) for value in row]
            shares = dict(zip(self.labels, (power / sum(powers) for power in powers), strict=True))
            best = max(shares, key=lambda label: shares[label])
            answers.append({"label": best, "score": shares[best]} | ({"scores": shares} if scores else {}))
        return answers

    def predict(self, inputs: Sequence[Any]) -> list[dict[str, Any]]:
        return self.postprocess(self.forward(self.preprocess(inputs)))
