"""Progress at a sane rate: position, speed and time left, at most five times a second."""

from __future__ import annotations

import time
from collections.abc import Callable

from modelkit.contracts import Reporter

INTERVAL_S = 0.2


class Pace:
    """Reports `rows` done of a stretch of work that takes the progress bar from `start` to `end`."""

    def __init__(
        self,
        reporter: Reporter,
        *,
        start: float,
        end: float,
        rows: int,
        done: int = 0,
        steps: int | None = None,
        epochs: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reporter = reporter
        self._start, self._end = start, end
        self._rows, self._done, self._first = max(1, rows), done, done
        self._steps, self._epochs = steps, epochs
        self._clock = clock
        self._began = clock()
        self._last = float("-inf")

    def advance(self, rows: int, *, step: int | None = None, epoch: float | None = None) -> None:
        """`rows` more are done."""
        self._done += rows
        now = self._clock()
        if now - self._last < INTERVAL_S and self._done < self._rows:
            return
        self._last = now
        elapsed = now - self._began
        speed = (self._done - self._first) / elapsed if elapsed > 0 else None
        self._reporter.progress(
            self._start + (self._end - self._start) * min(1.0, self._done / self._rows),
            step=step,
            steps=self._steps,
            epoch=epoch,
            epochs=self._epochs,
            rows_per_s=speed,
            eta_s=max(0.0, (self._rows - self._done) / speed) if speed else None,
        )
