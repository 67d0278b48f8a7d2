"""What the front has counted, as endpoints and revisions come and go."""

from __future__ import annotations

import pytest

from modelkit.serving.front import counters
from modelkit.serving.front.counters import Counters
from modelkit.serving.wire import NO_COST

ENDPOINT = ("ws1", "intents")


class Clock:
    """Seconds since the epoch as the counters see them."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(counters, "time", made)
    return made


def test_revisions_that_are_gone_do_not_pile_up_and_their_counts_stay(clock: Clock) -> None:
    counted = Counters()
    for revision in range(1, 101):
        series = counted.of((*ENDPOINT, revision))
        series.observe(200, 3.0, 1, NO_COST)
        series.observe(500, 0.0, 1, NO_COST, "model_failed")
        clock.now += 120
        counted.roll()
        counted.keep({ENDPOINT: {revision}})
        assert len(counted.series) == 1
    [row] = counted.summary()
    assert (row["requests"], row["errors"], row["rejected"]) == (200, 100, 0)


def test_a_revision_is_kept_while_its_last_minute_is_told(clock: Clock) -> None:
    counted = Counters()
    counted.of((*ENDPOINT, 1)).observe(200, 3.0, 1, NO_COST)
    counted.keep({ENDPOINT: {2}})
    assert len(counted.series) == 1, "what is not on disk yet must not be lost"
    clock.now += 5
    [part] = counted.roll()
    assert part.tally.answered == 1
    counted.keep({ENDPOINT: {2}})
    assert counted.summary()[0]["p50_ms"] is not None


def test_an_endpoint_that_is_gone_is_forgotten(clock: Clock) -> None:
    counted = Counters()
    for revision in (0, 1):
        counted.of((*ENDPOINT, revision)).observe(200, 3.0, 1, NO_COST)
    clock.now += 120
    counted.roll()
    counted.keep({ENDPOINT: set()})
    assert [key[2] for key in counted.series] == [0], "those refused before a revision was chosen are of no revision"
    counted.keep({})
    assert not counted.series
    assert not counted.summary()
