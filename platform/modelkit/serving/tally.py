"""What is counted of the requests to one revision: how many ended how, and histograms of what they took. Light.

The front counts into a `Tally`; what is on disk and in the database is one too, `packed`. Quantiles come from buckets:
each is right to the width of the bucket that it falls into. Does not know endpoints, files or rows.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from modelkit.serving.wire import Cost

#: Upper bounds of the buckets of whole requests, in milliseconds; the last bucket has none.
BOUNDS_MS = (0.5, 1, 2, 3, 4, 5, 7.5, 10, 15, 20, 30, 40, 50, 75, 100, 150, 200, 300, 500, 750, 1000, 2000, 5000, 10000)
#: Of the stages of a request, which are shorter.
STAGE_BOUNDS_MS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 5000)
#: Of the inputs that a batch of the model held.
BATCH_BOUNDS = (1, 2, 4, 8, 16, 32, 64, 128, 256)

STAGES = ("queue", "preprocess", "model")

_HISTOGRAMS: Mapping[str, Sequence[float]] = {
    "latency": BOUNDS_MS,
    "queue": STAGE_BOUNDS_MS,
    "preprocess": STAGE_BOUNDS_MS,
    "model": STAGE_BOUNDS_MS,
    "batch": BATCH_BOUNDS,
}
_SUMS = ("answered", "inputs", "tokens", "latency_ms", "queue_ms", "preprocess_ms", "model_ms", "batch_inputs")


class Tally:
    """Counts of a span of time. `refused` is by status and error code; everything else is of answered requests."""

    __slots__ = (*_HISTOGRAMS, *_SUMS, "refused")

    latency: list[int]
    queue: list[int]
    preprocess: list[int]
    model: list[int]
    batch: list[int]

    def __init__(self) -> None:
        self.refused: dict[tuple[int, str], int] = {}
        self.answered = 0
        self.inputs = 0
        self.tokens = 0
        self.latency_ms = 0.0
        self.queue_ms = 0.0
        self.preprocess_ms = 0.0
        self.model_ms = 0.0
        self.batch_inputs = 0
        for name, bounds in _HISTOGRAMS.items():
            setattr(self, name, [0] * (len(bounds) + 1))

    # --- counting ---

    def answer(self, latency_ms: float, inputs: int, cost: Cost) -> None:
        """Count a request that was answered. Called for each, so every line of it costs."""
        queue_ms, preprocess_ms, model_ms, batch, tokens = cost
        self.answered += 1
        self.inputs += inputs
        self.tokens += tokens
        self.batch_inputs += batch
        self.latency_ms += latency_ms
        self.queue_ms += queue_ms
        self.preprocess_ms += preprocess_ms
        self.model_ms += model_ms
        self.latency[bisect_left(BOUNDS_MS, latency_ms)] += 1
        self.queue[bisect_left(STAGE_BOUNDS_MS, queue_ms)] += 1
        self.preprocess[bisect_left(STAGE_BOUNDS_MS, preprocess_ms)] += 1
        self.model[bisect_left(STAGE_BOUNDS_MS, model_ms)] += 1
        self.batch[bisect_left(BATCH_BOUNDS, batch)] += 1

    def refuse(self, status: int, code: str) -> None:
        """Count a request that was answered by an error."""
        self.refused[status, code] = self.refused.get((status, code), 0) + 1

    def add(self, other: Tally) -> None:
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in _HISTOGRAMS:
            mine = getattr(self, name)
            for i, count in enumerate(getattr(other, name)):
                if count:
                    mine[i] += count
        for key, count in other.refused.items():
            self.refused[key] = self.refused.get(key, 0) + count

    # --- what it says ---

    @property
    def requests(self) -> int:
        return self.answered + sum(self.refused.values())

    @property
    def rejected(self) -> int:
        """Refused for what the caller sent, or sent too much of (4xx)."""
        return sum(count for (status, _), count in self.refused.items() if status < 500)

    @property
    def errors(self) -> int:
        """Failed on this side (5xx)."""
        return sum(count for (status, _), count in self.refused.items() if status >= 500)

    @property
    def statuses(self) -> dict[int, int]:
        found = {200: self.answered} if self.answered else {}
        for (status, _), count in self.refused.items():
            found[status] = found.get(status, 0) + count
        return found

    def quantile_ms(self, q: float) -> float | None:
        """Of the time from request read to answer written."""
        return quantile(self.latency, BOUNDS_MS, q)

    def mean(self, name: str) -> float | None:
        """Mean per answered request of one of the sums, such as `queue_ms`; None without one."""
        total: float = getattr(self, name)
        return total / self.answered if self.answered else None

    # --- as JSON ---

    def packed(self) -> dict[str, Any]:
        """Only what is not zero. Buckets are named by their upper bounds, so that others may replace these one day."""
        content: dict[str, Any] = {name: round(value, 3) for name in _SUMS if (value := getattr(self, name))}
        for name, bounds in _HISTOGRAMS.items():
            filled = {_bound(bounds, i): count for i, count in enumerate(getattr(self, name)) if count}
            if filled:
                content[name] = filled
        if self.refused:
            content["refused"] = {f"{status} {code}": count for (status, code), count in self.refused.items()}
        return content

    @classmethod
    def unpacked(cls, content: Mapping[str, Any]) -> Tally:
        """From `packed`. Raises ValueError, KeyError, TypeError or AttributeError for anything else."""
        tally = cls()
        for name in _SUMS:
            setattr(tally, name, type(getattr(tally, name))(content.get(name, 0)))
        for name, bounds in _HISTOGRAMS.items():
            buckets = getattr(tally, name)
            for bound, count in content.get(name, {}).items():
                buckets[bisect_left(bounds, float(bound))] += int(count)
        for key, count in content.get("refused", {}).items():
            status, _, code = key.partition(" ")
            tally.refused[int(status), code] = int(count)
        return tally


def _bound(bounds: Sequence[float], index: int) -> str:
    return f"{bounds[index]:g}" if index < len(bounds) else "inf"


def summed(tallies: Iterable[Tally]) -> Tally:
    total = Tally()
    for tally in tallies:
        total.add(tally)
    return total


def quantile(buckets: Sequence[int], bounds: Sequence[float], q: float) -> float | None:
    """The `q` quantile by linear interpolation inside its bucket; None without observations.

    In the last bucket, which has no upper bound, it is that bucket's lower one.
    """
    total = sum(buckets)
    if total == 0:
        return None
    rank, seen = q * total, 0
    for i, count in enumerate(buckets):
        if count and seen + count >= rank:
            low = bounds[i - 1] if i else 0.0
            high = bounds[i] if i < len(bounds) else low
            return low + (high - low) * (rank - seen) / count
        seen += count
    return float(bounds[-1])
