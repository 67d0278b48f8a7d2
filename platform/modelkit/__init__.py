"""Tuneyard's machine-learning library: knows neither Django nor Celery.

Files are *light* (standard library and pydantic; the web process may import them) or *heavy* (torch, transformers,
onnxruntime). A light file never imports a heavy one at module level.
"""

import os
import sys

# Since 1.31 the official ONNX Runtime sends usage events to its maker, from a thread that starts with the import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# OpenVINO reports each of its imports to its maker, and no variable turns that off. Without this package it does not.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
