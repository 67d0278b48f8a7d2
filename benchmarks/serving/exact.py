"""Exact mode: our float32 predictor against plain ONNX Runtime on padded batches of 32, over real lengths.

Both get the tokens of the same sentences and one thread; they take turns.
"""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort

from modelkit.tasks.text_classification.predict import Predictor, encode_texts, open_tokenizer, pad_rows

BATCH = 32
ROUNDS = 5


def measure(bundle: Path, sentences: list[str]) -> dict[str, float]:
    """`exact_vs_padded`: the ratio of texts per second. Raises AssertionError if the answers differ."""
    manifest = json.loads((bundle / "manifest.json").read_bytes())
    preprocessing = manifest["preprocessing"]
    predictor = Predictor(bundle, threads=1)
    tokenizer = open_tokenizer(bundle / preprocessing["tokenizer"], preprocessing["max_length"])
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(str(bundle / manifest["graph"]), sess_options=options)
    batches = [sentences[start : start + BATCH] for start in range(0, len(sentences) - BATCH + 1, BATCH)]

    def ours(texts: list[str]) -> np.ndarray:
        return predictor.forward(predictor.preprocess(texts))

    def padded(texts: list[str]) -> np.ndarray:
        ids, mask = pad_rows(encode_texts(tokenizer, texts, preprocessing["pad_id"]), preprocessing["pad_id"])
        answer: np.ndarray = session.run(["logits"], {"input_ids": ids, "attention_mask": mask})[0]
        return answer

    for texts in batches:
        difference = float(np.abs(ours(texts) - padded(texts)).max())
        assert difference < 1e-3, f"The answers differ by {difference}."
    ratios = []
    for _ in range(ROUNDS):
        seconds = []
        for answer in (ours, padded):
            begun = time.perf_counter()
            for texts in batches:
                answer(texts)
            seconds.append(time.perf_counter() - begun)
        ratios.append(seconds[1] / seconds[0])
    return {"exact_vs_padded": statistics.median(ratios)}
