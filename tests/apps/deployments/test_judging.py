"""What the judge tells from noise: equal revisions pass, worse ones do not, and few requests prove nothing."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.deployments.judging import Bounds, Numbers, js_distance, js_noise, judge, wilson
from modelkit.serving.front.counters import BOUNDS_MS
from modelkit.serving.plan import RevisionTally


def numbers(
    requests: int, *, failures: int = 0, ms: float = 10, labels: dict[str, int] | None = None, crashes: int = 0
) -> Numbers:
    made = Numbers(requests=requests, failures=failures, labels=labels or {}, crashes=crashes)
    made.buckets[next(i for i, bound in enumerate(BOUNDS_MS) if ms <= bound)] = requests - failures
    return made


def broken(stable: Numbers, canary: Numbers, **bounds: float) -> list[str]:
    return [check.bound for check in judge(stable, canary, Bounds.model_validate(bounds)) if check.broken]


def test_the_same_numbers_break_nothing() -> None:
    same = numbers(500, failures=3, labels={"a": 300, "b": 200})
    assert broken(same, same) == []


@pytest.mark.parametrize(
    ("canary", "bound"),
    [
        (numbers(200, failures=40), "errors"),
        (numbers(200, ms=100), "p95"),
        (numbers(200, labels={"a": 20, "b": 180}), "distance"),
        (numbers(200, labels={"new": 200}), "distance"),
        (numbers(200, crashes=1), "crashes"),
    ],
)
def test_each_bound_breaks_by_itself(canary: Numbers, bound: str) -> None:
    labels = {"a": 1500, "b": 500} if canary.labels else None
    assert broken(numbers(2000, labels=labels), canary) == [bound]


def test_a_canary_that_only_fails_is_told_within_a_few_requests() -> None:
    assert broken(numbers(60), numbers(3, failures=3)) == ["errors"]


def test_one_failure_among_few_proves_nothing() -> None:
    assert broken(numbers(1000), numbers(50, failures=1)) == []


def test_wider_bounds_let_it_pass() -> None:
    stable, slow = numbers(1000), numbers(200, failures=40, ms=100)
    assert broken(stable, slow, max_error_increase=0.5, max_p95_ratio=20) == []


def test_samples_of_one_distribution_stay_within_the_noise() -> None:
    draw = random.Random(7)
    classes = [f"class {i}" for i in range(20)]
    weights = [1 / (i + 1) for i in range(20)]
    alarms = 0
    for _ in range(300):
        stable = Counter(draw.choices(classes, weights, k=1900))
        canary = Counter(draw.choices(classes, weights, k=100))
        alarms += js_distance(stable, canary) > js_noise(1900, 100, 20)
    assert alarms <= 3


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 50), min_size=1),
    st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 50), min_size=1),
)
def test_the_distance_is_one_of_shares(first: dict[str, int], second: dict[str, int]) -> None:
    distance = js_distance(first, second)
    assert 0 <= distance <= 1 + 1e-9
    assert distance == pytest.approx(js_distance(second, first))
    assert distance == pytest.approx(js_distance({k: 3 * v for k, v in first.items()}, second))
    if not first.keys() & second.keys():
        assert distance == pytest.approx(1)


@given(st.integers(0, 1000), st.integers(1, 1000))
def test_wilsons_interval_holds_the_share(count: int, total: int) -> None:
    count = min(count, total)
    low, high = wilson(count, total)
    assert 0 <= low <= count / total + 1e-12
    assert count / total - 1e-12 <= high <= 1


def tally(since: float, requests: int, failures: int = 0, **labels: int) -> RevisionTally:
    buckets = [0] * (len(BOUNDS_MS) + 1)
    buckets[5] = requests - failures
    return RevisionTally(
        workspace="w", name="n", number=1, since=since, requests=requests, failures=failures, buckets=tuple(buckets),
        labels=labels,
    )  # fmt: skip


def test_tallies_add_up_across_a_restart_of_the_front() -> None:
    summed = Numbers()
    before = None
    restarted = tally(2, 5, 0, b=5)
    # The last report comes twice, as it does when nobody has asked meanwhile.
    for report in (tally(1, 10, 1, a=9), tally(1, 30, 2, a=20, b=8), restarted, restarted):
        summed.add(report, before)
        before = report
    assert (summed.requests, summed.failures) == (35, 2)
    assert summed.labels == {"a": 20, "b": 13}
    assert sum(summed.buckets) == 33
