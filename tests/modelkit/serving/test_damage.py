"""What is done to the serving files from outside: a full disk, files removed or damaged, a state that is lost."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import socket
from pathlib import Path

import pytest

from modelkit.serving.files import write_atomic
from modelkit.serving.plan import KeySet, Sampling
from modelkit.serving.wire import Ask, ask
from tests.modelkit.serving.toys import KEYS, WORKSPACE, Host, make_bundle, revision, running, wait_until


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def front_pid(host: Host) -> int:
    pid = host.observed().front.pid
    assert pid is not None
    return pid


def kill_front(host: Host) -> None:
    pid = front_pid(host)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: (seen := host.observed().front).healthy and seen.pid != pid, what="another front")


def allow_writing(pids: list[int], allowed: bool) -> None:
    """As a full disk does, a limit of nothing makes each write to a file fail; here of these processes alone."""
    for pid in pids:
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard if allowed else 0, hard))


def test_while_nothing_can_be_written_requests_are_answered_and_after_it_all_goes_on(
    host: Host, first: Path, second: Path
) -> None:
    sampled = {"sampling": Sampling(rate=1.0)}
    one, two = revision(1, first), revision(2, second)
    other = running("other", one)
    host.apply(running("intents", one).model_copy(update=sampled), other)
    host.wait_for("intents", "live")
    host.wait_for("other", "live")
    assert host.agent is not None
    pid, agent_and_front = host.pid_of("other", 1), [host.agent.pid, front_pid(host)]
    allow_writing(agent_and_front, False)
    reported_at = host.observed().updated_at
    host.apply(running("intents", two).model_copy(update=sampled), other)
    os.kill(pid, signal.SIGKILL)
    # A runner that dies now is replaced as ever, which the agent cannot even report.
    wait_until(lambda: host.predict("other").status_code == 503, what="the runner's death")
    wait_until(lambda: host.predict("other").status_code == 200, what="its return")
    assert host.predict("intents").json()["revision"] == 1
    assert host.observed().updated_at == reported_at
    assert host.agent.poll() is None
    allow_writing(agent_and_front, True)
    host.wait_for("intents", "live", active=2)
    assert host.predict("intents").json()["revision"] == 2
    assert front_pid(host) == agent_and_front[1]
    assert not list(host.paths.folder.glob(".*.tmp"))
    samples = host.paths.samples
    wait_until(lambda: any(path.stat().st_size for path in samples.glob("*.jsonl")), what="a sample")


@pytest.mark.parametrize("damage", ["removed", "half", "zeros"])
@pytest.mark.parametrize("name", ["routing.json", "agent.json", "desired.json"])
def test_a_file_that_somebody_damaged_costs_no_answer(host: Host, first: Path, name: str, damage: str) -> None:
    host.apply(running("intents", revision(1, first)))
    host.wait_for("intents", "live")
    pid = host.pid_of("intents", 1)
    path = host.paths.folder / name
    content = path.read_bytes()
    if damage == "removed":
        path.unlink()
    else:
        path.write_bytes(content[: len(content) // 2] if damage == "half" else bytes(len(content)))
    if name == "desired.json":
        # It is the control plane's to state again; until then the last one holds.
        assert host.predict("intents").status_code == 200
    else:
        wait_until(lambda: path.exists() and path.read_bytes()[:1] == b"{", what="its return")
    kill_front(host)
    wait_until(lambda: host.predict("intents").status_code == 200, what="an answer by another front")
    host.kill_agent()
    host.start_agent()
    assert host.predict("intents").status_code == 200
    assert host.pid_of("intents", 1) == pid


def test_a_state_that_is_lost_while_no_agent_runs_leaves_nobody_behind(host: Host, first: Path, second: Path) -> None:
    host.apply(running("intents", revision(1, first)), running("other", revision(1, second)))
    host.wait_for("intents", "live")
    host.wait_for("other", "live")
    old = [front_pid(host), host.pid_of("intents", 1), host.pid_of("other", 1)]
    host.kill_agent()
    host.paths.state.unlink()
    host.apply(running("intents", revision(1, first)))
    host.start_agent()
    wait_until(lambda: host.predict("intents").status_code == 200, what="an answer")
    # The front would hold the port; a runner ends by itself once nobody can reach it.
    wait_until(lambda: all(gone(pid) for pid in old), what="the end of what nobody knows")
    assert host.predict("intents").json()["outputs"]
    assert host.pid_of("intents", 1) not in old
    assert host.endpoint("other") is None


def test_before_it_has_read_keys_and_table_the_port_calls_nobody_a_stranger(host: Host, first: Path) -> None:
    host.apply(running("intents", revision(1, first)))
    host.wait_for("intents", "live")
    host.paths.keys.unlink()
    kill_front(host)
    answer = host.predict("intents")
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "not_ready"
    assert answer.headers["retry-after"]
    host.backend.apply_keys(KeySet(keys=KEYS))
    wait_until(lambda: host.predict("intents").status_code == 200, what="an answer")
    assert host.predict("intents", token="ty_unknown").status_code == 401


def test_a_runner_killed_while_its_answers_are_checked_costs_no_deployment(host: Host, tmp_path: Path) -> None:
    make_bundle(tmp_path / "slow", golden_also=("{sleep} card",))
    host.apply(running("intents", revision(1, tmp_path / "slow")))
    runner = host.paths.socket(WORKSPACE, "intents", 1)

    def busy() -> bool:
        return bool(json.loads(asyncio.run(ask(str(runner), Ask.INFO)).body)["in_flight"])

    wait_until(lambda: runner.exists() and busy(), what="a runner that is being checked")
    pid = host.revision("intents").pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    host.wait_for("intents", "live")
    assert "interrupted while it was checked" in host.agent_log()
    assert host.predict("intents").status_code == 200


def test_more_idle_callers_than_descriptors_keep_nobody_out(host: Host, first: Path) -> None:
    host.apply(running("intents", revision(1, first)))
    host.wait_for("intents", "live")
    assert host.agent is not None
    resource.prlimit(host.agent.pid, resource.RLIMIT_NOFILE, (200, 200))
    kill_front(host)
    pid = front_pid(host)
    port = host.port
    idle = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(300)]
    assert host.predict("intents").status_code == 200
    for connection in idle:
        connection.close()
    assert host.predict("intents").status_code == 200
    assert front_pid(host) == pid


def test_what_could_not_be_written_leaves_no_half_beside_it(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_atomic(tmp_path / "folder", b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
