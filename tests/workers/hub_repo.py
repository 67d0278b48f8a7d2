"""A model's folder of any size, made without torch: enough for imports, which never load it."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path


def write_repo(folder: Path, *, weights_bytes: int = 40_000) -> Path:
    """Config, tokenizer and random weights that look like an encoder's to whoever reads headers only."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "architectures": ["BertModel"]}))
    vocabulary = {"[PAD]": 0, "[UNK]": 1}
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocabulary}, "added_tokens": []}))
    rows = weights_bytes // 16
    header = json.dumps({"w": {"dtype": "F32", "shape": [rows, 4], "data_offsets": [0, rows * 16]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + os.urandom(rows * 16))
    return folder
