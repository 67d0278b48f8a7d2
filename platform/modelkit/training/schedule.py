"""Learning rate as a function of the update, so that a resumed run needs no scheduler state."""

from __future__ import annotations

import math
from typing import Literal


def learning_rate_factor(
    step: int, steps: int, *, schedule: Literal["cosine", "linear", "constant"], warmup: float
) -> float:
    """Factor on the peak rate for update `step` (from 0) of `steps`: a linear rise, then the schedule down to 0.

    Cosine: Loshchilov and Hutter, SGDR, 2017, without restarts.
    """
    rise = round(warmup * steps)
    if step < rise:
        return (step + 1) / (rise + 1)
    if schedule == "constant":
        return 1.0
    done = (step - rise) / max(1, steps - rise)
    return 1.0 - done if schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))
