"""`python -m modelkit.serving.front`: started by the agent, which hands it the listening socket."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import socket
import sys
from pathlib import Path

import orjson
import uvloop

from modelkit.serving.custody import MAX_CONNECTIONS
from modelkit.serving.front.app import Front
from modelkit.serving.front.aside import Aside
from modelkit.serving.front.http import Connection
from modelkit.serving.journal import Journal
from modelkit.serving.listening import Door, raise_descriptors, stop_signal
from modelkit.serving.wire import Ask, FrameProtocol, Reply, Status, reply_frame

logger = logging.getLogger("modelkit.serving.front")

DRAIN_S = 5.0
#: How often keys and agent are looked at: a revoked key is refused within this and the way of its file, and an agent
#: that has been restarted holds the callers' connections again.
WATCH_EVERY_S = 0.1
#: Descriptors that are kept for runners, files and the agent.
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
    listener: socket.socket,
    routing_file: Path,
    control: Path,
    journal: Journal,
    *,
    control_url: str,
    custody: Path | None = None,
) -> None:
    """Serve until SIGTERM, then answer what has come."""
    stop = stop_signal()
    # A quarter where the system is mean: a front without descriptors could reach no runner.
    descriptors = raise_descriptors(_DESCRIPTORS)
    most = max(descriptors - _KEPT_DESCRIPTORS, descriptors // 4)
    front = Front(routing_file, control_url=control_url, max_connections=most, custody=custody)
    front.reload()
    front.custody.look()
    server = await asyncio.get_running_loop().create_server(lambda: Connection(front), sock=listener, backlog=1024)
    side_door = await Door.open(control, lambda: _Control(front))
    logger.info("Serving on %s.", listener.getsockname()[:2])
    watching = asyncio.create_task(_watch(front))
    # While a disk hangs, slices grow longer and callers do not notice.
    figures, usage = Aside(), Aside()
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), 1.0)
        try:
            front.tick()
        except Exception:
            # Whatever it was, the requests are answered beside it.
            logger.exception("A tick failed; the next comes in a second.")
        if not usage.busy:
            usage.start(front.keep_usage())
        if not figures.busy:
            figures.start(asyncio.to_thread(journal.write, front.counters.roll()))
        if not stop.is_set() and not side_door.ours:
            logger.warning("The control socket is gone or another's: this front was replaced, so it ends.")
            break
    server.close()
    side_door.close()
    await front.drain(DRAIN_S)
    watching.cancel()
    await usage.finished()
    await front.keep_usage()
    await figures.finished()
    await asyncio.to_thread(journal.write, front.counters.roll(end=True))


async def _watch(front: Front) -> None:
    while True:
        await asyncio.sleep(WATCH_EVERY_S)
        front.keys.reload()
        front.custody.look()


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
    parser.add_argument("--custody", type=Path, help="where the agent listens that holds the connections of callers")
    options = parser.parse_args(arguments)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO, stream=sys.stderr)
    listener = socket.socket(fileno=options.fd)
    listener.setblocking(False)
    journal = Journal(options.journal)
    uvloop.run(
        serve(
            listener,
            options.routing,
            options.control,
            journal,
            control_url=options.control_url,
            custody=options.custody,
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
