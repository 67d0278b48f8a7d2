"""Embeddings as a second thing that a loaded model can be asked for, in batches of their own.

A batch is either classified or embedded, so the two have a queue each, over the same loaded model. Does not know
sockets; `numpy` is met only as rows that iterate over numbers.
"""

from __future__ import annotations

import struct
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import orjson

from modelkit.contracts import Embedder
from modelkit.serving.wire import Ask

ASKS = frozenset((Ask.EMBED, Ask.EMBED_BASE64))
NONE_HERE = "This version gives no embeddings: train the model again and deploy the new version."


class EmbeddingModel:
    """An `Embedder` as `modelkit.serving.batching.Model`."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    def preprocess(self, inputs: Sequence[Any]) -> Any:
        return self._embedder.preprocess(inputs)

    def token_counts(self, batch: Any) -> Sequence[int]:
        return self._embedder.token_counts(batch)

    def uncut_token_counts(self, inputs: Sequence[Any]) -> Sequence[int]:
        return self._embedder.uncut_token_counts(inputs)

    def forward(self, batch: Any) -> Any:
        return self._embedder.forward_embeddings(batch)

    def postprocess(self, raw: Any, *, scores: bool = True) -> list[Any]:
        return list(raw)


def encode(rows: Sequence[Any], ask: Ask) -> bytes:
    """The JSON of OpenAI's `data`; base64 holds little-endian float32."""
    as_text = ask is Ask.EMBED_BASE64
    data = [
        {"object": "embedding", "index": i, "embedding": _base64(row) if as_text else row} for i, row in enumerate(rows)
    ]
    return orjson.dumps(data, option=orjson.OPT_SERIALIZE_NUMPY)


def _base64(row: Any) -> str:
    return b64encode(struct.pack(f"<{len(row)}f", *row)).decode()
