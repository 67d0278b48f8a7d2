"""Who stays with which revision: shares are exact, and a change moves only as many callers as it must."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from modelkit.serving.slots import SLOTS, reslot, slot_of


@st.composite
def shares(draw: st.DrawFn) -> dict[int, int]:
    """Shares in percent of up to five revisions."""
    numbers = draw(st.lists(st.integers(1, 9), min_size=1, max_size=5, unique=True))
    cuts = sorted(draw(st.lists(st.integers(0, 100), min_size=len(numbers) - 1, max_size=len(numbers) - 1)))
    parts = [high - low for low, high in zip([0, *cuts], [*cuts, 100], strict=True)]
    return {number: part for number, part in zip(numbers, parts, strict=True) if part}


@given(st.lists(shares(), min_size=1, max_size=6))
def test_each_revision_has_its_share_and_no_caller_moves_without_need(history: list[dict[int, int]]) -> None:
    slots: tuple[int, ...] = ()
    before: dict[int, int] = {}
    for weights in history:
        moved_to = reslot(slots, weights)
        assert Counter(moved_to) == weights
        if slots:
            moved = sum(old != new for old, new in zip(slots, moved_to, strict=True))
            assert moved == sum(max(0, weights.get(n, 0) - before.get(n, 0)) for n in weights)
        slots, before = moved_to, weights
    assert reslot(slots, before) == slots


@given(shares())
def test_a_part_of_the_revisions_shares_all_callers(weights: dict[int, int]) -> None:
    rest = dict(list(weights.items())[:-1])
    slots = reslot(reslot((), weights), rest)
    assert len(slots) == (SLOTS if rest else 0)
    assert set(slots) <= rest.keys()


def test_callers_spread_over_the_slots_and_differently_at_each_endpoint() -> None:
    callers = [f"user-{i}".encode() for i in range(20_000)]
    counts = Counter(slot_of(caller, b"ws/intents") for caller in callers)
    assert len(counts) == SLOTS
    assert max(counts.values()) < 2 * min(counts.values())
    same = sum(slot_of(caller, b"ws/intents") == slot_of(caller, b"ws/second") for caller in callers)
    assert same < len(callers) * 0.02
