"""Counts and latencies per endpoint and revision, since the front started. Does not know where they are shown."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable

from modelkit.serving.wire import Cost

#: Upper bounds of the latency buckets in milliseconds; the last bucket has none.
BOUNDS_MS = (1, 2, 3, 4, 5, 7.5, 10, 15, 20, 30, 40, 50, 75, 100, 150, 200, 300, 500, 750, 1000, 2000, 5000, 10000)
_WINDOW_S = 10
_WINDOWS = 6


class Series:
    """One revision of one endpoint. The last minute is kept in windows of ten seconds."""

    def __init__(self) -> None:
        self.statuses: dict[int, int] = defaultdict(int)
        self.buckets = [0] * (len(BOUNDS_MS) + 1)
        self.total_ms = 0.0
        self.inputs = 0
        self.stage_ms = [0.0, 0.0, 0.0]
        self._recent: list[tuple[int, list[int]]] = []

    def observe(self, status: int, latency_ms: float, inputs: int, cost: Cost) -> None:
        self.statuses[status] += 1
        if status != 200:
            return
        index = bisect_left(BOUNDS_MS, latency_ms)
        self.buckets[index] += 1
        self.total_ms += latency_ms
        self.inputs += inputs
        for i in range(3):
            self.stage_ms[i] += cost[i]
        window = int(time.monotonic()) // _WINDOW_S
        if not self._recent or self._recent[-1][0] != window:
            self._recent.append((window, [0] * (len(BOUNDS_MS) + 1)))
            del self._recent[:-_WINDOWS]
        self._recent[-1][1][index] += 1

    def recent(self) -> list[int]:
        """Latency buckets of the last minute."""
        oldest = int(time.monotonic()) // _WINDOW_S - _WINDOWS
        windows = [buckets for window, buckets in self._recent if window > oldest]
        return [sum(column) for column in zip(*windows, strict=True)] if windows else [0] * len(self.buckets)


def quantile_ms(buckets: list[int], q: float) -> float | None:
    """The `q` quantile by linear interpolation inside its bucket; None without observations."""
    total = sum(buckets)
    if total == 0:
        return None
    rank, seen = q * total, 0
    for i, count in enumerate(buckets):
        if count and seen + count >= rank:
            low = BOUNDS_MS[i - 1] if i else 0.0
            high = BOUNDS_MS[i] if i < len(BOUNDS_MS) else low
            return low + (high - low) * (rank - seen) / count
        seen += count
    return float(BOUNDS_MS[-1])


#: `(workspace, endpoint, revision)`; revision 0 counts what was refused before one was chosen.
SeriesKey = tuple[str, str, int]


class Counters:
    """All series of the front."""

    def __init__(self) -> None:
        self.series: dict[SeriesKey, Series] = {}

    def of(self, key: SeriesKey) -> Series:
        found = self.series.get(key)
        if found is None:
            found = self.series[key] = Series()
        return found

    def keep(self, endpoints: Iterable[tuple[str, str]]) -> None:
        """Drop the series of endpoints that are gone, so that names cannot pile up."""
        kept = set(endpoints)
        self.series = {key: series for key, series in self.series.items() if key[:2] in kept}

    def summary(self) -> list[dict[str, object]]:
        """One row per endpoint, as `modelkit.serving.plan.EndpointCounters`."""
        rows = []
        for workspace, name in sorted({key[:2] for key in self.series}):
            mine = [series for key, series in self.series.items() if key[:2] == (workspace, name)]
            recent = [sum(column) for column in zip(*(series.recent() for series in mine), strict=True)]
            rows.append(
                {
                    "workspace": workspace,
                    "name": name,
                    "requests": sum(sum(series.statuses.values()) for series in mine),
                    "errors": sum(n for series in mine for status, n in series.statuses.items() if status >= 500),
                    "rejected": sum(
                        n for series in mine for status, n in series.statuses.items() if 400 <= status < 500
                    ),
                    "p50_ms": quantile_ms(recent, 0.5),
                    "p95_ms": quantile_ms(recent, 0.95),
                }
            )
        return rows

    def prometheus(self, workspace: str | None) -> list[str]:
        """Lines of the text exposition format; of one workspace unless None."""
        mine = sorted((key, s) for key, s in self.series.items() if workspace is None or key[0] == workspace)
        named = [(f'workspace="{w}",endpoint="{e}",revision="{r}"', s) for (w, e, r), s in mine]
        lines = [
            "# HELP tuneyard_serving_requests_total Requests by status.",
            "# TYPE tuneyard_serving_requests_total counter",
        ]
        for labels, series in named:
            for status, count in sorted(series.statuses.items()):
                lines.append(f'tuneyard_serving_requests_total{{{labels},code="{status}"}} {count}')
        lines += [
            "# HELP tuneyard_serving_inputs_total Inputs answered.",
            "# TYPE tuneyard_serving_inputs_total counter",
        ]
        lines += [f"tuneyard_serving_inputs_total{{{labels}}} {series.inputs}" for labels, series in named]
        lines += [
            "# HELP tuneyard_serving_latency_seconds From request read to answer written, for status 200.",
            "# TYPE tuneyard_serving_latency_seconds histogram",
        ]
        for labels, series in named:
            running = 0
            for bound, count in zip(BOUNDS_MS, series.buckets, strict=False):
                running += count
                lines.append(f'tuneyard_serving_latency_seconds_bucket{{{labels},le="{bound / 1000:g}"}} {running}')
            running += series.buckets[-1]
            lines.append(f'tuneyard_serving_latency_seconds_bucket{{{labels},le="+Inf"}} {running}')
            lines.append(f"tuneyard_serving_latency_seconds_sum{{{labels}}} {series.total_ms / 1000:.6f}")
            lines.append(f"tuneyard_serving_latency_seconds_count{{{labels}}} {running}")
        lines += [
            "# HELP tuneyard_serving_stage_seconds_total Time of answered requests by stage.",
            "# TYPE tuneyard_serving_stage_seconds_total counter",
        ]
        for labels, series in named:
            for stage, spent in zip(("queue", "preprocess", "model"), series.stage_ms, strict=True):
                lines.append(f'tuneyard_serving_stage_seconds_total{{{labels},stage="{stage}"}} {spent / 1000:.6f}')
        return lines
