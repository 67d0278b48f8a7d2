"""Keys at the serving port: whose they are, what they open, how often and how much; and what outlives the front."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from modelkit.serving.front.keys import Bucket, Credential, KeyRing
from modelkit.serving.plan import AccessKey, KeySet
from tests.modelkit.serving.toys import KEYS, TOKEN, WORKSPACE, Host, key, make_bundle, revision, running, wait_until


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("keys")
    make_bundle(folder / "first")
    with Host(folder / "home") as host:
        host.apply(
            running("intents", revision(1, folder / "first")),
            running("other", revision(1, folder / "first")),
            running("slow", revision(1, folder / "first"), rate_per_minute=2),
            running("short", revision(1, folder / "first"), max_tokens=4),
        )
        for name in ("intents", "other", "slow", "short"):
            host.wait_for(name, "live")
        yield host


def state(host: Host, *keys: AccessKey) -> None:
    """Let the front have these keys beside the usual ones; the last is told to have arrived by itself."""
    token = f"ty_marker_{time.monotonic_ns()}"
    marker = key(token, WORKSPACE)
    host.backend.apply_keys(KeySet(keys=(*KEYS, *keys, marker)))
    wait_until(lambda: host.predict("intents", token=token).status_code == 200, what="the keys")


def refusal(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_a_key_of_an_endpoint_opens_that_one_only(shared: Host) -> None:
    state(shared, key("ty_mine", WORKSPACE, id="k1", endpoint="intents"))
    assert shared.predict("intents", token="ty_mine").status_code == 200
    assert refusal(shared.predict("other", token="ty_mine")) == (403, "key_of_another_endpoint")
    # The same for a name that does not exist: the key is no means to find out which do.
    other, missing = shared.predict("other", token="ty_mine"), shared.predict("missing", token="ty_mine")
    assert {**other.json()["error"], "request_id": ""} == {**missing.json()["error"], "request_id": ""}
    with shared.client("ty_mine") as client:
        assert refusal(client.get("/metrics")) == (403, "key_of_another_endpoint")
        assert refusal(client.get("/v2/models/other")) == (403, "key_of_another_endpoint")
        assert client.get("/v2/models/intents/ready").status_code == 200


def test_a_key_ends_by_the_clock_of_the_front(shared: Host) -> None:
    state(shared, key("ty_ended", WORKSPACE, time.time() - 1, id="k2", endpoint="intents"))
    assert refusal(shared.predict("intents", token="ty_ended")) == (401, "unauthenticated")


def test_a_rate_refuses_with_the_time_to_wait(shared: Host) -> None:
    state(shared, key("ty_rate", WORKSPACE, id="k3", endpoint="intents", rate_per_minute=1, burst=2))
    first, second, third = (shared.predict("intents", token="ty_rate") for _ in range(3))
    assert [first.status_code, second.status_code] == [200, 200]
    assert [answer.headers["ratelimit-remaining"] for answer in (first, second)] == ["1", "0"]
    assert first.headers["ratelimit-limit"] == "2"
    assert refusal(third) == (429, "rate_limited")
    assert 1 <= int(third.headers["retry-after"]) <= 60
    assert third.headers["ratelimit-remaining"] == "0"
    assert shared.predict("intents").status_code == 200, "others are not slowed"
    # Other settings of the key do not fill its bucket again.
    state(shared, key("ty_rate", WORKSPACE, id="k3", endpoint="intents", rate_per_minute=1, burst=2, quota_per_day=9))
    assert refusal(shared.predict("intents", token="ty_rate")) == (429, "rate_limited")


def test_an_endpoint_s_own_rate_is_for_each_key_without_one(shared: Host) -> None:
    state(shared, *(key(f"ty_any{n}", WORKSPACE, id=f"any{n}") for n in (1, 2)))
    statuses = [shared.predict("slow", token="ty_any1").status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
    assert shared.predict("slow", token="ty_any2").status_code == 200
    assert shared.predict("intents", token="ty_any1").status_code == 200


def test_a_quota_counts_inputs_and_tells_when_it_is_whole_again(shared: Host) -> None:
    state(shared, key("ty_quota", WORKSPACE, id="k4", endpoint="intents", quota_per_day=5))
    with shared.client("ty_quota") as client:
        answer = client.post("/predict/intents", json={"inputs": ["card"] * 3})
        assert (answer.status_code, answer.headers["ratelimit-remaining"]) == (200, "2")
        refused = client.post("/predict/intents", json={"inputs": ["card"] * 3})
        assert refusal(refused) == (429, "quota_exceeded")
        assert "T00:00:00Z" in refused.json()["error"]["hint"]
        assert 1 <= int(refused.headers["retry-after"]) <= 86_401
        # What no model answered does not count.
        assert client.post("/predict/intents", json={"inputs": ["{fail}", "card"]}).status_code == 500
        assert client.post("/predict/intents", json={"inputs": ["card"] * 2}).status_code == 200
        assert refusal(client.post("/predict/intents", json={"inputs": ["card"]})) == (429, "quota_exceeded")


def test_a_quota_and_the_last_use_outlive_a_killed_front(shared: Host) -> None:
    state(shared, key("ty_lasting", WORKSPACE, id="k5", endpoint="intents", quota_per_day=3))
    with shared.client("ty_lasting") as client:
        assert client.post("/predict/intents", json={"inputs": ["card"] * 3}).status_code == 200
    wait_until(lambda: (row := shared.backend.key_usage().get("k5")) and row.used == 3, what="the count on disk")
    assert time.time() - shared.backend.key_usage()["k5"].last_used < 60
    front = shared.observed().front.pid
    assert front is not None
    os.kill(front, signal.SIGKILL)
    wait_until(lambda: (pid := shared.observed().front.pid) and pid != front, what="another front")
    assert refusal(shared.predict("intents", token="ty_lasting")) == (429, "quota_exceeded")


def test_a_revoked_key_is_refused_although_agent_and_control_plane_are_gone(tmp_path: Path) -> None:
    make_bundle(tmp_path / "first")
    with Host(tmp_path / "home") as host:
        host.apply(running("intents", revision(1, tmp_path / "first")))
        host.wait_for("intents", "live")
        port = host.port
        host.kill_agent()

        def ask() -> int:
            answer = httpx.post(
                f"http://127.0.0.1:{port}/predict/intents",
                json={"inputs": ["card"]},
                headers={"authorization": f"Bearer {TOKEN}"},
                trust_env=False,
            )
            return answer.status_code

        assert ask() == 200
        host.backend.apply_keys(KeySet())
        wait_until(lambda: ask() == 401, what="the refusal")
        assert [ask() for _ in range(3)] == [401] * 3


def test_a_damaged_file_of_keys_changes_nothing(shared: Host) -> None:
    state(shared)
    good = shared.paths.keys.read_bytes()
    log = shared.paths.logs / "front.log"
    shared.paths.keys.write_text("{")
    wait_until(lambda: "keys.json cannot be read" in log.read_text(), what="the line in the log")
    assert shared.predict("intents").status_code == 200
    shared.paths.keys.write_bytes(good)
    state(shared)


# --- tokens -----------------------------------------------------------------------------------------------------------


def test_an_input_with_too_many_tokens_is_named_with_its_count(shared: Host) -> None:
    with shared.client() as client:
        assert client.post("/predict/short", json={"inputs": ["card " * 4]}).status_code == 200
        answer = client.post("/predict/short", json={"inputs": ["card"] * 20 + ["card " * 5]})
        assert refusal(answer) == (422, "invalid_input")
        fields = answer.json()["error"]["fields"]
        assert fields == {"inputs[20]": "inputs[20] has 5 tokens; this endpoint takes at most 4."}


# --- by themselves ----------------------------------------------------------------------------------------------------


def test_a_bucket_fills_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    bucket = Bucket(per_minute=30, burst=3)
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]
    assert bucket.wait_s == 2
    now += 1.0
    assert not bucket.take()
    assert bucket.wait_s == 1
    now += 1.0
    assert bucket.take()
    now += 3600.0
    assert bucket.left == 3


def test_a_quota_is_whole_again_at_midnight(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 86_400.0 * 20_000 + 86_399
    monkeypatch.setattr(time, "time", lambda: now)
    credential = Credential("w")
    credential.adopt(AccessKey(sha256="0" * 64, workspace="w", id="k", quota_per_day=2))
    assert credential.spend(2) is None
    refused: Any = credential.spend(1)
    assert dict(refused.headers)["retry-after"] == "2"
    now += 1
    assert credential.spend(2) is None


def test_usage_that_cannot_be_read_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "usage").write_text("[]")
    (tmp_path / "keys").write_text(KeySet(keys=(key("ty_a", "w", id="a", quota_per_day=1),)).model_dump_json())
    ring = KeyRing(tmp_path / "keys", tmp_path / "usage")
    ring.reload()
    found = ring.find(b"Bearer ty_a", "")
    assert found is not None
    assert found.spend(1) is None
    assert ring.usage() is not None
    assert ring.usage() is None, "the same is not written twice"
