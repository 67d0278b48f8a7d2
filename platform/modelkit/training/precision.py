"""Which number format a device computes fastest in, and the autocast context for it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

import torch

from modelkit.errors import UserError

#: Linux names of the instructions that multiply bfloat16. Without them bf16 is emulated and slower than fp32.
BF16_FLAGS = ("amx_bf16", "avx512_bf16", "bf16")


@cache
def cpu_flags() -> frozenset[str]:
    """Instruction sets of this processor as Linux names them; empty where it does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    found = (line.split(":", 1)[1] for line in lines if line.lower().startswith(("flags", "features")))
    return frozenset(next(found, "").split())


def has_fast_bf16(device: str) -> bool:
    """Whether bfloat16 is native to `device` (`cpu`, `cuda:0`...)."""
    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device == "cpu" and any(flag in cpu_flags() for flag in BF16_FLAGS)


def choose_precision(wanted: Literal["auto", "bf16", "fp32"], device: str) -> Literal["bf16", "fp32"]:
    """The precision to train in; raises UserError `precision_unsupported` where bf16 is asked for in vain."""
    if wanted == "fp32":
        return "fp32"
    if has_fast_bf16(device):
        return "bf16"
    if wanted == "bf16":
        raise UserError(
            "precision_unsupported",
            "The device {device} has no bfloat16 instructions.",
            "Set the precision to auto or fp32.",
            field="params.precision",
            device=device,
        )
    return "fp32"


def autocast(device: str, precision: Literal["bf16", "fp32"]) -> torch.autocast:
    """A context in which matrix products run in `precision`; weights and gradients stay float32."""
    return torch.autocast(device.split(":")[0], dtype=torch.bfloat16, enabled=precision == "bf16")
