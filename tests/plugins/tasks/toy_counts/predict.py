"""Answers with the commonest label; knows nothing but its folder."""

import json
from pathlib import Path


class Predictor:
    def __init__(self, bundle, threads=1):
        self.answer = json.loads((Path(bundle) / "counts.json").read_text())

    def warmup(self):
        self.predict(["hello"])

    def preprocess(self, inputs):
        return list(inputs)

    def token_counts(self, batch):
        return []

    def forward(self, batch):
        return [self.answer for _ in batch]

    def postprocess(self, raw, *, scores=True):
        return [{"label": a["label"], "score": a["score"], "scores": {"yes": a["score"]}} for a in raw]

    def predict(self, inputs):
        return self.postprocess(self.forward(self.preprocess(inputs)))
