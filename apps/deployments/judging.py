"""Whether a canary does worse than what it is to replace, told from the noise of small numbers. Pure arithmetic.

Every look at a running canary is one more chance of a false alarm, hence three standard deviations and not two.
Sources: Wilson's interval and Newcombe's for the difference of two shares (Statistics in Medicine 17, 1998); order
statistics for the interval of a quantile; Jensen-Shannon distance, whose square under equal distributions is
chi-squared over its samples (Grosse et al., Physical Review E 65, 2002), with the quantile by Wilson and Hilferty.
Requests are taken to be independent; callers that send the same text again and again make the noise larger than told.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict, Field

from modelkit.serving.plan import RevisionTally
from modelkit.serving.tally import BOUNDS_MS, quantile

Z = 3.0
#: Fewer answers than this tell nothing of a 95th percentile.
_MIN_ANSWERS = 20
#: Below this a slower answer is not worth a roll-back, whatever its ratio.
_MIN_SLOWER_MS = 1.0


class Bounds(BaseModel):
    """How much worse than the stable revision a canary may be, beyond the noise."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_requests: int = Field(
        100, ge=10, le=1_000_000, title="Requests at each step", description="Of either revision, before the next step."
    )
    max_error_increase: float = Field(
        0.01, ge=0, le=1, title="Errors more", description="Share of failed requests above the stable revision's."
    )
    max_p95_ratio: float = Field(
        1.5, ge=1, le=100, title="p95 times", description="95th percentile of the latency over the stable revision's."
    )
    max_distance: float = Field(
        0.15, ge=0, le=1, title="Label distance",
        description="Jensen-Shannon distance (0 to 1) between the shares of the labels.",
    )  # fmt: skip


class Numbers(BaseModel):
    """What a revision did at one step."""

    model_config = ConfigDict(extra="forbid")

    requests: int = 0
    failures: int = 0
    buckets: list[int] = Field(default_factory=lambda: [0] * (len(BOUNDS_MS) + 1))
    labels: dict[str, int] = Field(default_factory=dict)
    crashes: int = 0

    @property
    def error_rate(self) -> float:
        return self.failures / self.requests if self.requests else 0.0

    @property
    def p50_ms(self) -> float | None:
        return quantile(self.buckets, BOUNDS_MS, 0.5)

    @property
    def p95_ms(self) -> float | None:
        return quantile(self.buckets, BOUNDS_MS, 0.95)

    def add(self, now: RevisionTally, before: RevisionTally | None) -> None:
        """Count what came since `before`; a tally that began anew in between is counted whole."""
        if before is not None and before.since != now.since:
            before = None
        self.requests += now.requests - (before.requests if before else 0)
        self.failures += now.failures - (before.failures if before else 0)
        for i, count in enumerate(now.buckets):
            self.buckets[i] += count - (before.buckets[i] if before else 0)
        for label, count in now.labels.items():
            new = count - (before.labels.get(label, 0) if before else 0)
            if new:
                self.labels[label] = self.labels.get(label, 0) + new


class Check(BaseModel):
    """One bound: the values of both, the canary's largest allowed value, and how much of the difference is noise."""

    bound: str
    stable: float | None
    canary: float | None
    limit: float | None
    noise: float | None = None
    broken: bool = False


def judge(stable: Numbers, canary: Numbers, bounds: Bounds) -> list[Check]:
    """Each bound against the numbers; broken only where noise cannot explain it."""
    return [
        _crashes(stable, canary),
        _errors(stable, canary, bounds.max_error_increase),
        _latency(stable, canary, bounds.max_p95_ratio),
        _distance(stable, canary, bounds.max_distance),
    ]


def _crashes(stable: Numbers, canary: Numbers) -> Check:
    return Check(bound="crashes", stable=stable.crashes, canary=canary.crashes, limit=0, broken=canary.crashes > 0)


def _errors(stable: Numbers, canary: Numbers, increase: float) -> Check:
    if not stable.requests or not canary.requests:
        return Check(bound="errors", stable=None, canary=None, limit=increase)
    low, _ = wilson(canary.failures, canary.requests)
    _, high = wilson(stable.failures, stable.requests)
    difference = canary.error_rate - stable.error_rate
    noise = math.hypot(canary.error_rate - low, high - stable.error_rate)
    return Check(
        bound="errors",
        stable=stable.error_rate,
        canary=canary.error_rate,
        limit=stable.error_rate + increase,
        noise=noise,
        broken=difference - noise > increase,
    )


def _latency(stable: Numbers, canary: Numbers, ratio: float) -> Check:
    mine, theirs = stable.p95_ms, canary.p95_ms
    limit = mine * ratio if mine is not None else None
    check = Check(bound="p95", stable=mine, canary=theirs, limit=limit)
    high = quantile(stable.buckets, BOUNDS_MS, _rank(stable.buckets, 0.95, Z))
    low = quantile(canary.buckets, BOUNDS_MS, _rank(canary.buckets, 0.95, -Z))
    few = min(sum(stable.buckets), sum(canary.buckets)) < _MIN_ANSWERS
    if few or high is None or low is None or theirs is None:
        return check
    broken = low > high * ratio and low - high > _MIN_SLOWER_MS
    return check.model_copy(update={"noise": theirs - low, "broken": broken})


def _distance(stable: Numbers, canary: Numbers, largest: float) -> Check:
    n, m = sum(stable.labels.values()), sum(canary.labels.values())
    if not n or not m:
        return Check(bound="distance", stable=None, canary=None, limit=largest)
    distance = js_distance(stable.labels, canary.labels)
    noise = js_noise(n, m, len(stable.labels.keys() | canary.labels.keys()))
    # It is a metric, so the distance of the samples is at most that of the truths and what noise adds.
    return Check(
        bound="distance", stable=0.0, canary=distance, limit=largest, noise=noise, broken=distance > largest + noise
    )


def wilson(count: int, total: int, z: float = Z) -> tuple[float, float]:
    """The interval in which a share lies that was seen `count` times in `total`."""
    if not total:
        return 0.0, 1.0
    share = count / total
    centre = share + z * z / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def js_distance(first: Mapping[str, int], second: Mapping[str, int]) -> float:
    """The square root of the Jensen-Shannon divergence in bits: 0 for equal shares, 1 for none in common."""
    n, m = sum(first.values()), sum(second.values())
    divergence = 0.0
    for label in first.keys() | second.keys():
        p, q = first.get(label, 0) / n, second.get(label, 0) / m
        middle = (p + q) / 2
        for share in (p, q):
            if share:
                divergence += share * math.log2(share / middle) / 2
    return math.sqrt(max(0.0, divergence))


def js_noise(n: int, m: int, classes: int) -> float:
    """The distance that samples of `n` and `m` of the same shares reach once in a thousand times."""
    degrees = max(1, classes - 1)
    step = 2 / (9 * degrees)
    chi_squared = degrees * (1 - step + 3.09 * math.sqrt(step)) ** 3
    return min(1.0, math.sqrt(chi_squared * (1 / n + 1 / m) / (8 * math.log(2))))


def _rank(buckets: Sequence[int], q: float, z: float) -> float:
    total = max(1, sum(buckets))
    return min(1.0, max(0.0, q + z * math.sqrt(q * (1 - q) / total)))
