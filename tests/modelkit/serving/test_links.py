"""The connection to a runner, which many callers share: what happens to one of them is not the others' business."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from modelkit.serving.front.links import Link
from modelkit.serving.listening import Door
from modelkit.serving.wire import Ask, FrameProtocol, Reply, Status, reply_frame


class Echo(FrameProtocol):
    """A runner that answers with what it was asked."""

    def frame_received(self, request_id: int, code: int, payload: bytes) -> None:
        assert self.transport is not None
        self.transport.write(reply_frame(request_id, Reply(Status.OK, payload)))


class Waiting:
    """A caller whose fate can be awaited; `clumsy` ones raise at their reply."""

    def __init__(self, *, clumsy: bool = False, deadline: float = float("inf")) -> None:
        self.deadline = deadline
        self.fate: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._clumsy = clumsy

    def replied(self, reply: Reply) -> None:
        if self._clumsy:
            raise RuntimeError("cannot read it")
        self.fate.set_result(reply.body)

    def lost(self, *, connected: bool) -> None:
        self.fate.set_result("lost")

    def timed_out(self) -> None:
        self.fate.set_result("timed out")

    def failed(self) -> None:
        self.fate.set_result("failed")


def test_a_reply_that_cannot_be_passed_on_costs_the_other_callers_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        door = await Door.open(tmp_path / "r.sock", Echo)
        link = Link(str(door.path))
        callers = [Waiting(clumsy=number == 1) for number in range(3)]
        for number, caller in enumerate(callers):
            link.send(Ask.PREDICT, b"%d" % number, caller)
        fates = await asyncio.wait_for(asyncio.gather(*(caller.fate for caller in callers)), 30)
        assert fates == [b"0", "failed", b"2"]
        assert link.is_open
        assert link.load == 0
        link.retire()
        door.close()

    asyncio.run(scenario())


def test_who_waited_too_long_for_a_sleeping_runner_goes_and_the_others_stay(tmp_path: Path) -> None:
    async def scenario() -> None:
        link = Link(str(tmp_path / "r.sock"))
        link.asleep = True
        callers = [Waiting(deadline=float(number)) for number in range(4)]
        for caller in callers:
            link.send(Ask.PREDICT, b"", caller)
        assert link.expire(1.5) == callers[:2]
        assert link.load == 2
        assert (tmp_path / "r.sock.wake").exists()

    asyncio.run(scenario())


def test_a_door_is_ours_until_another_takes_its_place(tmp_path: Path) -> None:
    async def scenario() -> None:
        first = await Door.open(tmp_path / "r.sock", Echo)
        assert first.ours
        second = await Door.open(tmp_path / "r.sock", Echo)
        assert (first.ours, second.ours) == (False, True)
        first.close()
        assert second.path.exists(), "who was replaced leaves the other's socket alone"
        second.close()
        assert not second.path.exists()
        assert not second.ours

    asyncio.run(scenario())
