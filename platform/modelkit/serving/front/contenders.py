"""What each of several revisions that share an endpoint's traffic did, for the control plane to compare them.

Kept only while there is something to compare, so that an endpoint with one revision pays nothing. Does not judge.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Sequence

from modelkit.serving.picks import label_indices
from modelkit.serving.tally import BOUNDS_MS

#: `(workspace, endpoint, revision)`
ContenderKey = tuple[str, str, int]


class Contender:
    """One revision since `since`. Requests that name their revision are not in it: they were not drawn by share."""

    __slots__ = ("_labels", "buckets", "failures", "key", "labels", "requests", "since")

    def __init__(self, key: ContenderKey, labels: Sequence[str]) -> None:
        self.key = key
        self.since = time.time()
        self.requests = 0
        self.failures = 0
        self.buckets = [0] * (len(BOUNDS_MS) + 1)
        self.labels = [0] * len(labels)
        self._labels = labels

    def answered(self, latency_ms: float, picks: bytes) -> None:
        self.requests += 1
        self.buckets[bisect_left(BOUNDS_MS, latency_ms)] += 1
        for index in label_indices(picks):
            self.labels[index] += 1

    def failed(self) -> None:
        """By the revision's own fault; what is wrong with a caller's input is not counted."""
        self.requests += 1
        self.failures += 1

    def report(self) -> dict[str, object]:
        """As `modelkit.serving.plan.RevisionTally`."""
        workspace, name, number = self.key
        return {
            "workspace": workspace,
            "name": name,
            "number": number,
            "since": self.since,
            "requests": self.requests,
            "failures": self.failures,
            "buckets": self.buckets,
            "labels": {label: count for label, count in zip(self._labels, self.labels, strict=True) if count},
        }


class Contenders:
    """All of them, across tables."""

    def __init__(self) -> None:
        self._by_key: dict[ContenderKey, Contender] = {}

    def of(self, key: ContenderKey, labels: Sequence[str]) -> Contender:
        found = self._by_key.get(key)
        if found is None:
            found = self._by_key[key] = Contender(key, labels)
        return found

    def keep(self, keys: set[ContenderKey]) -> None:
        """Drop what is no longer compared."""
        self._by_key = {key: contender for key, contender in self._by_key.items() if key in keys}

    def report(self) -> list[dict[str, object]]:
        return [contender.report() for contender in self._by_key.values()]
