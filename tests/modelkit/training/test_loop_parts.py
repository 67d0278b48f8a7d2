"""The small parts of a training loop: schedule, patience, memory, pace, precision."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch

from modelkit.errors import UserError
from modelkit.tracking.memory import MemoryReporter
from modelkit.training.early_stop import BestSoFar
from modelkit.training.oom import MicroBatch, is_out_of_memory
from modelkit.training.pace import Pace
from modelkit.training.precision import autocast, choose_precision, has_fast_bf16
from modelkit.training.schedule import learning_rate_factor


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_the_rate_rises_then_never_rises_again(schedule: str) -> None:
    factors = [learning_rate_factor(step, 100, schedule=schedule, warmup=0.1) for step in range(100)]  # type: ignore[arg-type]
    assert factors[:10] == sorted(factors[:10])
    assert factors[10] == 1.0
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert all(0 < factor <= 1 for factor in factors)
    assert factors[-1] == 1.0 if schedule == "constant" else factors[-1] < 0.02


def test_the_best_is_remembered_and_patience_counts() -> None:
    best = BestSoFar(higher_is_better=True, patience=2)
    assert [best.observe(value, step) for step, value in enumerate((0.5, 0.7, 0.7, 0.6))] == [True, True, False, False]
    assert (best.value, best.step, best.exhausted) == (0.7, 1, True)
    assert BestSoFar.restore(best.state()) == best


def test_lower_can_be_better_and_nan_never_is() -> None:
    best = BestSoFar(higher_is_better=False)
    assert [best.observe(value, step) for step, value in enumerate((math.nan, 2.0, 3.0, 1.0))] == [
        False,
        True,
        False,
        True,
    ]
    assert not best.exhausted


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_memory_errors_are_told_from_others(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_a_real_allocation_failure_is_recognised() -> None:
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


def test_smaller_pieces_cover_the_same_rows() -> None:
    micro, seen = MicroBatch(8, MemoryReporter()), []

    def compute(piece: Sequence[int]) -> None:
        if len(piece) > 2:
            raise MemoryError
        seen.append(list(piece))

    micro.run(range(7), compute, restart=seen.clear)
    assert [row for piece in seen for row in piece] == list(range(7))
    assert micro.rows == 1


def test_other_errors_are_not_retried() -> None:
    calls = []

    def compute(piece: Sequence[int]) -> None:
        calls.append(piece)
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        MicroBatch(8, MemoryReporter()).run(range(8), compute)
    assert len(calls) == 1


def test_progress_is_reported_five_times_a_second_at_most_and_at_the_end() -> None:
    now = 0.0
    reporter = MemoryReporter()
    pace = Pace(reporter, start=0.2, end=0.6, rows=1000, clock=lambda: now)
    for _ in range(1000):
        now += 0.001
        pace.advance(1)
    events = reporter.of("progress")
    assert len(events) <= 7
    assert events[-1]["fraction"] == pytest.approx(0.6)
    assert events[-1]["rows_per_s"] == pytest.approx(1000)
    assert events[-1]["eta_s"] == pytest.approx(0)


def test_auto_takes_what_the_processor_is_fast_in() -> None:
    assert choose_precision("auto", "cpu") == ("bf16" if has_fast_bf16("cpu") else "fp32")
    assert choose_precision("fp32", "cpu") == "fp32"


def test_bf16_is_refused_where_it_would_be_emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelkit.training.precision.cpu_flags", lambda: frozenset({"avx2"}))
    assert choose_precision("auto", "cpu") == "fp32"
    with pytest.raises(UserError) as caught:
        choose_precision("bf16", "cpu")
    assert caught.value.field == "params.precision"


def test_autocast_computes_in_the_chosen_format() -> None:
    layer, x = torch.nn.Linear(4, 4), torch.ones(1, 4)
    with autocast("cpu", "bf16"):
        assert layer(x).dtype == torch.bfloat16
    with autocast("cpu", "fp32"):
        assert layer(x).dtype == torch.float32
