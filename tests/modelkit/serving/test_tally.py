"""Counts, their quantiles, and their way through JSON."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelkit.serving.tally import BOUNDS_MS, Tally, quantile, summed
from modelkit.serving.wire import Cost


def tally_of(*latencies_ms: float, **cost: float) -> Tally:
    tally = Tally()
    for latency_ms in latencies_ms:
        tally.answer(latency_ms, 2, Cost(**{"batch": 3, "tokens": 10, **cost}))  # type: ignore[arg-type]
    return tally


def test_quantiles_lie_in_the_bucket_of_the_true_ones() -> None:
    chance = random.Random(7)
    latencies = sorted(chance.lognormvariate(2, 0.7) for _ in range(5000))
    tally = tally_of(*latencies)
    for q in (0.5, 0.95, 0.99):
        true, told = latencies[int(q * len(latencies))], tally.quantile_ms(q)
        above = next(bound for bound in BOUNDS_MS if bound >= true)
        below = max((bound for bound in BOUNDS_MS if bound < true), default=0)
        assert told is not None
        assert below <= told <= above


def test_quantiles_of_nothing_and_beyond_the_last_bound() -> None:
    assert Tally().quantile_ms(0.5) is None
    assert tally_of(60_000).quantile_ms(0.99) == BOUNDS_MS[-1]
    assert quantile([0, 4, 0], (1.0, 2.0), 0.5) == pytest.approx(1.5)


def test_what_was_refused_is_told_apart() -> None:
    tally = tally_of(1, 2)
    for status, code in ((422, "invalid_input"), (429, "queue_full"), (503, "runner_down"), (503, "runner_down")):
        tally.refuse(status, code)
    assert (tally.requests, tally.answered, tally.rejected, tally.errors) == (6, 2, 2, 2)
    assert tally.statuses == {200: 2, 422: 1, 429: 1, 503: 2}


def test_means_are_per_answered_request() -> None:
    tally = tally_of(4, 6, queue_ms=1, preprocess_ms=0.5, model_ms=2)
    assert [tally.mean(name) for name in ("latency_ms", "queue_ms", "preprocess_ms", "model_ms", "batch_inputs")] == [
        5, 1, 0.5, 2, 3,
    ]  # fmt: skip
    assert (tally.inputs, tally.tokens) == (4, 20)
    assert Tally().mean("queue_ms") is None


costs = st.builds(
    Cost,
    *[st.floats(0, 1e5, width=32) for _ in range(3)],
    batch=st.integers(0, 5000),
    tokens=st.integers(0, 10**6),
)
requests = st.lists(
    st.one_of(
        st.tuples(st.floats(0, 1e5, width=32), st.integers(1, 256), costs),
        st.tuples(st.integers(400, 504), st.sampled_from(["queue_full", "invalid_input"])),
    ),
    max_size=20,
)


def counted(made: list[tuple[object, ...]]) -> Tally:
    tally = Tally()
    for row in made:
        tally.answer(*row) if len(row) == 3 else tally.refuse(*row)  # type: ignore[arg-type]
    return tally


@given(requests, requests)
def test_packed_and_summed_nothing_is_lost(first: list[tuple[object, ...]], second: list[tuple[object, ...]]) -> None:
    parts = [Tally.unpacked(counted(made).packed()) for made in (first, second)]
    whole, told = counted(first + second), summed(parts)
    for name in ("latency", "queue", "preprocess", "model", "batch", "refused", "answered", "inputs", "tokens"):
        assert getattr(told, name) == getattr(whole, name)
    for name in ("latency_ms", "queue_ms", "model_ms"):
        assert getattr(told, name) == pytest.approx(getattr(whole, name), abs=0.01)


def test_buckets_of_other_bounds_are_still_read() -> None:
    """Bounds may change between versions, what is in the database does not."""
    old = Tally.unpacked({"answered": 3, "latency": {"6": 2, "inf": 1}})
    assert sum(old.latency) == 3
    assert old.latency[-1] == 1
    assert old.quantile_ms(0.5) == pytest.approx(7.5, abs=2.5)


@pytest.mark.parametrize("content", [{"latency": 7}, {"answered": "x"}, {"refused": {"no number": 1}}, {"batch": [1]}])
def test_what_is_no_tally_is_refused(content: dict[str, object]) -> None:
    with pytest.raises((ValueError, TypeError, AttributeError, KeyError)):
        Tally.unpacked(content)
