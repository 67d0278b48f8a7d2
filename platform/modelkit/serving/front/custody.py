"""The front's part of `modelkit.serving.custody`: gives each connection to the agent as well, and notes what waits."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path
from typing import Any

from modelkit.serving.custody import FREE, HALF_ANSWERED, IDLE, MEMORY, MESSAGE, Memory, new_memory

#: The place of a connection that has none.
NOWHERE = -1


class Custody:
    """See the module. `places`: connections that can be entrusted at once; further ones are answered all the same.

    Nothing here fails or waits: without an agent that listens at `path`, connections are the front's alone.
    """

    def __init__(self, path: Path | None = None, places: int = 0) -> None:
        self._path = path
        self._free = list(range(places if path is not None else 0))
        self._descriptors: dict[int, int] = {}
        self._untold: set[int] = set()
        self._link: socket.socket | None = None
        self._descriptor = new_memory(places) if self._free else NOWHERE
        self._memory = Memory(os.dup(self._descriptor)) if self._free else None

    def enter(self, connection: Any) -> int:
        """Entrust a connection, by anything that has its `fileno`; the others know it by the place returned."""
        if not self._free or self._memory is None:
            return NOWHERE
        place = self._free.pop()
        self._memory.note(place, IDLE)
        self._descriptors[place] = connection.fileno()
        self._untold.add(place)
        self._tell()
        return place

    def asked(self, place: int, request_id: str) -> None:
        """A request waits for its answer."""
        if self._memory is not None and place != NOWHERE:
            self._memory.note_asked(place, request_id)

    def idle(self, place: int) -> None:
        """Nobody waits."""
        if self._memory is not None and place != NOWHERE:
            self._memory.note(place, IDLE)

    def half_answered(self, place: int) -> None:
        """Nobody else may write before the answer is whole."""
        if self._memory is not None and place != NOWHERE:
            self._memory.note(place, HALF_ANSWERED)

    def end(self, place: int) -> None:
        """Tell the caller that nothing more comes: a close alone does so only when the agent has closed as well."""
        descriptor = self._descriptors.get(place)
        if descriptor is not None:
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as twin:
                twin.shutdown(socket.SHUT_WR)

    def leave(self, place: int) -> None:
        """The connection is closed."""
        if self._memory is not None and place != NOWHERE:
            self._memory.note(place, FREE)
            del self._descriptors[place]
            self._untold.discard(place)
            self._free.append(place)

    def look(self) -> None:
        """To be called often: find the agent, or the one in its place, and tell it what it has not been told."""
        if self._memory is None or self._path is None:
            return
        if self._link is not None and _is_over(self._link):
            self._lose()
        if self._link is None:
            link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            link.setblocking(False)
            try:
                link.connect(str(self._path))
                socket.send_fds(link, [MESSAGE.pack(MEMORY)], [self._descriptor])
            except OSError:
                link.close()
                return
            self._link = link
            self._untold = set(self._descriptors)
        self._tell()

    def _tell(self) -> None:
        if self._link is None:
            return
        for place in list(self._untold):
            try:
                socket.send_fds(self._link, [MESSAGE.pack(place)], [self._descriptors[place]])
            except BlockingIOError:
                return  # the agent is busy: with the next connection, or the next look
            except OSError:
                self._lose()
                return
            self._untold.discard(place)

    def _lose(self) -> None:
        if self._link is not None:
            self._link.close()
        self._link = None


def _is_over(link: socket.socket) -> bool:
    try:
        return link.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
