"""OpenVINO on the processor: float32 as ONNX Runtime, or bfloat16 where the processor multiplies it in hardware."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Each new shape is prepared anew, so widths are rounded up: fewer shapes, and few tokens more.
_WIDTH_STEP = 4
_BF16_FLAGS = ("amx_bf16", "avx512_bf16")


def precisions() -> tuple[str, ...]:
    """`bf16` only where it is computed in hardware; elsewhere it would be slower than float32."""
    if find_spec("openvino") is None:
        return ()
    return ("as_is", "bf16") if any(flag in _cpu_flags() for flag in _BF16_FLAGS) else ("as_is",)


def open_session(graph: Path, *, precision: str, slots: int) -> Session:
    """Compile `graph` for `slots` callers at once, each on one thread. Raises ImportError where OpenVINO is missing."""
    import openvino

    compiled = openvino.Core().compile_model(
        str(graph),
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
            "NUM_STREAMS": slots,
            "INFERENCE_NUM_THREADS": slots,
            # Several runners share the cores; each pinning its threads to the same ones would queue them.
            "ENABLE_CPU_PINNING": False,
        },
    )
    return Session(compiled)


class Session:
    """A compiled graph; each thread has an inference request of its own."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        self._mine = threading.local()

    def run(self, names: Sequence[str], feed: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """As `onnxruntime.InferenceSession.run`; inputs (rows, tokens) are padded with zeros, which no mask sees."""
        request = getattr(self._mine, "request", None)
        if request is None:
            request = self._mine.request = self._compiled.create_infer_request()
        request.infer({name: _widen(array) for name, array in feed.items()}, share_inputs=True)
        return [request.get_tensor(name).data.copy() for name in names]


def _widen(array: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    missing = -array.shape[1] % _WIDTH_STEP
    return np.pad(array, ((0, 0), (0, missing))) if missing else array


def _cpu_flags() -> frozenset[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line for line in lines if line.startswith("flags")), "").split())
