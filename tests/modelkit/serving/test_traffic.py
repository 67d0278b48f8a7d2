"""Traffic over several revisions, by real processes: who stays where, what is counted, what is copied."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from modelkit.serving.front.mirror import FLUSH_EVERY_S, MAX_FILES
from modelkit.serving.plan import DesiredEndpoint, DesiredRevision, RevisionTally
from tests.modelkit.serving.toys import WORKSPACE, Host, make_bundle, revision, wait_until


def shared(*revisions: DesiredRevision, name: str = "intents", **fields: Any) -> DesiredEndpoint:
    return DesiredEndpoint(workspace=WORKSPACE, name=name, state="running", revisions=revisions, **fields)


def two(first: Path, second: Path, share: int) -> tuple[DesiredRevision, DesiredRevision]:
    return revision(1, first, weight=100 - share), revision(2, second, weight=share)


def answering(host: Host, callers: Iterable[str], header: str = "x-user-id") -> dict[str, int]:
    """Which revision answered each caller."""
    with host.client() as client:
        return {
            caller: client.post(
                "/predict/intents", json={"inputs": ["refund please"]}, headers={header: caller}
            ).json()["revision"]
            for caller in callers
        }


def wait_for_weights(host: Host, weights: dict[int, int]) -> None:
    wait_until(
        lambda: (seen := host.endpoint("intents")) and seen.weights == weights and seen.status == "live",
        what=f"traffic at {weights}",
    )


def tallies(host: Host) -> dict[int, RevisionTally]:
    return {tally.number: tally for tally in host.observed().tallies if tally.name == "intents"}


def test_a_named_caller_stays_and_only_the_needed_ones_move(host: Host, first: Path, second: Path) -> None:
    callers = [f"user-{i}" for i in range(200)]
    seen = []
    for share in (30, 60, 30):
        host.apply(shared(*two(first, second, share), sticky="header:x-user-id"))
        wait_for_weights(host, {1: 100 - share, 2: share})
        once = answering(host, callers)
        assert answering(host, callers) == once
        seen.append(once)
    at_30, at_60, back = seen
    assert {c for c in callers if at_30[c] == 2} < {c for c in callers if at_60[c] == 2}
    assert {c for c in callers if back[c] == 2} < {c for c in callers if at_60[c] == 2}
    assert 0.15 < Counter(at_30.values())[2] / len(callers) < 0.45


def test_the_slots_survive_a_killed_agent(host: Host, first: Path, second: Path) -> None:
    callers = [f"user-{i}" for i in range(60)]
    for share in (30, 60, 40):
        host.apply(shared(*two(first, second, share), sticky="header:x-user-id"))
        wait_for_weights(host, {1: 100 - share, 2: share})
    before = answering(host, callers)
    host.kill_agent()
    host.start_agent()
    wait_for_weights(host, {1: 60, 2: 40})
    assert answering(host, callers) == before


def test_a_key_stays_with_its_revision(host: Host, first: Path, second: Path) -> None:
    host.apply(shared(*two(first, second, 50), sticky="key"))
    wait_for_weights(host, {1: 50, 2: 50})
    assert len(set(answering(host, [str(i) for i in range(40)]).values())) == 1


def test_revisions_that_share_are_counted_apart_with_labels_and_failures(host: Host, first: Path, second: Path) -> None:
    host.apply(shared(*two(first, second, 50)))
    wait_for_weights(host, {1: 50, 2: 50})
    with host.client() as client:
        for text in ["refund refund"] * 30 + ["card card"] * 10 + ["{fail}"] * 10 + ["{invalid}"] * 5:
            client.post("/predict/intents", json={"inputs": [text]})
        for _ in range(5):
            client.post(
                "/v2/models/intents/versions/2/infer",
                json={"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["transfer"]}]},
            )
    # Those that name their revision and those that are the caller's fault are in no tally.
    counted = wait_until(lambda: (t := tallies(host)) and sum(x.requests for x in t.values()) == 50 and t)
    assert sum(t.failures for t in counted.values()) == 10
    labels: Counter[str] = Counter()
    for tally in counted.values():
        labels.update(tally.labels)
    assert labels == {"refund": 30, "card": 10}
    assert sum(sum(t.buckets) for t in counted.values()) == 40


def test_one_revision_alone_has_no_tally(host: Host, first: Path) -> None:
    host.apply(shared(revision(1, first)))
    host.wait_for("intents", "live")
    host.predict("intents")
    wait_until(lambda: (c := host.observed().counters) and c[0].requests == 1)
    assert not tallies(host)


def test_a_runner_that_dies_is_a_failure_of_its_revision_though_the_caller_is_answered(
    host: Host, first: Path, second: Path
) -> None:
    host.apply(shared(*two(first, second, 90)))
    wait_for_weights(host, {1: 10, 2: 90})
    os.kill(host.pid_of("intents", 2), signal.SIGSTOP)
    pid = host.pid_of("intents", 2)
    with host.client() as client:
        answers: list[int] = []
        thread = threading.Thread(
            target=lambda: answers.extend(
                client.post("/predict/intents", json={"inputs": ["refund"]}).status_code for _ in range(10)
            )
        )
        thread.start()
        # Killed with a request in its hands: of ten, at least one is drawn for it.
        thread.join(1.0)
        os.kill(pid, signal.SIGKILL)
        thread.join(30)
    assert answers.count(200) >= 9
    failed = wait_until(lambda: (t := tallies(host)) and t.get(2) and t[2].failures and t[2])
    # A request that met it twice counts once.
    assert failed.requests == failed.failures <= 10
    wait_until(lambda: (e := host.endpoint("intents")) and [r.restarts for r in e.revisions if r.number == 2] == [1])


# --- shadow -----------------------------------------------------------------------------------------------------------


def shadowed(first: Path, other: Path, percent: int = 100, **fields: Any) -> DesiredEndpoint:
    challenger = revision(2, other, weight=0).model_copy(update={"shadow": percent})
    return shared(revision(1, first), challenger, **fields)


def batches(host: Host) -> list[dict[str, Any]]:
    return [
        pair for path in sorted(host.paths.shadow.glob("*.json")) for pair in json.loads(path.read_bytes())["pairs"]
    ]


def total(host: Host, field: str) -> int:
    return sum(pair[field] for pair in batches(host))


@pytest.fixture
def biased(tmp_path: Path) -> Path:
    """A bundle that prefers the last label unless the text is clear."""
    make_bundle(tmp_path / "biased", bias=3.0)
    return tmp_path / "biased"


def test_a_shadow_sees_copies_answers_nobody_and_its_disagreements_are_kept(
    host: Host, first: Path, biased: Path
) -> None:
    host.apply(shadowed(first, biased))
    wait_until(lambda: (e := host.endpoint("intents")) and [r.status for r in e.revisions] == ["live", "live"])
    with host.client() as client:
        for text in ("refund refund", "transfer transfer"):
            assert client.post("/predict/intents", json={"inputs": [text]}).json()["revision"] == 1
        pinned = client.post("/v2/models/intents/versions/2/infer", json={"inputs": []})
        assert pinned.status_code == 404
    wait_until(lambda: total(host, "compared") == 2)
    assert total(host, "agreed") == 1
    (example,) = [e for pair in batches(host) for e in pair["examples"]]
    assert example["input"] == "refund refund"
    assert (example["champion"]["label"], example["challenger"]["label"]) == ("refund", "transfer")
    assert 0 < example["champion"]["score"] <= 1
    assert {(p["champion"], p["challenger"]) for p in batches(host)} == {(1, 2)}


def test_texts_are_not_kept_where_that_is_asked(host: Host, first: Path, biased: Path) -> None:
    host.apply(shadowed(first, biased, shadow_inputs=False))
    wait_until(lambda: (e := host.endpoint("intents")) and [r.status for r in e.revisions] == ["live", "live"])
    host.predict("intents", "refund refund secret")
    wait_until(lambda: total(host, "compared") == 1)
    assert b"secret" not in b"".join(path.read_bytes() for path in host.paths.shadow.iterdir())


def test_a_shadow_that_hangs_neither_delays_nor_fails_anybody(host: Host, first: Path, biased: Path) -> None:
    host.apply(shadowed(first, biased))
    wait_until(lambda: (e := host.endpoint("intents")) and [r.status for r in e.revisions] == ["live", "live"])
    pid = host.pid_of("intents", 2)
    os.kill(pid, signal.SIGSTOP)
    try:
        # Were answers to wait for the shadow, the client would time out; it hangs for good.
        with host.client() as client:
            answers = [client.post("/predict/intents", json={"inputs": ["refund"]}).status_code for _ in range(30)]
        assert answers == [200] * 30
        wait_until(lambda: total(host, "dropped") == 22)
        assert total(host, "sent") == 8
        assert total(host, "compared") == 0
    finally:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: total(host, "failed") == 8)


def test_copies_follow_their_share(host: Host, first: Path, biased: Path) -> None:
    host.apply(shadowed(first, biased, percent=20))
    wait_until(lambda: (e := host.endpoint("intents")) and [r.status for r in e.revisions] == ["live", "live"])
    with host.client() as client:
        for _ in range(200):
            client.post("/predict/intents", json={"inputs": ["refund"]})
    wait_until(lambda: total(host, "compared") >= 10)
    assert total(host, "sent") + total(host, "dropped") < 80


def test_files_that_nobody_takes_in_are_bounded_and_counts_wait(host: Host, first: Path, biased: Path) -> None:
    host.apply(shadowed(first, biased))
    wait_until(lambda: (e := host.endpoint("intents")) and [r.status for r in e.revisions] == ["live", "live"])
    host.paths.shadow.mkdir(exist_ok=True)
    waiting = [host.paths.shadow / f"{i}.json" for i in range(MAX_FILES)]
    for path in waiting:
        path.write_text('{"pairs": []}')
    for _ in range(5):
        host.predict("intents", "refund refund")
    time.sleep(2 * FLUSH_EVERY_S)
    assert len(list(host.paths.shadow.iterdir())) == MAX_FILES
    for path in waiting:
        path.unlink()
    wait_until(lambda: total(host, "compared") == 5)
