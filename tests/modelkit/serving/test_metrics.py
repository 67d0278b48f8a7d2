"""`/metrics` and the journal, of a real agent, front and runner, after known traffic."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from modelkit.serving import journal
from tests.modelkit.serving.toys import Host, make_bundle, revision, running, wait_until

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def served(host: Host, tmp_path: Path) -> Host:
    make_bundle(tmp_path / "first")
    make_bundle(tmp_path / "second", bias=0.1)
    host.apply(
        running("intents", revision(1, tmp_path / "first", weight=0), revision(2, tmp_path / "second")),
        running("small", revision(1, tmp_path / "first"), max_batch=2),
    )
    host.wait_for("intents", "live", active=2)
    host.wait_for("small", "live")
    return host


def scrape(host: Host) -> tuple[str, Samples]:
    with host.client(token="") as anonymous:
        text = anonymous.get("/metrics").text
    families = list(text_string_to_metric_families(text))
    return text, {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def value(samples: Samples, name: str, **labels: str) -> float:
    """The sum over all samples of a name with these labels."""
    wanted = set(labels.items())
    return sum(v for (found, given), v in samples.items() if found == f"tuneyard_serving_{name}" and wanted <= given)


def ask(client: httpx.Client, name: str, *inputs: object) -> int:
    return client.post(f"/predict/{name}", json={"inputs": list(inputs)}).status_code


def test_every_figure_after_known_traffic(served: Host) -> None:
    with served.client() as client:
        assert [ask(client, "intents", "card", "refund") for _ in range(5)] == [200] * 5
        assert [ask(client, "small", "a", "b", "c") for _ in range(3)] == [422] * 3
        assert ask(client, "intents", "{fail}") == 500
        assert client.get("/predict/intents").status_code == 405
    with served.client(token="ty_unknown") as stranger:
        assert ask(stranger, "intents", "card") == 401
    _, samples = scrape(served)
    here = {"workspace": "ws1", "endpoint": "intents", "revision": "2"}
    assert value(samples, "requests_total", code="200", **here) == 5
    assert value(samples, "requests_total", code="500", **here) == 1
    assert value(samples, "errors_total", code="500", reason="model_failed", **here) == 1
    assert value(samples, "errors_total", endpoint="small", code="422", reason="invalid_input") == 3
    assert value(samples, "inputs_total", **here) == 10
    assert value(samples, "refused_total", code="401") == 1
    for name, labels in (
        ("latency_seconds", {}),
        ("batch_inputs", {}),
        *(("stage_seconds", {"stage": stage}) for stage in ("queue", "preprocess", "model")),
    ):
        assert value(samples, f"{name}_count", **here, **labels) == 5
        assert value(samples, f"{name}_bucket", le="+Inf", **here, **labels) == 5
    assert value(samples, "batch_inputs_sum", **here) == 10
    assert not any(name.endswith("_bucket") and ("revision", "0") in labels for name, labels in samples)
    total_s = value(samples, "latency_seconds_sum", **here)
    assert 0 < value(samples, "stage_seconds_sum", **here) < total_s
    assert value(samples, "up", **here) == 1
    assert value(samples, "in_flight", **here) == 0
    assert value(samples, "connections") >= 1
    assert value(samples, "front_memory_bytes") > 1_000_000
    assert value(samples, "front_start_time_seconds") > 1_700_000_000


def test_runners_are_told_of_with_their_restarts(served: Host) -> None:
    here = {"endpoint": "intents", "revision": "2"}

    def known() -> bool:
        samples = scrape(served)[1]
        return value(samples, "runner_processes", **here) == 1 and value(samples, "runner_memory_bytes", **here) > 1e6

    wait_until(known, what="the runner's figures")
    before = value(scrape(served)[1], "runner_cpu_seconds_total", **here)
    assert before > 0
    assert value(scrape(served)[1], "runner_restarts_total", **here) == 0
    os.kill(served.pid_of("intents", 2), signal.SIGKILL)
    wait_until(lambda: value(scrape(served)[1], "runner_restarts_total", **here) == 1, what="the restart")
    # Nobody asks it: an alert on `up` must end with the runner's return, not with the next caller.
    wait_until(lambda: value(scrape(served)[1], "up", **here) == 1, what="the runner's return")
    assert served.predict("intents").status_code == 200


def ask_again(host: Host) -> bool:
    return host.predict("intents").status_code == 200


def test_a_shadow_is_up_before_it_has_seen_a_request(host: Host, tmp_path: Path) -> None:
    make_bundle(tmp_path / "first")
    make_bundle(tmp_path / "second", bias=0.1)
    shadow = revision(2, tmp_path / "second", weight=0).model_copy(update={"shadow": 100})
    host.apply(running("intents", revision(1, tmp_path / "first"), shadow))
    host.wait_for("intents", "live")
    wait_until(lambda: value(scrape(host)[1], "up", endpoint="intents", revision="2") == 1, what="the shadow's link")


def test_names_units_types_and_buckets_follow_the_conventions(served: Host) -> None:
    with served.client() as client:
        assert ask(client, "intents", "card") == 200
    text, _ = scrape(served)
    families = list(text_string_to_metric_families(text))
    names = [family.name for family in families]
    assert len(names) == len(set(names)), "a family is told twice"
    for family in families:
        assert family.documentation.endswith("."), family.name
        assert family.type != "unknown", family.name
        if family.type == "counter":
            assert f"# TYPE {family.name}_total counter" in text
        if family.type == "histogram":
            buckets: dict[frozenset[tuple[str, str]], list[tuple[float, float]]] = {}
            for sample in family.samples:
                if sample.name.endswith("_bucket"):
                    rest = frozenset(item for item in sample.labels.items() if item[0] != "le")
                    buckets.setdefault(rest, []).append((float(sample.labels["le"]), sample.value))
            for rows in buckets.values():
                assert rows == sorted(rows)
                assert [count for _, count in rows] == sorted(count for _, count in rows)
    assert not {name for name in names if name.endswith(("_ms", "_mb"))}, "base units are seconds and bytes"


def journalled(host: Host) -> int:
    files = journal.files(host.paths.journal)
    return sum(part.tally.requests for path in files for part in journal.read(path, 0)[0])


def test_the_journal_has_every_request_across_a_kill_and_a_restart(served: Host) -> None:
    with served.client() as client:
        for _ in range(7):
            assert ask(client, "intents", "card") == 200
        assert ask(client, "small", 7) == 422
    wait_until(lambda: journalled(served) == 8, what="the slice on disk")
    os.kill(served.observed().front.pid or 0, signal.SIGKILL)
    wait_until(lambda: ask_again(served), what="the next front")
    served.stop_agent()
    # The last slice is written when the front ends in peace, however short it was.
    assert journalled(served) == 9
    assert len(journal.files(served.paths.journal)) == 2
