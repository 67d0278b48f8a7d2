"""What front and agent agree on so that a front that is killed leaves none of its callers without an answer.

The agent holds a second descriptor of each connection, which keeps it open when the front is gone. Descriptors go to it
once, over a Unix socket, each with its place in memory that both map. There the front notes whether a request of that
connection waits for its answer, and under which id; nothing is sent for a request.
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
import tempfile

#: Callers' connections at once, which front and agent both keep open.
MAX_CONNECTIONS = 4000
#: A place and a descriptor; the first of a connection has no place and brings the memory.
MESSAGE = struct.Struct("<i")
MEMORY = -1
#: State, length of the request's id, the id.
RECORD_BYTES = 128
MAX_ID_BYTES = RECORD_BYTES - 2
#: Nobody's, and the agent may let go of what it holds there; nothing is asked; a request waits for its answer; half an
#: answer is written, so that nothing may be put behind it.
FREE, IDLE, ASKED, HALF_ANSWERED = 0, 1, 2, 3


def new_memory(places: int) -> int:
    """A descriptor of memory for so many places, all of them free. Raises OSError."""
    if sys.platform == "linux":
        descriptor = os.memfd_create("custody")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, places * RECORD_BYTES)
    return descriptor


class Memory:
    """The records behind a descriptor, which is closed."""

    def __init__(self, descriptor: int) -> None:
        try:
            self._bytes = mmap.mmap(descriptor, 0)
        finally:
            os.close(descriptor)

    def note(self, place: int, state: int) -> None:
        self._bytes[place * RECORD_BYTES] = state

    def note_asked(self, place: int, request_id: str) -> None:
        name = request_id.encode()[:MAX_ID_BYTES]
        at = place * RECORD_BYTES
        self._bytes[at + 1] = len(name)
        self._bytes[at + 2 : at + 2 + len(name)] = name
        self._bytes[at] = ASKED

    def state(self, place: int) -> int:
        return self._bytes[place * RECORD_BYTES]

    def request_id(self, place: int) -> str:
        at = place * RECORD_BYTES
        return self._bytes[at + 2 : at + 2 + self._bytes[at + 1]].decode(errors="replace")

    def close(self) -> None:
        self._bytes.close()
