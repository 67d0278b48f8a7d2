"""The sampled request log of a real front: what it keeps, what it never writes, what a killed one leaves."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from modelkit.serving.front import samples
from modelkit.serving.plan import DesiredEndpoint, request_tag
from modelkit.serving.segments import claimed, segments
from modelkit.serving.wire import Cost, Reply, Status
from tests.modelkit.serving.toys import OTHER_TOKEN, WORKSPACE, Host, make_bundle, revision, running, wait_until


def sampled(endpoint: DesiredEndpoint, **sampling: Any) -> DesiredEndpoint:
    return DesiredEndpoint.model_validate(endpoint.model_dump() | {"sampling": sampling})


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("samples")
    make_bundle(folder / "first")
    with Host(folder / "home") as running_host:
        first = revision(1, folder / "first")
        running_host.apply(
            sampled(running("all", first), rate=1),
            sampled(running("hidden", first), rate=1, hide_inputs=True),
            sampled(running("none", first), rate=0),
            sampled(running("seldom", first), rate=1e-12),
        )
        for name in ("all", "hidden", "none", "seldom"):
            running_host.wait_for(name, "live")
        yield running_host


def samples_of(host: Host, *request_ids: str) -> dict[str, dict[str, Any]]:
    """Wait for the samples of these requests; all others are taken away too."""
    found: dict[str, dict[str, Any]] = {}

    def look() -> bool:
        for path in segments(host.paths.samples):
            with claimed(path) as lines:
                found.update({line["request_id"]: line for line in lines or ()})
        return found.keys() >= set(request_ids)

    wait_until(look, what="the samples")
    return found


SECRET = "xyzzy plugh"


@dataclass(frozen=True)
class Asked:
    """The answers to `REQUESTS` by name, and the samples that they left by request id."""

    answers: dict[str, httpx.Response]
    found: dict[str, dict[str, Any]]

    def sample(self, name: str) -> dict[str, Any]:
        return self.found[self.id(name)]

    def id(self, name: str) -> str:
        body = self.answers[name].json()
        return str(body.get("request_id") or body.get("id") or body["error"]["request_id"])


#: Requests whose samples the tests look at, asked together: the front closes a file of samples after seconds only.
REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("/predict/all", {"inputs": ["refund to ann@example.org", "卡"]}),
    "scored": ("/predict/all", {"inputs": ["card"], "scores": True}),
    "spoken": (
        "/v2/models/all/infer",
        {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["transfer transfer"]}]},
    ),
    "none": ("/predict/none", {"inputs": [SECRET]}),
    "seldom": ("/predict/seldom", {"inputs": [SECRET]}),
    "hidden": ("/predict/hidden", {"inputs": [SECRET]}),
    "failed": ("/predict/seldom", {"inputs": ["please {fail}"]}),
    "unkept": ("/predict/none", {"inputs": ["please {fail}"]}),
    "refused": ("/predict/all", {"inputs": []}),
    "last": ("/predict/all", {"inputs": ["card"]}),
}


@pytest.fixture(scope="module")
def asked(host: Host) -> Asked:
    with host.client() as client:
        answers = {name: client.post(path, json=body) for name, (path, body) in REQUESTS.items()}
    done = Asked(answers, {})
    last = done.id("last").encode()
    wait_until(lambda: any(last in path.read_bytes() for path in segments(host.paths.samples)))
    # Before anybody takes the samples in: their files are still there.
    for path in host.paths.home.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path
    done.found.update(samples_of(host, last.decode()))
    return done


def test_a_sample_tells_the_whole_of_a_request(asked: Asked) -> None:
    plain, kept = asked.answers["plain"].json(), asked.sample("plain")
    assert (kept["workspace"], kept["endpoint"], kept["revision"], kept["model"]) == (WORKSPACE, "all", 1, "intents@1")
    assert kept["inputs"] == ["refund to [email]", "卡"]
    assert kept["outputs"] == plain["outputs"]
    assert (kept["status"], kept["items"], len(kept["key"]), len(kept["cost"])) == (200, 2, 64, 5)
    assert kept["total_ms"] >= sum(kept["cost"][:3]) > 0
    assert asked.sample("scored")["outputs"] == asked.answers["scored"].json()["outputs"]
    (row,) = asked.sample("spoken")["outputs"]
    assert row["label"] == "transfer"
    assert row["scores"].keys() == {"card", "refund", "transfer"}
    assert max(row["scores"].values()) == pytest.approx(row["score"])


def test_what_is_hidden_or_not_sampled_never_touches_the_disk(asked: Asked) -> None:
    """The fixture has looked through every file; here, what was kept instead."""
    assert [asked.answers[name].status_code for name in ("none", "seldom", "hidden")] == [200, 200, 200]
    assert not asked.found.keys() & {asked.id("none"), asked.id("seldom")}
    hidden = asked.sample("hidden")
    assert (hidden["endpoint"], hidden["inputs"]) == ("hidden", [])
    assert hidden["outputs"][0]["label"]


def test_a_failure_of_the_model_is_kept_although_hardly_anything_is(asked: Asked) -> None:
    assert [asked.answers[name].status_code for name in ("failed", "unkept", "refused")] == [500, 500, 422]
    failed = asked.sample("failed")
    assert (failed["status"], failed["outputs"], failed["inputs"]) == (500, [], ["please {fail}"])
    assert failed["error"]
    assert not asked.found.keys() & {asked.id("unkept"), asked.id("refused")}


def test_golden_answers_are_nobodys_requests(host: Host, asked: Asked) -> None:
    """The front has answered the golden set of each endpoint at its start; only callers are sampled."""
    assert asked.found.keys() <= {asked.id(name) for name in REQUESTS}
    text = client_metrics(host)
    assert 'endpoint="none"' not in "".join(line for line in text.splitlines() if "samples_total" in line)


def client_metrics(host: Host) -> str:
    with host.client() as client:
        return str(client.get("/metrics").text)


def test_an_id_that_the_front_made_tells_the_endpoint_and_a_callers_own_stays(host: Host) -> None:
    with host.client() as client:
        made = client.post("/predict/all", json={"inputs": ["card"]})
        own = client.post("/predict/all", json={"inputs": ["card"]}, headers={"x-request-id": "order-7"})
    assert made.json()["request_id"] == made.headers["x-request-id"]
    assert made.json()["request_id"].startswith(f"req_{request_tag(WORKSPACE, 'all')}-")
    assert own.json()["request_id"] == "order-7"
    with host.client(OTHER_TOKEN) as stranger:
        refused = stranger.post("/predict/all", json={"inputs": ["card"]}).json()
    assert request_tag(WORKSPACE, "all") not in refused["error"]["request_id"]


def test_a_killed_front_leaves_what_it_has_written_and_nothing_twice(host: Host) -> None:
    with host.client() as client:
        asked = [client.post("/predict/all", json={"inputs": ["card"]}).json()["request_id"] for _ in range(20)]
    wait_until(lambda: any(asked[-1].encode() in path.read_bytes() for path in segments(host.paths.samples)))
    pid = host.observed().front.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    taken: list[str] = []

    def look() -> bool:
        for path in segments(host.paths.samples):
            with claimed(path) as lines:
                taken.extend(line["request_id"] for line in lines or ())
        return set(asked) <= set(taken)

    wait_until(look, what="the segments of the killed front")
    assert len(taken) == len(set(taken))
    wait_until(lambda: host.observed().front.pid not in (None, pid), what="the next front")


class _Endpoint:
    def __init__(self, route: Any) -> None:
        self.workspace, self.name = "w", "e"
        self.sampler = samples.Sampler(route)


def test_memory_is_bounded_and_what_does_not_fit_is_counted(tmp_path: Path) -> None:
    from modelkit.serving.front.request import Request
    from modelkit.serving.plan import Route, RouteRevision

    route = Route.model_validate({"workspace": "w", "name": "e", "state": "running", "sampling": {"rate": 1}})
    target = RouteRevision(number=1, model="m@1", sockets=("s",), weight=100, input_kind="string")
    # A file where the folder should be: no write can succeed, as on a full disk.
    (tmp_path / "samples").write_text("")
    log = samples.Samples(tmp_path / "samples")
    endpoint: Any = _Endpoint(route)
    reply = Reply(Status.OK, b"[]", Cost(0.0, 0.0, 0.0, 1, 1))
    for _ in range(samples.MAX_WAITING + 7):
        log.take(endpoint, target, Request(), 200, 1, b'["card"]', reply)
    assert log.dropped == {("w", "e"): 7}
    log.write(log._waiting)
    assert log.dropped == {("w", "e"): samples.MAX_WAITING + 7}
    assert not log.taken
    huge = b'["' + b"x" * samples.MAX_PAYLOAD_BYTES + b'"]'
    log._waiting.clear()
    log.take(endpoint, target, Request(), 200, 1, huge, reply)
    assert log._waiting[0].payload == b""
