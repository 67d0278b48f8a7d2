"""Starting in order, restarting, stopping; with real processes and real signals."""

from __future__ import annotations

import os
import signal
import textwrap

import psutil

from tests.supervisor.conftest import Instance, wait_for

FOREVER = "while True: time.sleep(0.1)"
STUBBORN = f"signal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('deaf', flush=True)\n{FOREVER}"


def test_a_killed_child_is_started_again(instance: Instance) -> None:
    instance.start(instance.toy("web", FOREVER))
    first = instance.await_start("web")
    os.kill(first, signal.SIGKILL)
    second = instance.await_start("web", number=2)
    assert second != first
    assert "web was ended by SIGKILL; starting it again in 0.2 s." in instance.output
    assert instance.stop() == 0


def test_each_death_in_a_row_lengthens_the_pause(instance: Instance) -> None:
    instance.start(instance.toy("beat", "sys.exit(3)"))
    for pause in ("0.2", "0.4", "0.8"):
        instance.await_output(f"beat ended with status 3; starting it again in {pause} s.")
    instance.await_output("beat keeps ending. Its last lines: logs/beat.log")
    assert instance.stop() == 0


def test_a_dead_leader_takes_its_group_along(instance: Instance) -> None:
    """A worker's pool processes must not go on working beside those of its successor."""
    pool = """
    child = os.fork()
    if child == 0:
        write_pid("pool")
    while True: time.sleep(0.1)
    """
    instance.start(instance.toy("work", pool))
    leader = instance.await_start("work")
    member = instance.await_pid("pool")
    os.kill(leader, signal.SIGKILL)
    wait_for(lambda: not _alive(member), what="the end of the pool process")
    assert instance.stop() == 0


def test_children_in_their_own_session_outlive_a_launcher_but_not_the_product(instance: Instance) -> None:
    launcher = """
    if not (folder / "job.pid").exists() and os.fork() == 0:
        os.setsid()
        write_pid("job")
    while True: time.sleep(0.1)
    """
    instance.start(instance.toy("launcher", launcher, owns_group=False))
    first = instance.await_start("launcher")
    job = instance.await_pid("job")
    os.kill(first, signal.SIGKILL)
    instance.await_start("launcher", number=2)
    assert _alive(job)
    assert instance.stop() == 0
    assert not _alive(job)
    assert instance.strays() == []


def test_an_adopted_orphan_leaves_no_zombie(instance: Instance) -> None:
    """A zombie still has its pid and start time, so that an adopter would take it for a running training."""
    launcher = """
    if not (folder / "job.pid").exists() and os.fork() == 0:
        os.setsid()
        write_pid("job")
    while True: time.sleep(0.1)
    """
    instance.start(instance.toy("launcher", launcher, owns_group=False))
    first = instance.await_start("launcher")
    job = instance.await_pid("job")
    os.kill(first, signal.SIGKILL)
    instance.await_start("launcher", number=2)
    os.kill(job, signal.SIGKILL)
    wait_for(lambda: not psutil.pid_exists(job), what="the reaping of the orphan")
    assert instance.stop() == 0


def test_a_service_waits_for_what_it_needs(instance: Instance) -> None:
    instance.start(
        instance.toy("prepare", "time.sleep(0.5); (folder / 'prepared').touch()", one_shot=True),
        instance.toy(
            "web", f"print('prepared:', (folder / 'prepared').exists(), flush=True)\n{FOREVER}", needs=["prepare"]
        ),
    )
    instance.await_output("prepared: True")
    instance.await_output("all up")
    assert instance.stop() == 0


def test_a_failed_preparation_gives_the_start_up(instance: Instance) -> None:
    instance.start(
        instance.toy("redis", FOREVER),
        instance.toy("prepare", "sys.exit('no such table')", one_shot=True),
        instance.toy("web", FOREVER, needs=["prepare"]),
    )
    assert instance.await_end() == 1
    assert "The start was given up: prepare ended with status 1." in instance.output
    assert instance.pids("web") == []
    assert instance.strays() == []


def test_stages_stop_in_order(instance: Instance) -> None:
    polite = """
    def leave(*_):
        with open(folder / "order", "a") as file: file.write(NAME + " ")
        sys.exit(0)
    signal.signal(signal.SIGTERM, leave)
    print(NAME, "listens", flush=True)
    while True: time.sleep(0.1)
    """
    names = {"redis": 1, "web": 2, "work": 3}
    instance.start(
        *(instance.toy(name, f"NAME = {name!r}\n" + _dedent(polite), stop_stage=stage) for name, stage in names.items())
    )
    for name in names:
        instance.await_output(f"{name} listens")
    assert instance.stop() == 0
    assert (instance.folder / "order").read_text().split() == ["work", "web", "redis"]


def test_who_ignores_sigterm_is_killed_after_its_patience(instance: Instance) -> None:
    instance.start(instance.toy("mlflow", STUBBORN, stop_s=0.3))
    pid = instance.await_start("mlflow")
    instance.await_output("deaf")
    assert instance.stop() == 0
    assert "mlflow did not stop within 0 s; killing it." in instance.output
    assert not _alive(pid)


def test_a_second_interrupt_kills_at_once(instance: Instance) -> None:
    instance.start(instance.toy("mlflow", STUBBORN, stop_s=3600))
    instance.await_start("mlflow")
    instance.await_output("deaf")
    instance.signal(signal.SIGINT)
    instance.await_output("Stopping.")
    instance.signal(signal.SIGINT)
    assert instance.await_end() == 0
    assert instance.strays() == []


def test_the_end_of_the_terminal_stops_it_in_order(instance: Instance) -> None:
    instance.start(instance.toy("web", FOREVER))
    instance.await_output("all up")
    instance.signal(signal.SIGHUP)
    assert instance.await_end() == 0
    assert instance.strays() == []


def test_nohup_lets_it_outlive_the_terminal(instance: Instance) -> None:
    instance.start(instance.toy("web", FOREVER), prefix=("nohup",))
    instance.await_output("all up")
    instance.signal(signal.SIGHUP)
    os.kill(instance.await_start("web"), signal.SIGKILL)
    instance.await_start("web", number=2)
    assert instance.stop() == 0


def test_nothing_outlives_a_killed_supervisor(instance: Instance) -> None:
    """The kernel's signal ends the children; a grandchild in a session of its own is left to the guardian."""
    agent = """
    if os.fork() == 0:
        os.setsid()
        write_pid("runner")
    while True: time.sleep(0.1)
    """
    instance.start(instance.toy("web", FOREVER), instance.toy("serving", agent, owns_group=False))
    web = instance.await_start("web")
    instance.await_output("all up")
    instance.await_pid("runner")
    instance.signal(signal.SIGKILL)
    assert instance.await_end() == -signal.SIGKILL
    wait_for(lambda: not _alive(web), what="the end of web")
    wait_for(lambda: instance.strays() == [], what="the guardian's work")


def test_the_next_start_ends_what_an_earlier_one_left(instance: Instance) -> None:
    instance.start(instance.toy("web", FOREVER))
    instance.await_output("all up")
    stray = psutil.Popen(
        ["sleep", "600"], env={**os.environ, "TUNEYARD_INSTANCE": f"{instance.identity}.of-an-earlier-start"}
    )
    other = psutil.Popen(["sleep", "600"], env={**os.environ, "TUNEYARD_INSTANCE": "another-home.start"})
    try:
        assert instance.stop() == 0
        assert stray.is_running()
        assert stray.status() != psutil.STATUS_ZOMBIE
        instance.start(instance.toy("web", FOREVER))
        instance.await_output("Ending 1 processes that an earlier start left behind.")
        assert stray.wait(timeout=30) == -signal.SIGTERM
        assert other.poll() is None
    finally:
        for process in (stray, other):
            if process.poll() is None:
                process.kill()
    assert instance.stop() == 0


def test_a_program_that_is_missing_does_not_end_the_supervisor(instance: Instance) -> None:
    instance.start({"name": "redis", "command": [str(instance.folder / "absent")]}, instance.toy("web", FOREVER))
    instance.await_output("redis cannot be started")
    instance.await_output("redis ended with status 127; starting it again in 0.4 s.")
    assert _alive(instance.await_start("web"))
    assert instance.stop() == 0


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _dedent(code: str) -> str:
    return textwrap.dedent(code)
