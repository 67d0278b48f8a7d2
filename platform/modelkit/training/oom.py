"""Goes on in smaller pieces when memory runs out, without changing what is computed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray

from modelkit.contracts import Reporter
from modelkit.errors import UserError
from modelkit.wording import say

log = logging.getLogger(__name__)

_MESSAGES = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory ran out: Python's, CUDA's, or the message of torch's CPU allocator."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(message in str(error).lower() for message in _MESSAGES)


@dataclass
class MicroBatch:
    """How many rows go through the model at once. Only ever shrinks; the rows of an update stay the same."""

    rows: int
    reporter: Reporter

    def run(
        self,
        positions: Sequence[Any] | NDArray[Any],
        compute: Callable[[Any], None],
        *,
        restart: Callable[[], None] = lambda: None,
    ) -> None:
        """Call `compute` for `positions` in pieces of at most `rows`.

        When memory runs out, halve `rows`, call `restart` (drop what was half computed) and begin again with all
        positions. Raises UserError `out_of_memory` when even single rows do not fit.
        """
        while True:
            try:
                for start in range(0, len(positions), self.rows):
                    compute(positions[start : start + self.rows])
                return
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                if self.rows == 1:
                    raise UserError(
                        "out_of_memory",
                        "Memory ran out even with a single row at a time.",
                        "Shorten the longest text, choose a smaller base model, or free memory on the worker.",
                    ) from error
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            # Outside the handler: the traceback keeps the failed attempt's tensors alive until here.
            restart()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            before, self.rows = self.rows, max(1, min(self.rows, len(positions)) // 2)
            log.warning("Memory ran out (%s); %d rows at a time instead of %d", reason, self.rows, before)
            self.reporter.notice(
                "smaller_micro_batch",
                say(
                    "Memory ran out with {before} rows at a time; going on with {now}. Rows per update stay "
                    "the same, so results do too.",
                    before=before,
                    now=self.rows,
                ),
                level="warning",
            )
