"""Work beside the event loop: one piece at a time, and a failure is told."""

from __future__ import annotations

import asyncio
import threading

import pytest

from modelkit.serving.front.aside import Aside


def test_it_is_busy_until_the_work_has_ended() -> None:
    async def scenario() -> None:
        gate = threading.Event()
        aside = Aside()
        assert not aside.busy
        await aside.finished()
        aside.start(asyncio.to_thread(gate.wait, 10))
        assert aside.busy
        gate.set()
        await aside.finished()
        assert not aside.busy

    asyncio.run(scenario())


def test_a_failure_is_told_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def failing() -> None:
        raise RuntimeError("a full disk")

    async def scenario() -> None:
        aside = Aside()
        aside.start(failing())
        await aside.finished()
        await asyncio.sleep(0)
        assert not aside.busy

    asyncio.run(scenario())
    assert "a full disk" in caplog.text
