"""Answers from a text-classification bundle. Copied into every bundle as `predictor.py`, so it stands alone.

Needs the standard library, numpy, onnxruntime and tokenizers; knows nothing of Tuneyard, torch or HTTP.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

# Since 1.31 the official ONNX Runtime sends usage events to its maker, from a thread that starts with the import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as ort

#: Rows that run together. Texts are sorted by length first, so that little is computed for padding. On one thread more
#: rows gain nothing but padding: batches of 8 and 16 real sentences take a fifth less in fours than in eights.
CHUNK_ROWS = 4


@dataclass(frozen=True)
class Chunk:
    """Texts of similar length. `rows` are their positions in the request; the arrays are (rows, tokens) int64."""

    rows: list[int]
    lengths: list[int]
    input_ids: NDArray[np.int64]
    attention_mask: NDArray[np.int64]


def open_tokenizer(path: Path, max_length: int) -> Tokenizer:
    """A tokenizer that cuts at `max_length` tokens and never pads, whatever its file says."""
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length)
    return tokenizer


def check_texts(inputs: Sequence[Any]) -> list[str]:
    """The inputs as texts; raises ValueError naming the first that is none."""
    for index, text in enumerate(inputs):
        if not isinstance(text, str):
            raise ValueError(f"inputs[{index}] must be a text, not {type(text).__name__}.")
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError:
                raise ValueError(f"inputs[{index}] holds half a surrogate pair, which is no valid text.") from None
    return list(inputs)


def encode_texts(tokenizer: Tokenizer, texts: list[str], pad_id: int) -> list[list[int]]:
    """Token ids of each text. A text without any token becomes one padding token that is attended to."""
    return [encoding.ids or [pad_id] for encoding in tokenizer.encode_batch_fast(texts)]


def pad_rows(ids: Sequence[Sequence[int]], pad_id: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Token ids and attention mask, both (rows, longest), padded on the right."""
    width = max(map(len, ids))
    input_ids = np.full((len(ids), width), pad_id, dtype=np.int64)
    attention_mask = np.zeros((len(ids), width), dtype=np.int64)
    for row, tokens in enumerate(ids):
        input_ids[row, : len(tokens)] = tokens
        attention_mask[row, : len(tokens)] = 1
    return input_ids, attention_mask


def softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Probabilities over the last axis."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    result: NDArray[np.float64] = shifted / shifted.sum(axis=-1, keepdims=True)
    return result


def _open_session(graph: Path, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Idle threads sleep: several models share the cores of a serving host.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(str(graph), sess_options=options, providers=["CPUExecutionProvider"])


class Predictor:
    """The model of one bundle on `threads` threads of this process. Safe to call from several threads.

    `session` computes the graph in place of ONNX Runtime: it has the same `run`.
    """

    def __init__(self, bundle: Path | str, threads: int = 1, session: Any = None) -> None:
        folder = Path(bundle)
        manifest = json.loads((folder / "manifest.json").read_bytes())
        preprocessing = manifest["preprocessing"]
        self.labels: list[str] = manifest["labels"]
        #: 0 for a bundle whose graph gives no embeddings.
        self.embedding_width: int = manifest.get("embedding_width", 0)
        self._example: list[str] = manifest["request_example"]["inputs"]
        self._pad_id: int = preprocessing["pad_id"]
        self._chunk_rows: int = preprocessing.get("chunk_rows", CHUNK_ROWS)
        self._tokenizer = open_tokenizer(folder / preprocessing["tokenizer"], preprocessing["max_length"])
        self._session = session or _open_session(folder / manifest["graph"], threads)

    def warmup(self) -> None:
        """Run once, so that the first request pays for no allocation."""
        self.predict(self._example)

    def preprocess(self, inputs: Sequence[Any]) -> list[Chunk]:
        """Tokenized chunks of similar length; raises ValueError naming an input that is no text."""
        ids = encode_texts(self._tokenizer, check_texts(inputs), self._pad_id)
        order = sorted(range(len(ids)), key=lambda row: len(ids[row]))
        parts = [order[start : start + self._chunk_rows] for start in range(0, len(order), self._chunk_rows)]
        chunks = []
        for rows in parts:
            mine = [ids[row] for row in rows]
            chunks.append(Chunk(rows, [len(tokens) for tokens in mine], *pad_rows(mine, self._pad_id)))
        return chunks

    def token_counts(self, batch: list[Chunk]) -> list[int]:
        """Tokens of each text as the model reads it: cut at the maximal length, without padding."""
        counts = {row: length for chunk in batch for row, length in zip(chunk.rows, chunk.lengths, strict=True)}
        return [counts[row] for row in range(len(counts))]

    def uncut_token_counts(self, inputs: Sequence[Any]) -> list[int]:
        """Tokens that each text has before it is cut at the maximal length."""
        special = self._tokenizer.num_special_tokens_to_add(False)
        return [
            len(encoding) + sum(len(part) - special for part in encoding.overflowing)
            for encoding in self._tokenizer.encode_batch_fast(check_texts(inputs))
        ]

    def forward(self, batch: list[Chunk]) -> NDArray[np.float32]:
        """Logits (inputs, classes), in the order of the inputs."""
        return self._run("logits", len(self.labels), batch)

    def forward_embeddings(self, batch: list[Chunk]) -> NDArray[np.float32]:
        """Unit vectors (inputs, embedding width), in the order of the inputs; raises ValueError without any."""
        if not self.embedding_width:
            raise ValueError("This model gives no embeddings.")
        return self._run("embedding", self.embedding_width, batch)

    def _run(self, output: str, width: int, batch: list[Chunk]) -> NDArray[np.float32]:
        rows = np.empty((sum(len(chunk.rows) for chunk in batch), width), dtype=np.float32)
        for chunk in batch:
            feed = {"input_ids": chunk.input_ids, "attention_mask": chunk.attention_mask}
            rows[chunk.rows] = self._session.run([output], feed)[0]
        return rows

    def postprocess(self, raw: NDArray[np.float32], *, scores: bool = True) -> list[dict[str, Any]]:
        """`label` and its `score` for each row, with every class's probability in `scores` unless not wanted."""
        if not len(raw):
            return []
        probabilities = softmax(raw)
        answers: list[dict[str, Any]] = [
            {"label": self.labels[best], "score": float(row[best])}
            for row, best in zip(probabilities, probabilities.argmax(axis=-1), strict=True)
        ]
        if scores:
            for answer, row in zip(answers, probabilities.tolist(), strict=True):
                answer["scores"] = dict(zip(self.labels, row, strict=True))
        return answers

    def predict(self, inputs: Sequence[Any], *, scores: bool = True) -> list[dict[str, Any]]:
        """One answer for each input, in their order."""
        return self.postprocess(self.forward(self.preprocess(inputs)), scores=scores)

    def embed(self, inputs: Sequence[Any]) -> NDArray[np.float32]:
        """The unit vector of each input, as the head reads it."""
        return self.forward_embeddings(self.preprocess(inputs))
