"""`python -m modelkit.serving.front`: started by the agent, which hands it the listening socket."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import resource
import signal
import socket
import sys
from pathlib import Path

import orjson
import uvloop

from modelkit.serving.front.app import Front
from modelkit.serving.front.http import Connection
from modelkit.serving.journal import Journal
from modelkit.serving.wire import Ask, FrameProtocol, Reply, Status, reply_frame

logger = logging.getLogger("modelkit.serving.front")

DRAIN_S = 5.0
#: How often the keys are looked at: a revoked one is refused within this and the way of its file.
KEYS_EVERY_S = 0.1
#: Connections of callers, and descriptors that are kept for runners, files and the agent.
MAX_CONNECTIONS = 4000
_KEPT_DESCRIPTORS = 256
_DESCRIPTORS = MAX_CONNECTIONS + _KEPT_DESCRIPTORS


class _Control(FrameProtocol):
    """The agent's side door: reload the table, read the counters."""

    def __init__(self, front: Front) -> None:
        super().__init__()
        self._front = front

    def frame_received(self, request_id: int, code: int, payload: bytes) -> None:
        if code == Ask.RELOAD:
            reply = Reply(Status.OK, orjson.dumps({"generation": self._front.reload(), "pid": os.getpid()}))
        elif code == Ask.STATS:
            reply = Reply(Status.OK, self._front.stats(payload))
        else:
            reply = Reply(Status.ERROR, b"")
        if self.transport is not None:
            self.transport.write(reply_frame(request_id, reply))


async def serve(
    listener: socket.socket, routing_file: Path, control: Path, journal: Journal, *, control_url: str
) -> None:
    """Serve until SIGTERM, then answer what has come."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    # A quarter where the system is mean: a front without descriptors could reach no runner.
    descriptors = _descriptors()
    most = max(descriptors - _KEPT_DESCRIPTORS, descriptors // 4)
    front = Front(routing_file, control_url=control_url, max_connections=most)
    front.reload()
    server = await loop.create_server(lambda: Connection(front), sock=listener, backlog=1024)
    control.unlink(missing_ok=True)
    side_door = await loop.create_unix_server(lambda: _Control(front), str(control))
    control.chmod(0o600)
    identity = control.stat().st_ino
    logger.info("Serving on %s.", listener.getsockname()[:2])
    watching = asyncio.create_task(_watch_keys(front))
    writing: asyncio.Task[None] | None = None
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), 1.0)
        try:
            front.tick()
            await front.keep_usage()
        except Exception:
            # Whatever it was, the requests are answered beside it.
            logger.exception("A tick failed; the next comes in a second.")
        # One writer at a time: while a disk hangs, slices grow longer and callers do not notice.
        if writing is None or writing.done():
            writing = asyncio.create_task(asyncio.to_thread(journal.write, front.counters.roll()))
        if not stop.is_set() and not _still_ours(control, identity):
            logger.warning("The control socket is gone or another's: this front was replaced, so it ends.")
            break
    server.close()
    side_door.close()
    if _still_ours(control, identity):
        control.unlink(missing_ok=True)
    await front.drain(DRAIN_S)
    watching.cancel()
    await front.keep_usage()
    if writing is not None:
        await writing
    await asyncio.to_thread(journal.write, front.counters.roll(end=True))


async def _watch_keys(front: Front) -> None:
    while True:
        await asyncio.sleep(KEYS_EVERY_S)
        front.keys.reload()


def _still_ours(path: Path, identity: int) -> bool:
    try:
        return path.stat().st_ino == identity
    except OSError:
        return False


def _descriptors() -> int:
    """How many files and sockets this process may have open: what the system allows, not what it begins with."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(_DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m modelkit.serving.front", description=__doc__)
    parser.add_argument("--fd", type=int, required=True, help="a listening TCP socket")
    parser.add_argument("--routing", type=Path, required=True, help="routing.json")
    parser.add_argument("--control", type=Path, required=True, help="path of the control socket")
    parser.add_argument(
        "--control-url",
        default=os.environ.get("TUNEYARD_CONTROL_URL", ""),
        help="where the platform's web answers, for loading and unloading over the Open Inference Protocol",
    )
    parser.add_argument("--journal", type=Path, required=True, help="folder for what was counted")
    options = parser.parse_args(arguments)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO, stream=sys.stderr)
    listener = socket.socket(fileno=options.fd)
    listener.setblocking(False)
    journal = Journal(options.journal)
    uvloop.run(serve(listener, options.routing, options.control, journal, control_url=options.control_url))
    return 0


if __name__ == "__main__":
    sys.exit(main())
