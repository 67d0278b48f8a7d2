"""The agent with real processes: deploying, swapping under load, and deaths of every kind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from pathlib import Path

import httpx

from modelkit import bundle
from tests.modelkit.serving.toys import (
    TOKEN,
    WORKSPACE,
    Host,
    make_bundle,
    revision,
    running,
    stopped,
    wait_until,
)


def test_a_revision_goes_live_after_its_golden_set_was_answered(host: Host, first: Path) -> None:
    host.apply(running("intents", revision(1, first)))
    seen = host.wait_for("intents", "live", active=1)
    golden = seen.revisions[0].golden
    assert golden is not None
    assert (golden.total, golden.agree, golden.max_drift) == (4, 4, 0.0)
    answer = host.predict("intents").json()
    assert answer["outputs"][0]["label"] == "refund"
    assert (answer["model"], answer["revision"]) == ("intents@1", 1)


def test_ten_swaps_under_load_fail_no_request(host: Host, tmp_path: Path) -> None:
    bundles = [tmp_path / f"b{i}" for i in range(11)]
    for i, folder in enumerate(bundles):
        make_bundle(folder, bias=i / 100)
    host.apply(running("intents", revision(1, bundles[0])))
    host.wait_for("intents", "live", active=1)
    url = f"{host.url}/predict/intents"

    async def scenario() -> tuple[list[tuple[int, int]], list[str]]:
        answers: list[tuple[int, int]] = []
        failures: list[str] = []
        done = asyncio.Event()

        async def caller(client: httpx.AsyncClient) -> None:
            while not done.is_set():
                try:
                    answer = await client.post(url, json={"inputs": ["refund please"]})
                except httpx.HTTPError as error:
                    failures.append(repr(error))
                    continue
                if answer.status_code != 200:
                    failures.append(answer.text)
                else:
                    answers.append((answer.status_code, answer.json()["revision"]))

        headers = {"authorization": f"Bearer {TOKEN}"}
        async with httpx.AsyncClient(headers=headers, timeout=20, trust_env=False) as client:
            callers = [asyncio.create_task(caller(client)) for _ in range(8)]
            for number in range(2, 12):
                host.apply(running("intents", revision(number, bundles[number - 1])))
                await asyncio.to_thread(host.wait_for, "intents", "live", active=number)
            done.set()
            await asyncio.gather(*callers)
        return answers, failures

    answers, failures = asyncio.run(scenario())
    assert failures == []
    assert {number for _, number in answers} >= set(range(2, 11))
    # Once the pointer has moved for good nobody hears an old revision again.
    assert answers[-1][1] == 11


def test_a_damaged_bundle_fails_with_its_reason_and_the_old_revision_answers(
    host: Host, first: Path, second: Path
) -> None:
    host.apply(running("intents", revision(1, first)), running("other", revision(1, first)))
    host.wait_for("intents", "live", active=1)
    wanted = revision(2, second)
    (second / "weights.json").write_text('{"bias": 9}')
    host.apply(running("intents", wanted), running("other", revision(1, first)))
    seen = host.wait_for("intents", "degraded", active=1)
    failed = next(r for r in seen.revisions if r.number == 2)
    assert failed.status == "failed"
    assert "weights.json" in failed.reason
    assert host.predict("intents").json()["revision"] == 1
    assert host.predict("other").status_code == 200


def test_a_model_that_answers_otherwise_than_trained_is_refused(host: Host, first: Path, tmp_path: Path) -> None:
    make_bundle(tmp_path / "drifted", bias=2.0, golden_bias=0.0)
    host.apply(running("intents", revision(1, first)))
    host.wait_for("intents", "live", active=1)
    host.apply(running("intents", revision(2, tmp_path / "drifted")))
    seen = host.wait_for("intents", "degraded", active=1)
    failed = next(r for r in seen.revisions if r.number == 2)
    assert "golden answers agree" in failed.reason
    assert failed.golden is not None
    assert failed.golden.max_drift > 0.01
    assert host.predict("intents").json()["revision"] == 1


def test_reasons_for_bundles_that_cannot_be_served(host: Host, first: Path, tmp_path: Path) -> None:
    make_bundle(tmp_path / "alien", task="no_such_task")
    make_bundle(tmp_path / "dying", die_on_load=True)
    hollow = make_bundle(tmp_path / "hollow")
    (tmp_path / "hollow" / "weights.json").unlink()
    bundle.seal(tmp_path / "hollow", hollow)
    missing = revision(1, first).model_copy(update={"bundle": str(tmp_path / "nowhere")})
    other = revision(1, first).model_copy(update={"digest": "0" * 64})
    host.apply(
        running("missing", missing),
        running("other", other),
        running("alien", revision(1, tmp_path / "alien")),
        running("dying", revision(1, tmp_path / "dying")),
        running("hollow", revision(1, tmp_path / "hollow")),
        running("good", revision(1, first)),
    )
    names = ("missing", "other", "alien", "dying", "hollow")
    reasons = {name: host.wait_for(name, "failed").revisions[0].reason for name in names}
    assert "manifest.json" in reasons["missing"]
    assert "not the one that was deployed" in reasons["other"]
    assert "no_such_task" in reasons["alien"]
    assert "died while loading" in reasons["dying"]
    assert "weights.json" in reasons["hollow"]
    assert "deploy another version" in reasons["hollow"]
    assert str(tmp_path) not in reasons["hollow"]
    host.wait_for("good", "live")
    answer = host.predict("alien")
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "endpoint_not_ready"


def test_stop_start_and_removal(host: Host, first: Path) -> None:
    host.apply(running("intents", revision(1, first)))
    host.wait_for("intents", "live")
    pid = host.pid_of("intents", 1)
    host.apply(stopped("intents", revision(1, first)))
    host.wait_for("intents", "stopped")
    answer = host.predict("intents")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "endpoint_stopped")
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), what="the end of the runner")
    host.apply(running("intents", revision(1, first)))
    host.wait_for("intents", "live")
    assert host.predict("intents").status_code == 200
    host.apply()
    wait_until(lambda: host.predict("intents").status_code == 404, what="the removal")
    wait_until(lambda: host.endpoint("intents") is None, what="the removal from what is observed")


def test_traffic_is_split_by_weight_and_a_weightless_revision_gets_none(host: Host, first: Path, second: Path) -> None:
    host.apply(
        running("intents", revision(1, first, weight=70), revision(2, second, weight=30), revision(3, second, weight=0))
    )
    wait_until(lambda: (e := host.endpoint("intents")) and e.weights == {1: 70, 2: 30} and len(e.revisions) == 3)
    with host.client() as client:
        seen = [client.post("/predict/intents", json={"inputs": ["card"]}).json()["revision"] for _ in range(300)]
    assert set(seen) == {1, 2}
    assert 0.5 < seen.count(1) / len(seen) < 0.9


def test_a_killed_runner_is_restarted_and_says_503_with_retry_after_meanwhile(host: Host, first: Path) -> None:
    host.apply(running("intents", revision(1, first)))
    host.wait_for("intents", "live")
    pid = host.pid_of("intents", 1)
    os.kill(pid, signal.SIGKILL)
    seen: set[int] = set()

    def back() -> bool:
        answer = host.predict("intents")
        seen.add(answer.status_code)
        if answer.status_code == 503:
            assert answer.headers["retry-after"] == "1"
            assert answer.json()["error"]["code"] == "runner_down"
        return answer.status_code == 200

    wait_until(back, what="the restart")
    assert seen <= {200, 503}
    assert host.pid_of("intents", 1) != pid


def test_a_request_that_kills_the_runner_touches_no_other_endpoint(host: Host, first: Path, second: Path) -> None:
    host.apply(running("fragile", revision(1, first)), running("solid", revision(1, second)))
    host.wait_for("fragile", "live")
    host.wait_for("solid", "live")
    pid = host.pid_of("solid", 1)
    assert host.predict("fragile", "{die}").status_code == 503
    assert host.predict("solid").status_code == 200
    assert host.pid_of("solid", 1) == pid
    wait_until(lambda: host.predict("fragile").status_code == 200, what="the restart")


def test_a_revision_whose_runner_is_down_leaves_its_share_to_the_others(host: Host, first: Path, second: Path) -> None:
    host.apply(running("intents", revision(1, first, weight=50), revision(2, second, weight=50)))
    wait_until(lambda: (e := host.endpoint("intents")) and e.status == "live" and len(e.weights) == 2)
    assert host.agent is not None
    # The agent is stopped, so that nobody restarts the runner while we look.
    pid = host.pid_of("intents", 1)
    host.agent.send_signal(signal.SIGSTOP)
    try:
        os.kill(pid, signal.SIGKILL)
        with host.client() as client:
            answers = [client.post("/predict/intents", json={"inputs": ["card"]}) for _ in range(40)]
    finally:
        host.agent.send_signal(signal.SIGCONT)
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["revision"] for answer in answers} == {2}


def test_a_killed_agent_is_not_missed_and_the_next_takes_over(host: Host, first: Path, second: Path) -> None:
    host.apply(running("intents", revision(1, first)))
    host.wait_for("intents", "live")
    runner, front = host.pid_of("intents", 1), host.observed().front.pid
    host.kill_agent()
    assert host.predict("intents").status_code == 200
    host.start_agent()
    host.wait_for("intents", "live", active=1)
    assert (host.pid_of("intents", 1), host.observed().front.pid) == (runner, front)
    # Both are really looked after again: the adopted runner is restarted, and a deployment goes through.
    os.kill(runner, signal.SIGKILL)
    wait_until(lambda: host.predict("intents").status_code == 200 and host.pid_of("intents", 1) != runner)
    host.apply(running("intents", revision(2, second)))
    host.wait_for("intents", "live", active=2)


def test_an_agent_that_hangs_ends_itself_and_the_next_takes_over(host: Host, first: Path) -> None:
    host.kill_agent()
    host.start_agent("--hung-after", "1")
    wanted = running("intents", revision(1, first))
    host.apply(wanted)
    host.wait_for("intents", "live")
    runner = host.pid_of("intents", 1)
    # Nobody ever writes into the pipe: the agent's loop waits for ever for what is desired.
    host.paths.desired.unlink()
    os.mkfifo(host.paths.desired)
    assert host.agent is not None
    assert host.agent.wait(30) == 1
    assert "_read_desired" in host.agent_log()
    assert host.predict("intents").status_code == 200
    host.paths.desired.unlink()
    host.apply(wanted)
    host.start_agent()
    host.wait_for("intents", "live", active=1)
    assert host.pid_of("intents", 1) == runner


def test_runners_that_die_while_the_agent_is_dead_come_back(host: Host, first: Path) -> None:
    host.apply(running("intents", revision(1, first)))
    host.wait_for("intents", "live")
    runner, front = host.pid_of("intents", 1), host.observed().front.pid
    assert front is not None
    host.kill_agent()
    os.kill(runner, signal.SIGKILL)
    os.kill(front, signal.SIGKILL)
    host.start_agent()
    wait_until(lambda: host.predict("intents").status_code == 200, what="the return")


def test_a_killed_front_comes_back_on_its_port_and_finds_the_runners(host: Host, first: Path) -> None:
    host.apply(running("intents", revision(1, first)))
    host.wait_for("intents", "live")
    runner, front, port = host.pid_of("intents", 1), host.observed().front.pid, host.port
    assert front is not None
    os.kill(front, signal.SIGKILL)
    # The agent holds the listening socket: a new connection waits for the next front instead of being refused.
    assert host.predict("intents").status_code == 200
    wait_until(lambda: host.observed().front.pid not in (None, front), what="the new front")
    assert (host.port, host.pid_of("intents", 1)) == (port, runner)


def test_the_last_good_revision_survives_a_restart_of_everything(host: Host, first: Path, second: Path) -> None:
    host.apply(running("intents", revision(1, first)))
    host.wait_for("intents", "live", active=1)
    wanted = revision(2, second)
    (second / "weights.json").unlink()
    host.apply(running("intents", wanted))
    host.wait_for("intents", "degraded", active=1)
    assert host.stop_agent() == 0
    host.start_agent()
    host.wait_for("intents", "degraded", active=1)
    wait_until(lambda: host.predict("intents").status_code == 200, what="the return")
    assert host.predict("intents").json()["revision"] == 1


def test_stopping_the_agent_leaves_nothing_and_answers_what_has_come(host: Host, first: Path) -> None:
    host.apply(running("intents", revision(1, first)))
    host.wait_for("intents", "live")
    pids = [host.pid_of("intents", 1), host.observed().front.pid]

    async def scenario() -> int:
        headers = {"authorization": f"Bearer {TOKEN}"}
        async with httpx.AsyncClient(headers=headers, timeout=20, trust_env=False) as client:
            slow = asyncio.create_task(client.post(f"{host.url}/predict/intents", json={"inputs": ["{sleep} refund"]}))
            await asyncio.sleep(0.1)
            assert host.agent is not None
            host.agent.send_signal(signal.SIGTERM)
            return (await slow).status_code

    assert asyncio.run(scenario()) == 200
    assert host.agent is not None
    assert host.agent.wait(30) == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert not list(host.paths.run.glob("*.sock"))


def test_a_runner_killed_while_it_loads_is_started_again(host: Host, tmp_path: Path) -> None:
    make_bundle(tmp_path / "slow", load_s=1.0)
    host.apply(running("intents", revision(1, tmp_path / "slow")))

    def loading() -> int | None:
        seen = host.endpoint("intents")
        return next((r.pid for r in (seen.revisions if seen else ()) if r.status == "starting" and r.pid), None)

    killed = wait_until(loading, what="the loading runner")
    os.kill(killed, signal.SIGKILL)
    seen = host.wait_for("intents", "live")
    assert seen.revisions[0].pid not in (None, killed)
    assert host.predict("intents").status_code == 200


def test_a_second_agent_on_the_same_home_is_refused(host: Host) -> None:
    import subprocess
    import sys

    arguments = [sys.executable, "-m", "modelkit.serving.agent", "--home", str(host.paths.home), "--port", "0"]
    second = subprocess.run(arguments, capture_output=True, text=True, timeout=30, check=False)
    assert second.returncode == 2
    assert "Another agent" in second.stderr


def test_a_serving_port_in_use_is_said_plainly(host: Host, tmp_path: Path) -> None:
    import subprocess
    import sys

    arguments = [
        sys.executable,
        "-m",
        "modelkit.serving.agent",
        "--home",
        str(tmp_path / "h2"),
        "--port",
        str(host.port),
    ]
    second = subprocess.run(arguments, capture_output=True, text=True, timeout=30, check=False)
    assert second.returncode == 2
    assert "TUNEYARD_SERVING_PORT" in second.stderr


def test_a_damaged_desired_set_changes_nothing_and_is_reported(host: Host, first: Path) -> None:
    host.apply(running("intents", revision(1, first)))
    host.wait_for("intents", "live")
    good = host.paths.desired.read_text()
    host.paths.desired.write_text('{"endpoints": 7}')
    wait_until(lambda: "cannot be read" in host.observed().problem, what="the report")
    assert host.predict("intents").status_code == 200
    host.paths.desired.write_text(good)
    wait_until(lambda: not host.observed().problem, what="the recovery")


def test_a_disk_that_refuses_ends_nothing_that_serves(host: Host, first: Path, second: Path) -> None:
    """Folders in the place of its files refuse the agent's writing as a full disk does."""
    host.apply(running("intents", revision(1, first)))
    host.wait_for("intents", "live")
    refusing = (host.paths.state, host.paths.observed, host.paths.routing)
    with host.client() as client:

        def answered_by() -> int:
            answer = client.post("/predict/intents", json={"inputs": ["card"]})
            assert answer.status_code == 200
            return int(answer.json()["revision"])

        for path in refusing:
            path.unlink()
            path.mkdir()
        host.apply(running("intents", revision(2, second)))
        wait_until(lambda: "and is tried again" in host.agent_log(), what="the line in the log")
        assert answered_by() == 1
        for path in refusing:
            path.rmdir()
        wait_until(lambda: answered_by() == 2, what="the traffic at the second revision")
    host.wait_for("intents", "live", active=2)
    assert host.agent is not None
    assert host.agent.poll() is None


def test_a_new_key_works_and_a_revoked_one_stops_working(host: Host, first: Path) -> None:
    endpoint = running("intents", revision(1, first))
    host.apply(endpoint)
    host.wait_for("intents", "live")
    host.apply(endpoint, keys=())
    refused = wait_until(lambda: found if (found := host.predict("intents")).status_code == 401 else None, what="a 401")
    assert refused.json()["error"]["code"] == "unauthenticated"
    host.apply(endpoint)
    answer = wait_until(lambda: found if (found := host.predict("intents")).status_code == 200 else None, what="a 200")
    assert answer.json()["outputs"][0]["label"] == "refund"


def test_files_hold_what_they_promise(host: Host, first: Path) -> None:
    host.apply(running("intents", revision(1, first)))
    host.wait_for("intents", "live")
    generation = host.observed().generation
    host.apply(running("intents", revision(1, first)))
    assert host.backend.desired().generation == generation, "an equal set is no new generation"  # type: ignore[union-attr]
    host.predict("intents")
    wait_until(lambda: any(c.requests for c in host.observed().counters), what="the counters")
    raw = json.loads(host.paths.observed.read_text())
    assert abs(raw["updated_at"] - time.time()) < 30
    assert raw["front"]["port"] == host.port
    assert TOKEN not in host.paths.routing.read_text()
    assert [e["workspace"] for e in raw["endpoints"]] == [WORKSPACE]
    assert any("Answering for" in line for line in host.backend.logs(WORKSPACE, "intents", 1))
