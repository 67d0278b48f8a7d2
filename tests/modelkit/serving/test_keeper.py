"""The keeper of the front with a real front: when it is given time, and when it is ended."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from modelkit.serving.agent import keeper
from modelkit.serving.agent.keeper import FrontKeeper
from modelkit.serving.paths import ServingPaths


def test_a_front_that_still_starts_is_not_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Looks here are so frequent that a start misses many more of them than a running front may."""
    monkeypatch.setattr(keeper, "_LOOK_EVERY_S", 0.0)
    monkeypatch.setattr(keeper, "_MAX_MISSED_LOOKS", 2)
    asyncio.run(_started_and_ended(tmp_path))
    assert "is ended" not in caplog.text


@pytest.mark.parametrize("still_starting", [True, False])
def test_a_front_that_does_not_answer_is_ended_and_another_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, still_starting: bool
) -> None:
    monkeypatch.setattr(keeper, "_LOOK_EVERY_S", 0.0)
    monkeypatch.setattr(keeper, "_MAX_MISSED_LOOKS", 1)
    stopped, healthy = asyncio.run(_stopped_and_replaced(tmp_path, monkeypatch, still_starting))
    assert healthy not in (None, stopped)
    assert not Path(f"/proc/{stopped}").exists()


def test_a_front_that_answered_comes_back_at_once_however_often_it_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "BACK_OFF_S", (1000.0,))
    assert len(asyncio.run(_killed_after_its_answer(tmp_path, 4))) == 4


def test_a_front_that_dies_before_it_answers_is_not_started_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "BACK_OFF_S", (0.0, 0.0, 1000.0))
    assert asyncio.run(_killed_at_its_start(tmp_path)) == 3


async def _killed_after_its_answer(home: Path, times: int) -> set[int]:
    """The pids of fronts that answered."""
    front, seen = _keeper(home), set()
    try:
        for _ in range(times):
            await _watch_until(front, lambda: front.healthy and front.observed().pid not in {None, *seen})
            pid = front.observed().pid
            assert pid is not None
            seen.add(pid)
            os.kill(pid, signal.SIGKILL)
    finally:
        await front.end(5)
    return seen


async def _killed_at_its_start(home: Path) -> int:
    """How many were started until none came any more."""
    front, seen = _keeper(home), set()
    try:
        quiet = 0
        while quiet < 50:
            front.watch()
            pid = front.observed().pid
            quiet = quiet + 1 if pid is None else 0
            if pid is not None and pid not in seen:
                seen.add(pid)
                os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(0.01)
    finally:
        await front.end(5)
    return len(seen)


async def _started_and_ended(home: Path) -> None:
    front = _keeper(home)
    try:
        first = await _watch_until(front, lambda: front.healthy)
        assert first == front.observed().pid
    finally:
        await front.end(5)


async def _stopped_and_replaced(
    home: Path, monkeypatch: pytest.MonkeyPatch, still_starting: bool
) -> tuple[int, int | None]:
    """The pids of the front that was stopped and of the healthy one that came."""
    front = _keeper(home)
    try:
        if still_starting:
            monkeypatch.setattr(keeper, "_START_TIMEOUT_S", 0.0)
            front.watch()
        else:
            await _watch_until(front, lambda: front.healthy)
        first = front.observed().pid
        assert first is not None
        os.kill(first, signal.SIGSTOP)
        await _watch_until(front, lambda: front.observed().pid not in (None, first))
        monkeypatch.setattr(keeper, "_START_TIMEOUT_S", 60.0)
        await _watch_until(front, lambda: front.healthy)
        return first, front.observed().pid
    finally:
        await front.end(5)


def _keeper(home: Path) -> FrontKeeper:
    paths = ServingPaths(home)
    paths.ensure()
    return FrontKeeper(paths, "127.0.0.1", 0)


async def _watch_until(front: FrontKeeper, done: Callable[[], bool]) -> int | None:
    """Watch as the agent does until `done`; the pid of the first front that was seen meanwhile."""
    first = None
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline
        front.watch()
        first = first or front.observed().pid
        await asyncio.sleep(0.01)
    return first
