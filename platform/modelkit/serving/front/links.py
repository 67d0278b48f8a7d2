"""Connections to runners: one multiplexed connection per socket, opened on demand and retried by the next request.

Does not know HTTP or revisions: a `Caller` is told either the reply or that the link was lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path
from typing import Protocol

from modelkit.serving.wire import Ask, BadFrame, FrameProtocol, Reply, parse_reply, request_frame

logger = logging.getLogger("modelkit.serving.front")


class Caller(Protocol):
    """Who waits for a reply; exactly one of `replied`, `lost` and `timed_out` is called, once.

    `failed` comes after a `replied` that raised.
    """

    deadline: float

    def replied(self, reply: Reply) -> None: ...

    def lost(self, *, connected: bool) -> None: ...

    def timed_out(self) -> None: ...

    def failed(self) -> None: ...


class Link:
    """The connection to one runner. `send` never raises: a link that cannot be opened tells its callers `lost`."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._protocol: _LinkProtocol | None = None
        self._opening: asyncio.Task[None] | None = None
        self._waiting: list[tuple[Ask, bytes, Caller]] = []
        self._pending: dict[int, Caller] = {}
        self._next_id = 0
        self._retired = False
        self._asleep = False

    @property
    def is_open(self) -> bool:
        return self._protocol is not None

    @property
    def load(self) -> int:
        """Requests on their way to or in the runner."""
        return len(self._pending) + len(self._waiting)

    @property
    def asleep(self) -> bool:
        """Whether the runner sleeps: requests wait here, and a file beside the socket asks the agent to wake it."""
        return self._asleep

    @asleep.setter
    def asleep(self, value: bool) -> None:
        self._asleep = value
        if value:
            self._close_if_done()
        elif self._waiting:
            self.open()

    def open(self) -> None:
        """Begin to connect, unless connected or connecting."""
        if self._protocol is None and self._opening is None:
            self._opening = asyncio.get_running_loop().create_task(self._open())

    def send(self, ask: Ask, payload: bytes, caller: Caller) -> None:
        if self._protocol is None:
            self._waiting.append((ask, payload, caller))
            if self._asleep:
                self.wake()
            else:
                self.open()
            return
        self._next_id = (self._next_id + 1) & 0xFFFFFFFF
        self._pending[self._next_id] = caller
        self._protocol.write(request_frame(self._next_id, ask, payload))

    def wake(self) -> None:
        """Ask the agent to wake the runner, if anybody waits; each second, since a full disk may refuse the file."""
        if self._asleep and self._waiting:
            with contextlib.suppress(OSError):
                Path(f"{self.path}.wake").touch()

    def expire(self, now: float) -> list[Caller]:
        """Callers whose deadline has passed; they are told nothing more by this link."""
        late = [request_id for request_id, caller in self._pending.items() if caller.deadline < now]
        gone = [caller for _, _, caller in self._waiting if caller.deadline < now]
        if gone:
            self._waiting = [waiting for waiting in self._waiting if waiting[2].deadline >= now]
        return [self._pending.pop(request_id) for request_id in late] + gone

    def retire(self) -> None:
        """Close once the last reply has come: the revision gets no more requests."""
        self._retired = True
        self._close_if_done()

    def unretire(self) -> None:
        self._retired = False

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, protocol = await asyncio.wait_for(
                loop.create_unix_connection(lambda: _LinkProtocol(self), self.path), 5.0
            )
        except OSError:  # TimeoutError is one
            self._opening = None
            waiting, self._waiting = self._waiting, []
            for _, _, caller in waiting:
                caller.lost(connected=False)
            return
        self._opening = None
        self._protocol = protocol
        waiting, self._waiting = self._waiting, []
        for what, payload, caller in waiting:
            self.send(what, payload, caller)
        self._close_if_done()

    def _close_if_done(self) -> None:
        unused = self._retired or self._asleep
        if unused and self._protocol is not None and not self._pending and not self._waiting:
            self._protocol.close()

    def _received(self, request_id: int, reply: Reply) -> None:
        caller = self._pending.pop(request_id, None)
        if caller is not None:
            try:
                caller.replied(reply)
            except Exception:  # raised on, it would close the connection that all other callers of this runner share
                logger.exception("A reply from %s cannot be passed on.", self.path)
                caller.failed()
        if self._retired or self._asleep:
            self._close_if_done()

    def _lost(self, protocol: _LinkProtocol) -> None:
        if protocol is not self._protocol:
            return
        self._protocol = None
        pending, self._pending = self._pending, {}
        for caller in pending.values():
            caller.lost(connected=True)


class _LinkProtocol(FrameProtocol):
    def __init__(self, link: Link) -> None:
        super().__init__()
        self._link = link

    def write(self, frame: bytes) -> None:
        if self.transport is not None:
            self.transport.write(frame)

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()

    def frame_received(self, request_id: int, code: int, payload: bytes) -> None:
        try:
            reply = parse_reply(code, payload)
        except BadFrame:
            if self.transport is not None:
                self.transport.abort()
            return
        self._link._received(request_id, reply)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._link._lost(self)
