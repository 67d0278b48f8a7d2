"""The launcher with real processes: one child a folder, endings, kills, stops and adoption."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.modelkit.launching import RealLauncher, toy_folder, wait_for


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[RealLauncher]:
    running = RealLauncher(tmp_path)
    yield running
    running.close()


def test_a_job_runs_to_its_result(launcher: RealLauncher) -> None:
    folder = toy_folder(launcher.jobs, "one", steps=3)
    answer = launcher.launch(folder, env={"TOY": "1"}, nice=3)
    assert answer["already"] is False
    exit_ = wait_for(folder.exit)
    assert (exit_["pid"], exit_["returncode"], exit_["attempt"]) == (answer["pid"], 0, 1)
    result = folder.result()
    assert result is not None
    assert (result["outcome"], result["metrics"], result["bundle"]) == ("succeeded", {"accuracy": 0.5}, "bundle")
    types = [event["type"] for event in folder.iter_events()]
    assert types[0] == "attempt"
    assert types[-1] == "resources"
    assert "Starting after step 0" in folder.read_log()[0]


def test_a_folder_has_one_child_at_a_time(launcher: RealLauncher) -> None:
    folder = toy_folder(launcher.jobs, "one", steps=1000, step_ms=10)
    first = launcher.launch(folder)
    second = launcher.launch(folder, attempt=2)
    assert second["already"] is True
    assert second["pid"] == first["pid"]
    assert [child["pid"] for child in launcher.ask("list")["children"]] == [first["pid"]]


def test_the_child_leads_a_session_and_holds_nothing_of_the_launcher(launcher: RealLauncher) -> None:
    folder = toy_folder(launcher.jobs, "one", steps=1000, step_ms=10)
    pid = launcher.launch(folder, nice=5)["pid"]
    wait_for(lambda: (folder.path / "trace.txt").exists())
    assert os.getsid(pid) == pid
    assert psutil.Process(pid).nice() == psutil.Process(launcher.process.pid).nice() + 5
    assert psutil.Process(pid).net_connections(kind="unix") == []


def test_a_cancel_file_ends_the_child_at_the_next_step(launcher: RealLauncher) -> None:
    folder = toy_folder(launcher.jobs, "one", steps=100_000, step_ms=5)
    launcher.launch(folder)
    wait_for(lambda: (folder.path / "trace.txt").exists())
    launcher.ask("stop", job_dir=str(folder.path), mode="cancel")
    assert wait_for(folder.result)["outcome"] == "cancelled"


def test_kill_takes_the_whole_session(launcher: RealLauncher) -> None:
    folder = toy_folder(launcher.jobs, "one", steps=2, ending="children")
    launcher.launch(folder)
    stray = int(wait_for(lambda: (folder.path / "grandchild").exists() and (folder.path / "grandchild").read_text()))
    assert launcher.ask("kill", job_dir=str(folder.path)) == {"ok": True, "killed": True}
    assert wait_for(folder.exit)["signal"] == signal.SIGKILL
    wait_for(lambda: not psutil.pid_exists(stray) or psutil.Process(stray).status() == psutil.STATUS_ZOMBIE)
    assert launcher.ask("kill", job_dir=str(folder.path)) == {"ok": True, "killed": False}


def test_strays_of_a_dead_child_do_not_outlive_it(launcher: RealLauncher) -> None:
    folder = toy_folder(launcher.jobs, "one", steps=2, ending="children")
    pid = launcher.launch(folder)["pid"]
    stray = int(wait_for(lambda: (folder.path / "grandchild").exists() and (folder.path / "grandchild").read_text()))
    os.kill(pid, signal.SIGKILL)
    assert wait_for(folder.exit)["returncode"] == -9
    wait_for(lambda: not psutil.pid_exists(stray) or psutil.Process(stray).status() == psutil.STATUS_ZOMBIE)


def test_a_killed_launcher_leaves_children_that_the_next_one_adopts(tmp_path: Path) -> None:
    first = RealLauncher(tmp_path)
    folder = toy_folder(first.jobs, "one", steps=100_000, step_ms=5)
    pid = first.launch(folder)["pid"]
    first.process.kill()
    first.process.wait()
    second = RealLauncher(tmp_path)
    try:
        assert [child["pid"] for child in second.ask("list")["children"]] == [pid]
        assert second.launch(folder, attempt=2)["already"] is True
        second.ask("stop", job_dir=str(folder.path), mode="cancel")
        exit_ = wait_for(folder.exit)
        assert (exit_["pid"], exit_["returncode"]) == (pid, None)
    finally:
        second.close()


def test_sigterm_lets_every_job_write_a_checkpoint_and_leaves_no_process(tmp_path: Path) -> None:
    launcher = RealLauncher(tmp_path)
    try:
        folders = [
            toy_folder(launcher.jobs, name, steps=100_000, step_ms=5, checkpoint_every=100_000) for name in ("a", "b")
        ]
        pids = [launcher.launch(folder)["pid"] for folder in folders]
        for folder in folders:
            wait_for(lambda folder=folder: (folder.path / "trace.txt").exists())
        launcher.process.terminate()
        assert launcher.process.wait(timeout=30) == 0
        for folder, pid in zip(folders, pids, strict=True):
            result = folder.result()
            assert result is not None
            assert result["outcome"] == "interrupted"
            assert list(folder.checkpoints_path.iterdir())
            assert not psutil.pid_exists(pid)
        assert not launcher.socket_path.exists()
    finally:
        launcher.close()


def test_sigterm_kills_a_job_that_does_not_stop(tmp_path: Path) -> None:
    launcher = RealLauncher(tmp_path, stop_timeout_s=0.3)
    try:
        folder = toy_folder(launcher.jobs, "one", steps=2, ending="children")
        launcher.launch(folder)
        wait_for(lambda: (folder.path / "grandchild").exists())
        launcher.process.terminate()
        assert launcher.process.wait(timeout=30) == 0
        exit_ = folder.exit()
        assert exit_ is not None
        assert exit_["signal"] == signal.SIGKILL
    finally:
        launcher.close()


def test_an_attempt_resumes_from_the_checkpoint_and_forgets_the_last_ending(launcher: RealLauncher) -> None:
    folder = toy_folder(launcher.jobs, "one", steps=60, step_ms=20, checkpoint_every=5)
    launcher.launch(folder)
    wait_for(lambda: (folder.checkpoints_path / "step-10").exists())
    folder.request_stop("stop")
    assert wait_for(folder.result)["outcome"] == "interrupted"
    wait_for(folder.exit)
    launcher.launch(folder, attempt=2)
    result = wait_for(lambda: (r := folder.result()) and r["outcome"] == "succeeded" and r)
    assert result["attempt"] == 2
    steps = [int(line.split()[0]) for line in (folder.path / "trace.txt").read_text().splitlines()]
    assert steps == list(range(1, 61))


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({"op": "dance"}, "op must be one of"),
        ({"op": "launch", "job_dir": "/etc", "attempt": 1}, "job_dir must be"),
        ({"op": "launch", "job_dir": "JOBS/none", "attempt": 1}, "job_dir must be"),
        ({"op": "launch", "job_dir": "JOBS/empty", "attempt": 1}, "no readable spec"),
        ({"op": "launch", "attempt": 1}, "job_dir"),
        ({"op": "stop", "job_dir": "JOBS/empty", "mode": "perhaps"}, "mode must be"),
    ],
)
def test_a_wrong_request_is_refused_with_its_reason(
    launcher: RealLauncher, request_: dict[str, object], reason: str
) -> None:
    (launcher.jobs / "empty").mkdir()
    fields = {k: str(v).replace("JOBS", str(launcher.jobs)) if k == "job_dir" else v for k, v in request_.items()}
    answer = launcher.ask(fields.pop("op"), **fields)  # type: ignore[arg-type]
    assert answer["ok"] is False
    assert reason in answer["error"]


def test_a_second_launcher_on_the_same_socket_refuses_to_start(launcher: RealLauncher, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="ended"):
        RealLauncherBeside(tmp_path)
    assert launcher.ask("ping")["ok"]


class RealLauncherBeside(RealLauncher):
    def _answers(self) -> bool:
        # The socket is answered by the first launcher; what matters is how this process ends.
        self.process.wait(timeout=30)
        return super()._answers()


def test_tensor_operations_use_all_threads_after_the_fork(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    launcher = RealLauncher(tmp_path, preload="torch")
    try:
        ping = launcher.ask("ping")
        assert ping["threads"] == 1
        assert "torch" in ping["preloaded"]
        folder = toy_folder(launcher.jobs, "one", steps=1, ending="torch")
        launcher.launch(folder, threads=2)
        result = wait_for(folder.result)
        assert result["outcome"] == "succeeded", folder.read_log()[0]
        found = re.search(r"torch uses (\d+) threads, (\d+) run", folder.read_log()[0])
        assert found is not None
        assert int(found[1]) == 2
        assert int(found[2]) >= 2
    finally:
        launcher.close()
