"""Counts per endpoint and revision since the front started, and the slices that go to disk. Does not know where they
are shown.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable

from modelkit.serving.journal import SLICE_S, Slice
from modelkit.serving.tally import BOUNDS_MS, Tally, quantile, summed
from modelkit.serving.wire import Cost

#: The last minute, beside the slice that is being counted.
_RECENT = 60 // SLICE_S


class Series:
    """One revision of one endpoint. Requests are counted in `now` alone, which `roll` adds to the rest."""

    def __init__(self) -> None:
        self.now = Tally()
        self._before = Tally()
        self._recent: deque[tuple[int, Tally]] = deque(maxlen=_RECENT)

    def observe(self, status: int, latency_ms: float, inputs: int, cost: Cost, code: str = "") -> None:
        """Count one request; `code` is that of its error."""
        if status == 200:
            self.now.answer(latency_ms, inputs, cost)
        else:
            self.now.refuse(status, code)

    def roll(self, at: int) -> Tally | None:
        """End the slice that began `at`: what was counted in it, None where nothing was."""
        done = self.now
        if not done.answered and not done.refused:
            return None
        self.now = Tally()
        self._before.add(done)
        self._recent.append((at, done))
        return done

    def total(self) -> Tally:
        """Since the front started."""
        return summed((self._before, self.now))

    def counts(self) -> tuple[int, int, int]:
        """Requests, errors and rejected since the front started; cheaper than `total`."""
        parts = (self._before, self.now)
        return sum(t.requests for t in parts), sum(t.errors for t in parts), sum(t.rejected for t in parts)

    def recent(self, after: int) -> list[int]:
        """Latency buckets from `after` until now, as far as the last minute reaches."""
        parts = [tally.latency for at, tally in self._recent if at > after]
        return [sum(column) for column in zip(*parts, self.now.latency, strict=True)]


#: `(workspace, endpoint, revision)`; revision 0 counts what was refused before one was chosen.
SeriesKey = tuple[str, str, int]


class Counters:
    """All series of the front."""

    def __init__(self) -> None:
        self.series: dict[SeriesKey, Series] = {}
        #: Requests that name no endpoint of the caller's, or carry no key: by status only, since anybody can send them.
        self.strangers: dict[int, int] = {}
        self._slice_at = _slice_of(time.time())

    def of(self, key: SeriesKey) -> Series:
        found = self.series.get(key)
        if found is None:
            found = self.series[key] = Series()
        return found

    def keep(self, endpoints: Iterable[tuple[str, str]]) -> None:
        """Drop the series of endpoints that are gone, so that names cannot pile up."""
        kept = set(endpoints)
        self.series = {key: series for key, series in self.series.items() if key[:2] in kept}

    def roll(self, *, end: bool = False) -> list[Slice]:
        """What is complete by now, for the journal; with `end` also the slice that is being counted."""
        at = _slice_of(time.time())
        if at == self._slice_at and not end:
            return []
        ended, self._slice_at = self._slice_at, at
        rolled = [(key, series.roll(ended)) for key, series in self.series.items()]
        return [Slice(ended, *key, tally) for key, tally in rolled if tally is not None]

    def summary(self) -> list[dict[str, object]]:
        """One row per endpoint, as `modelkit.serving.plan.EndpointCounters`."""
        rows = []
        after = self._slice_at - 60
        for workspace, name in sorted({key[:2] for key in self.series}):
            mine = [series for key, series in self.series.items() if key[:2] == (workspace, name)]
            requests, errors, rejected = (sum(column) for column in zip(*(s.counts() for s in mine), strict=True))
            recent = [sum(column) for column in zip(*(series.recent(after) for series in mine), strict=True)]
            rows.append(
                {
                    "workspace": workspace,
                    "name": name,
                    "requests": requests,
                    "errors": errors,
                    "rejected": rejected,
                    "p50_ms": quantile(recent, BOUNDS_MS, 0.5),
                    "p95_ms": quantile(recent, BOUNDS_MS, 0.95),
                }
            )
        return rows


def _slice_of(moment: float) -> int:
    return int(moment) // SLICE_S * SLICE_S
