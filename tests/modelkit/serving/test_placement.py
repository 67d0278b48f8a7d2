"""What an endpoint may take of its host: runners side by side, memory, time, and nothing at all while nobody asks."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import httpx
import pytest

from modelkit.serving.agent.company import Company
from modelkit.serving.paths import ServingPaths
from modelkit.serving.plan import Runtime
from modelkit.serving.wire import Ask, Status, ask
from tests.modelkit.serving.toys import PLUGIN, TOKEN, WORKSPACE, Host, revision, running, wait_until


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def starts(host: Host, name: str) -> int:
    """How often a runner of the first revision has begun to answer, whether it still does or sleeps again."""
    return host.paths.log(WORKSPACE, name, 1).read_text().count("Answering for")


# --- replicas ---


def test_replicas_share_the_work_and_one_killed_fails_no_request(host: Host, first: Path) -> None:
    host.apply(running("intents", revision(1, first), replicas=3))
    host.wait_for("intents", "live")
    pids = wait_until(lambda: len(found := host.revision("intents").pids) == 3 and found, what="three runners")

    async def scenario() -> list[int]:
        headers = {"authorization": f"Bearer {TOKEN}"}
        async with httpx.AsyncClient(headers=headers, timeout=20, trust_env=False) as client:

            async def caller() -> list[int]:
                url = f"{host.url}/predict/intents"
                return [(await client.post(url, json={"inputs": ["card"]})).status_code for _ in range(60)]

            callers = [asyncio.create_task(caller()) for _ in range(8)]
            await asyncio.sleep(0.1)
            os.kill(pids[1], signal.SIGKILL)
            return [status for statuses in await asyncio.gather(*callers) for status in statuses]

    assert set(asyncio.run(scenario())) == {200}
    back = wait_until(lambda: len(found := host.revision("intents").pids) == 3 and pids[1] not in found and found)
    assert set(back) > {pids[0], pids[2]}
    host.apply(running("intents", revision(1, first), replicas=1))
    wait_until(lambda: host.revision("intents").pids == (pids[0],), what="the end of two runners")
    wait_until(lambda: all(gone(pid) for pid in back[1:]), what="the end of two processes")
    assert host.predict("intents").status_code == 200


def test_replicas_are_adopted_by_the_next_agent(host: Host, first: Path) -> None:
    host.apply(running("intents", revision(1, first), replicas=2))
    host.wait_for("intents", "live")
    # Both listen: one that still loads is not adopted but started anew.
    sockets = [host.paths.socket(WORKSPACE, "intents", 1, replica) for replica in range(2)]
    wait_until(lambda: all(socket.exists() for socket in sockets), what="two sockets")
    pids = wait_until(lambda: len(found := host.revision("intents").pids) == 2 and found, what="two runners")
    host.kill_agent()
    host.start_agent()
    host.wait_for("intents", "live")
    assert host.revision("intents").pids == pids


# --- memory and time ---


def test_a_runner_that_takes_too_much_memory_is_started_anew_and_others_go_on(host: Host, first: Path) -> None:
    host.apply(running("greedy", revision(1, first), memory_mb=250), running("modest", revision(1, first)))
    host.wait_for("greedy", "live")
    host.wait_for("modest", "live")
    pid, other = host.pid_of("greedy", 1), host.pid_of("modest", 1)
    # The ceiling may be seen before the answer is written; asked again, the next runner grows as well.
    assert host.predict("greedy", "{grow}").status_code in (200, 503)
    wait_until(lambda: gone(pid), what="the end of the greedy runner")
    wait_until(lambda: host.predict("greedy").status_code == 200, what="its return")
    assert host.pid_of("modest", 1) == other
    # The report may be behind what callers see.
    wait_until(lambda: host.revision("greedy").restarts >= 1, what="the report of a restart")
    assert "MB of memory, of 250 MB" in host.agent_log()


def test_a_batch_that_hangs_is_504_and_its_runner_is_started_anew(host: Host, first: Path) -> None:
    host.apply(running("stuck", revision(1, first), timeout_s=1), running("other", revision(1, first)))
    host.wait_for("stuck", "live")
    host.wait_for("other", "live")
    pid = host.pid_of("stuck", 1)
    answer = host.predict("stuck", "{hang}")
    # Whichever comes first: the time-out, or the end of the runner, which is not tried again for ever.
    assert answer.status_code in (503, 504)
    assert answer.json()["error"]["code"] in ("model_timeout", "runner_down")
    wait_until(lambda: gone(pid), what="the end of the hanging runner")
    wait_until(lambda: host.predict("stuck").status_code == 200, what="its return")
    assert host.predict("other").status_code == 200


# --- sleep ---


def test_an_idle_endpoint_sleeps_and_the_first_request_wakes_it_and_waits(host: Host, first: Path) -> None:
    host.apply(running("intents", revision(1, first), idle_s=1))
    host.wait_for("intents", "live")
    pid = host.pid_of("intents", 1)
    wait_until(lambda: host.revision("intents").status == "asleep", what="sleep")
    wait_until(lambda: gone(pid), what="the end of the runner")
    with host.client() as client:
        assert client.get("/v2/models/intents/ready").json()["ready"] is True
    seen = host.endpoint("intents")
    assert seen is not None
    assert seen.status == "live"
    answers = [host.predict("intents") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert starts(host, "intents") > 1


def test_many_callers_wake_a_sleeper_once(host: Host, first: Path) -> None:
    host.apply(running("intents", revision(1, first), idle_s=1))
    host.wait_for("intents", "live")
    wait_until(lambda: host.revision("intents").status == "asleep", what="sleep")

    async def scenario() -> list[int]:
        headers = {"authorization": f"Bearer {TOKEN}"}
        async with httpx.AsyncClient(headers=headers, timeout=20, trust_env=False) as client:
            url = f"{host.url}/predict/intents"
            asked = [client.post(url, json={"inputs": [f"card {i}"]}) for i in range(20)]
            return [answer.status_code for answer in await asyncio.gather(*asked)]

    assert asyncio.run(scenario()) == [200] * 20
    assert starts(host, "intents") == 2


def test_one_that_cannot_be_woken_says_so_and_comes_back_with_its_bundle(host: Host, first: Path) -> None:
    host.apply(running("intents", revision(1, first), idle_s=1))
    host.wait_for("intents", "live")
    wait_until(lambda: host.revision("intents").status == "asleep" and not host.revision("intents").pids, what="sleep")
    away = first.rename(first.with_name("away"))
    answer = host.predict("intents")
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "runner_down"
    assert answer.headers["retry-after"]
    assert "manifest.json" in wait_until(lambda: host.revision("intents").reason, what="the reason")
    away.rename(first)
    wait_until(lambda: host.predict("intents").status_code == 200, what="its return")


def test_a_wish_from_before_its_sleep_does_not_wake_it(host: Host, first: Path) -> None:
    host.apply(running("intents", revision(1, first), idle_s=1))
    host.wait_for("intents", "live")
    wish = Path(f"{host.paths.socket(WORKSPACE, 'intents', 1)}.wake")
    wish.touch()
    wait_until(lambda: host.revision("intents").status == "asleep" and not host.revision("intents").pids, what="sleep")
    assert not wish.exists()


def test_a_sleeper_stays_asleep_over_the_agents_death_and_wakes_after(host: Host, first: Path) -> None:
    host.apply(running("intents", revision(1, first), idle_s=1))
    host.wait_for("intents", "live")
    wait_until(lambda: host.revision("intents").status == "asleep" and not host.revision("intents").pids, what="sleep")
    host.kill_agent()
    host.start_agent()
    assert host.revision("intents").status == "asleep"
    assert host.predict("intents").status_code == 200


def test_a_busy_endpoint_does_not_fall_asleep(host: Host, first: Path) -> None:
    host.apply(running("intents", revision(1, first), idle_s=3), running("clock", revision(1, first), idle_s=3))
    host.wait_for("intents", "live")
    host.wait_for("clock", "live")
    pid = host.pid_of("intents", 1)
    # The other one, asked by nobody, tells when a sleeper would have slept.
    while host.revision("clock").status != "asleep":
        assert host.predict("intents").status_code == 200
    assert host.pid_of("intents", 1) == pid


# --- company ----------------------------------------------------------------------------------------------------------


def two_in_one(host: Host, first: Path, second: Path) -> int:
    """Two endpoints that share a process; its pid."""
    host.apply(running("a", revision(1, first), shared=True), running("b", revision(1, second), shared=True))
    host.wait_for("a", "live")
    host.wait_for("b", "live")
    assert host.pid_of("a", 1) == host.pid_of("b", 1)
    return host.pid_of("a", 1)


def test_small_models_share_one_process_and_each_answers_for_itself(host: Host, first: Path, second: Path) -> None:
    pid = two_in_one(host, first, second)
    scores = [host.predict(name, scores=True).json()["outputs"][0]["scores"]["transfer"] for name in ("a", "b")]
    assert scores[0] != scores[1]
    # One leaves, the other stays where it is; a third that cannot be loaded harms nobody.
    broken = revision(1, first).model_copy(update={"runtime": Runtime(engine="warp_drive")})
    host.apply(running("b", revision(1, second), shared=True), running("c", broken, shared=True))
    seen = host.wait_for("c", "failed")
    assert "no engine warp_drive" in seen.revisions[0].reason
    wait_until(lambda: host.endpoint("a") is None, what="the end of the first")
    assert host.predict("b").status_code == 200
    assert host.pid_of("b", 1) == pid
    host.apply()
    wait_until(lambda: gone(pid), what="the end of the process with its last model")


def test_a_shared_process_that_dies_comes_back_with_all_its_models(host: Host, first: Path, second: Path) -> None:
    pid = two_in_one(host, first, second)
    os.kill(pid, signal.SIGKILL)
    for name in ("a", "b"):
        wait_until(lambda name=name: host.predict(name).status_code == 200, what=f"the return of {name}")
    wait_until(lambda: host.pid_of("a", 1) == host.pid_of("b", 1) != pid, what="the report of one process for both")


def test_a_shared_process_is_adopted_by_the_next_agent(host: Host, first: Path, second: Path) -> None:
    pid = two_in_one(host, first, second)
    host.kill_agent()
    host.start_agent()
    assert host.pid_of("a", 1) == host.pid_of("b", 1) == pid
    host.apply(running("b", revision(1, second), shared=True))
    wait_until(lambda: host.endpoint("a") is None, what="the end of the first")
    assert host.predict("b").status_code == 200


def move(host: Host, first: Path, second: Path, *, shared: bool) -> tuple[int, set[int]]:
    """Ask that the first endpoint share or stop sharing, under load; its next pid and the statuses of all answers."""
    before = host.pid_of("a", 1)

    async def scenario() -> tuple[int, set[int]]:
        headers = {"authorization": f"Bearer {TOKEN}"}
        moved = asyncio.Event()
        async with httpx.AsyncClient(headers=headers, timeout=20, trust_env=False) as client:

            async def caller() -> set[int]:
                statuses = set()
                while not moved.is_set():
                    answer = await client.post(f"{host.url}/predict/a", json={"inputs": ["card"]})
                    statuses.add(answer.status_code)
                return statuses

            callers = [asyncio.create_task(caller()) for _ in range(4)]
            host.apply(running("a", revision(1, first), shared=shared), running("b", revision(1, second), shared=True))
            after = await asyncio.to_thread(
                wait_until, lambda: (pid := host.pid_of("a", 1)) not in (before, 0) and pid, what="the move"
            )
            moved.set()
            return int(after), set().union(*await asyncio.gather(*callers))

    return asyncio.run(scenario())


def test_a_running_revision_moves_into_the_shared_process_and_out_of_it(host: Host, first: Path, second: Path) -> None:
    host.apply(running("a", revision(1, first)), running("b", revision(1, second), shared=True))
    host.wait_for("a", "live")
    host.wait_for("b", "live")
    alone, company = host.pid_of("a", 1), host.pid_of("b", 1)
    assert alone != company
    assert move(host, first, second, shared=True) == (company, {200})
    wait_until(lambda: gone(alone), what="the end of the process of its own")
    # Who comes next finds it where it is now, and not where it was.
    host.kill_agent()
    host.start_agent()
    assert host.pid_of("a", 1) == host.pid_of("b", 1) == company
    again, statuses = move(host, first, second, shared=False)
    assert statuses == {200}
    assert again not in (alone, company)
    assert host.pid_of("b", 1) == company
    assert host.predict("b").status_code == 200


def test_an_agent_that_comes_back_to_another_wish_moves_what_runs(host: Host, first: Path, second: Path) -> None:
    """It must not take the process of one model for the one that models share."""
    host.apply(running("a", revision(1, first)))
    host.wait_for("a", "live")
    alone = host.pid_of("a", 1)
    host.kill_agent()
    host.apply(running("a", revision(1, first), shared=True), running("b", revision(1, second), shared=True))
    host.start_agent()
    host.wait_for("b", "live")
    wait_until(lambda: host.pid_of("a", 1) == host.pid_of("b", 1) != alone, what="the move")
    wait_until(lambda: gone(alone), what="the end of the process of its own")
    assert {host.predict(name).status_code for name in ("a", "b")} == {200}


def test_a_sleeper_moves_when_it_is_woken(host: Host, first: Path, second: Path) -> None:
    host.apply(running("a", revision(1, first), idle_s=1), running("b", revision(1, second), shared=True))
    host.wait_for("b", "live")
    wait_until(lambda: host.revision("a").status == "asleep", what="sleep")
    host.apply(running("a", revision(1, first), shared=True), running("b", revision(1, second), shared=True))
    assert host.predict("a").status_code == 200
    wait_until(lambda: host.pid_of("a", 1) == host.pid_of("b", 1), what="the move")
    assert host.predict("a").status_code == 200


def test_one_that_shares_may_sleep_while_the_other_answers(host: Host, first: Path, second: Path) -> None:
    host.apply(running("a", revision(1, first), shared=True, idle_s=3), running("b", revision(1, second), shared=True))
    host.wait_for("b", "live")
    wait_until(lambda: host.revision("a").status == "asleep", what="sleep")
    assert host.predict("b").status_code == 200
    assert host.predict("a").status_code == 200
    assert host.pid_of("a", 1) == host.pid_of("b", 1)


def test_who_comes_while_the_last_one_goes_finds_a_process(
    tmp_path: Path, first: Path, second: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shared process ends with the last model: one that comes at that moment must not go down with it."""
    monkeypatch.setenv("TUNEYARD_PLUGINS", str(PLUGIN))
    paths = ServingPaths(tmp_path / "home")
    paths.ensure()
    going, coming = (paths.socket(WORKSPACE, name, 1) for name in ("a", "b"))

    async def scenario() -> None:
        company = Company(paths)
        try:
            await company.load(going, ["--bundle", str(first), "--socket", str(going)], timeout_s=60)
            leaving = asyncio.create_task(company.unload(going))
            await asyncio.sleep(0)
            await company.load(coming, ["--bundle", str(second), "--socket", str(coming)], timeout_s=60)
            await leaving
            reply = await ask(str(coming), Ask.PREDICT, b'["refund please"]', timeout_s=30)
            assert reply.status is Status.OK
        finally:
            await company.unload(coming)

    asyncio.run(scenario())
