"""Holds the connections of the front's callers, and answers for a front that ended before it did.

The agent's part of `modelkit.serving.custody`. It reads nothing and writes nothing while the front lives.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import socket
from pathlib import Path

from modelkit.serving.custody import ASKED, FREE, IDLE, MEMORY, MESSAGE, Memory
from modelkit.serving.front.problem import FRONT_DOWN
from modelkit.serving.front.response import head

logger = logging.getLogger("modelkit.serving.agent")

#: After the answer, for callers who are still sending: a close with unread data would destroy it on its way.
_LINGER_S = 1.0
_MAX_UNREAD_BYTES = 16_000_000
_PIECE_BYTES = 256 * 1024


class Custodian:
    """See the module. Belongs to the event loop's thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._listener: socket.socket | None = None
        self._fronts: set[_Entrusted] = set()

    def _open(self) -> None:
        # Bound under another name and renamed: the front connects when it looks, and not before somebody listens.
        waiting = self._path.with_suffix(".new")
        waiting.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.setblocking(False)
        listener.bind(str(waiting))
        waiting.chmod(0o600)
        listener.listen(16)
        waiting.replace(self._path)
        self._listener = listener
        asyncio.get_running_loop().add_reader(listener, self._accept)

    def look(self) -> None:
        """Let go of connections that the front has closed; to be called often, since they stay open until then."""
        if self._listener is None:
            # Without it, as on a full disk, a front serves all the same.
            with contextlib.suppress(OSError):
                self._open()
        for front in self._fronts:
            front.let_go()

    def close(self) -> None:
        """Close everything; the fronts have ended or go on without."""
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None
            self._path.unlink(missing_ok=True)
        for front in list(self._fronts):
            self._end(front)

    def _accept(self) -> None:
        assert self._listener is not None  # noqa: S101  it has a reader
        with contextlib.suppress(BlockingIOError):
            link, _ = self._listener.accept()
            link.setblocking(False)
            front = _Entrusted(link)
            self._fronts.add(front)
            asyncio.get_running_loop().add_reader(link, self._read, front)

    def _read(self, front: _Entrusted) -> None:
        try:
            over = front.take()
        except (OSError, ValueError) as error:
            logger.error("What the front entrusts cannot be read: %s", error)
            over = True
        if over:
            self._end(front)

    def _end(self, front: _Entrusted) -> None:
        asyncio.get_running_loop().remove_reader(front.link)
        self._fronts.discard(front)
        answered = front.answer_for()
        if answered:
            logger.warning("The front left %d requests without an answer; they were told to come again.", answered)


class _Entrusted:
    """What one front has entrusted."""

    def __init__(self, link: socket.socket) -> None:
        self.link = link
        self._memory: Memory | None = None
        self._held: dict[int, socket.socket] = {}

    def take(self) -> bool:
        """Read what has come; True when the front is gone. Raises OSError, and ValueError for no message of ours."""
        while True:
            try:
                message, descriptors, _, _ = socket.recv_fds(self.link, MESSAGE.size, 1, socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                return False
            if not message:
                return True
            if len(message) != MESSAGE.size:
                raise ValueError("a message was cut")
            (place,) = MESSAGE.unpack(message)
            if not descriptors:
                continue  # no more may be open here: this one is the front's alone
            if place == MEMORY:
                self._memory = Memory(descriptors[0])
                continue
            former = self._held.pop(place, None)
            if former is not None:
                former.close()
            self._held[place] = socket.socket(fileno=descriptors[0])

    def let_go(self) -> None:
        if self._memory is None:
            return
        for place in [place for place in self._held if self._memory.state(place) == FREE]:
            self._held.pop(place).close()

    def answer_for(self) -> int:
        """The front is gone: answer its callers who wait, and close all connections. Returns how many waited."""
        self.link.close()
        held, self._held = self._held, {}
        waiting = 0
        for place, connection in held.items():
            state = FREE if self._memory is None else self._memory.state(place)
            # A request may have come that the front has not read.
            if state == ASKED or (state == IDLE and _has_come(connection)):
                waiting += 1
                given = self._memory.request_id(place) if self._memory is not None and state == ASKED else ""
                _close_gently(connection, _answer(given or f"req_{secrets.token_hex(8)}"))
            else:
                _close_gently(connection)
        if self._memory is not None:
            self._memory.close()
        return waiting


def _has_come(connection: socket.socket) -> bool:
    try:
        return bool(connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except OSError:
        return False


def _answer(request_id: str) -> bytes:
    body = FRONT_DOWN.body(request_id)
    start = head(
        FRONT_DOWN.status, len(body), request_id,
        content_type=b"application/json", extra=FRONT_DOWN.lines(), keep_alive=False,
    )  # fmt: skip
    return start + body


def _close_gently(connection: socket.socket, last: bytes = b"") -> None:
    """Say `last` and that nothing follows; close once that, and what the front wrote before, has had time to arrive."""
    connection.setblocking(False)
    with contextlib.suppress(OSError):
        connection.send(last)
        connection.shutdown(socket.SHUT_WR)
        unread = 0
        while (piece := len(connection.recv(_PIECE_BYTES))) and unread < _MAX_UNREAD_BYTES:
            unread += piece
    asyncio.get_running_loop().call_later(_LINGER_S, connection.close)
