"""The pure difference between what is desired and what runs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from modelkit.serving.difference import Actual, Drain, Forget, Phase, Point, Start, plan
from modelkit.serving.plan import DesiredEndpoint, DesiredRevision, DesiredSet, EndpointKey

KEY: EndpointKey = ("ws1", "intents")


def wanted(weights: dict[int, int], state: str = "running") -> list[DesiredEndpoint]:
    revisions = [
        DesiredRevision(number=n, model=f"intents@{n}", bundle=f"/b/{n}", digest="d", weight=w)
        for n, w in weights.items()
    ]
    return [
        DesiredEndpoint.model_validate({"workspace": "ws1", "name": "intents", "state": state, "revisions": revisions})
    ]


def have(phases: dict[int, Phase], weights: dict[int, int] | None = None) -> dict[EndpointKey, Actual]:
    return {KEY: Actual(phases, weights or {})}


def test_a_new_endpoint_is_started_and_gets_no_traffic_yet() -> None:
    assert plan(wanted({1: 100}), {}) == [Start(KEY, 1)]


def test_traffic_moves_once_the_revision_is_checked() -> None:
    assert plan(wanted({1: 100}), have({1: "checking"})) == []
    assert plan(wanted({1: 100}), have({1: "checked"})) == [Point(KEY, {1: 100})]
    assert plan(wanted({1: 100}), have({1: "checked"}, {1: 100})) == []


def test_the_old_revision_answers_until_the_new_one_is_checked_and_drains_after_the_pointer() -> None:
    assert plan(wanted({2: 100}), have({1: "checked"}, {1: 100})) == [Start(KEY, 2)]
    assert plan(wanted({2: 100}), have({1: "checked", 2: "checking"}, {1: 100})) == []
    assert plan(wanted({2: 100}), have({1: "checked", 2: "checked"}, {1: 100})) == [Point(KEY, {2: 100}), Drain(KEY, 1)]


def test_the_old_revision_stays_when_the_new_one_fails() -> None:
    assert plan(wanted({2: 100}), have({1: "checked", 2: "failed"}, {1: 100})) == []


def test_a_split_waits_for_all_and_goes_on_without_the_failed() -> None:
    assert plan(wanted({2: 90, 3: 10}), have({1: "checked", 2: "checked", 3: "checking"}, {1: 100})) == []
    assert plan(wanted({2: 90, 3: 10}), have({1: "checked", 2: "checked", 3: "failed"}, {1: 100})) == [
        Point(KEY, {2: 90}),
        Drain(KEY, 1),
    ]


def test_the_first_checked_revision_answers_where_nobody_does() -> None:
    assert plan(wanted({2: 90, 3: 10}), have({2: "checked", 3: "checking"})) == [Point(KEY, {2: 90})]


def test_a_revision_without_weight_runs_without_traffic() -> None:
    assert plan(wanted({1: 100, 2: 0}), have({1: "checked"}, {1: 100})) == [Start(KEY, 2)]
    assert plan(wanted({1: 100, 2: 0}), have({1: "checked", 2: "checked"}, {1: 100})) == []


def test_a_routed_revision_that_nobody_lists_is_started_again_after_a_restart() -> None:
    assert plan(wanted({2: 100}), have({2: "failed"}, {1: 100})) == [Start(KEY, 1)]


def test_a_stopped_endpoint_loses_traffic_first_and_runners_next() -> None:
    assert plan(wanted({1: 100}, "stopped"), have({1: "checked"}, {1: 100})) == [Point(KEY, {}), Drain(KEY, 1)]
    assert plan(wanted({1: 100}, "stopped"), have({1: "draining"})) == []


def test_an_endpoint_that_is_gone_is_forgotten() -> None:
    assert plan([], have({1: "checked"}, {1: 100})) == [Forget(KEY), Drain(KEY, 1)]


def test_a_drain_under_way_is_awaited_before_the_revision_starts_again() -> None:
    assert plan(wanted({1: 100}), have({1: "draining", 2: "checked"}, {2: 100})) == []


PHASES: st.SearchStrategy[Phase] = st.sampled_from(["new", "checking", "checked", "failed", "draining"])
WEIGHTS = st.dictionaries(st.integers(1, 4), st.integers(0, 100), max_size=4)


@given(WEIGHTS, st.dictionaries(st.integers(1, 4), PHASES), st.dictionaries(st.integers(1, 4), st.integers(1, 100)))
def test_carried_out_it_comes_to_rest_and_never_cuts_traffic(
    desired: dict[int, int], phases: dict[int, Phase], weights: dict[int, int]
) -> None:
    """Every start succeeds here, every drain ends: after a few passes nothing is left to do."""
    weights = {n: w for n, w in weights.items() if phases.get(n) == "checked"}
    for _ in range(8):
        actions = plan(wanted(desired), have(phases, weights))
        drained = {a.number for a in actions if isinstance(a, Drain)}
        for action in actions:
            if isinstance(action, Point):
                assert action.weights or not weights, "traffic was cut"
                assert all(phases.get(n) == "checked" for n in action.weights)
                weights = dict(action.weights)
        assert not drained & weights.keys(), "a revision with traffic was drained"
        started: dict[int, Phase] = {a.number: "checked" for a in actions if isinstance(a, Start)}
        kept = {n: p for n, p in phases.items() if p != "draining"}
        phases = {**{n: "checked" if p in ("new", "checking") else p for n, p in kept.items()}, **started}
        phases.update(dict.fromkeys(drained, "draining"))
    assert plan(wanted(desired), have(phases, weights)) == []
    checked = {n: w for n, w in desired.items() if w > 0 and phases.get(n) == "checked"}
    if checked:
        assert weights == checked


@pytest.mark.parametrize(
    "bad",
    [
        {"endpoints": [{"workspace": "w", "name": "Bad Name", "state": "running"}]},
        {"endpoints": [{"workspace": "w", "name": "a", "state": "paused"}]},
        {"keys": [{"sha256": "zz", "workspace": "w"}]},
        {"unknown": 1},
    ],
)
def test_a_desired_set_that_makes_no_sense_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        DesiredSet.model_validate(bad)
