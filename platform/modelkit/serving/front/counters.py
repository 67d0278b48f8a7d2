"""Counts per endpoint and revision since the front started, and the slices that go to disk. Does not know where they
are shown.
"""

from __future__ import annotations

import functools
import time
from collections import deque
from collections.abc import Container, Mapping

from modelkit.serving.journal import SLICE_S, Slice
from modelkit.serving.plan import EndpointKey
from modelkit.serving.tally import BOUNDS_MS, Tally, quantile, summed
from modelkit.serving.wire import Cost

#: What quantiles are told of, beside the slice that is being counted.
_RECENT_S = 60


class Series:
    """One revision of one endpoint. Requests are counted in `now` alone, which `roll` adds to the rest."""

    def __init__(self) -> None:
        self.now = Tally()
        self._before = Tally()
        self._recent: deque[tuple[int, Tally]] = deque(maxlen=_RECENT_S // SLICE_S)

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

    def is_silent(self, after: int) -> bool:
        """Whether nothing was counted after the slice that began then."""
        return not self.now.requests and (not self._recent or self._recent[-1][0] <= after)

    def recent(self, after: int) -> list[int]:
        """Latency buckets from `after` until now, as far as the last minute reaches."""
        parts = [tally.latency for at, tally in self._recent if at > after]
        return [sum(column) for column in zip(*parts, self.now.latency, strict=True)]


#: `(workspace, endpoint, revision)`; revision 0 counts what was refused before one was chosen.
SeriesKey = tuple[str, str, int]
#: Requests, errors and rejected, as of `Series.counts`.
_NOTHING = (0, 0, 0)


class Counters:
    """All series of the front."""

    def __init__(self) -> None:
        self.series: dict[SeriesKey, Series] = {}
        #: Requests that name no endpoint of the caller's, or carry no key: by status only, since anybody can send them.
        self.strangers: dict[int, int] = {}
        self._slice_at = _slice_of(time.time())
        self._past: dict[EndpointKey, tuple[int, int, int]] = {}

    def of(self, key: SeriesKey) -> Series:
        found = self.series.get(key)
        if found is None:
            found = self.series[key] = Series()
        return found

    def keep(self, routed: Mapping[EndpointKey, Container[int]]) -> None:
        """Forget what is routed no more, so that neither endpoints nor revisions pile up.

        What a revision was asked that is silent now stays in the `summary` of its endpoint.
        """
        after = self._slice_at - _RECENT_S
        kept: dict[SeriesKey, Series] = {}
        for key, series in self.series.items():
            endpoint, revision = key[:2], key[2]
            if endpoint not in routed:
                continue
            if revision and revision not in routed[endpoint] and series.is_silent(after):
                self._past[endpoint] = _added(self._past.get(endpoint, _NOTHING), series.counts())
            else:
                kept[key] = series
        self.series = kept
        self._past = {endpoint: counts for endpoint, counts in self._past.items() if endpoint in routed}

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
        after = self._slice_at - _RECENT_S
        by_endpoint: dict[EndpointKey, list[Series]] = {endpoint: [] for endpoint in self._past}
        for key, series in self.series.items():
            by_endpoint.setdefault(key[:2], []).append(series)
        for workspace, name in sorted(by_endpoint):
            mine = by_endpoint[workspace, name]
            past = self._past.get((workspace, name), _NOTHING)
            requests, errors, rejected = functools.reduce(_added, (series.counts() for series in mine), past)
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


def _added(first: tuple[int, int, int], second: tuple[int, int, int]) -> tuple[int, int, int]:
    return first[0] + second[0], first[1] + second[1], first[2] + second[2]


def _slice_of(moment: float) -> int:
    return int(moment) // SLICE_S * SLICE_S
