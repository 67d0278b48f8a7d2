"""`python -m modelkit.serving.shared`: several small models in one process, each at a socket of its own.

They share the memory of the interpreter and its libraries, and each other's fate. The agent loads and unloads them over
the control socket; what a model does is the runner's (`modelkit.serving.runner`).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import sys
from pathlib import Path

import orjson

from modelkit.serving.listening import Door, stop_signal
from modelkit.serving.runner import Served, arguments_parser, runtime_of, why_unloadable
from modelkit.serving.wire import Ask, FrameProtocol, Reply, Status, reply_frame
from modelkit.wording import pack

logger = logging.getLogger("modelkit.serving.shared")

_LOOK_S = 5.0


class _Models:
    """What is loaded, by socket. One change at a time: a second load of a socket takes the first one's place."""

    def __init__(self) -> None:
        self._served: dict[Path, Served] = {}
        self._changing = asyncio.Lock()

    async def load(self, arguments: list[str]) -> Reply:
        """`arguments` are those of a runner. A refusal carries the reason, packed."""
        options = arguments_parser().parse_args(arguments)
        async with self._changing:
            await self._close(options.socket)
            try:
                self._served[options.socket] = await Served.open(options.bundle, options.socket, runtime_of(options))
            except Exception as error:
                reason = why_unloadable(error, options.bundle)
                return Reply(Status.INVALID, json.dumps(pack(reason)).encode())
        return Reply(Status.OK, b"")

    async def unload(self, socket: Path) -> Reply:
        """Let a model answer what it has, and forget it. One that is not here is no error."""
        async with self._changing:
            await self._close(socket)
        return Reply(Status.OK, b"")

    async def close(self) -> None:
        await asyncio.gather(*(served.close() for served in self._served.values()))

    async def _close(self, socket: Path) -> None:
        served = self._served.pop(socket, None)
        if served is not None:
            await served.close()


class _Control(FrameProtocol):
    """The agent's door."""

    def __init__(self, models: _Models) -> None:
        super().__init__()
        self._models = models
        self._tasks: set[asyncio.Task[None]] = set()

    def frame_received(self, request_id: int, code: int, payload: bytes) -> None:
        task = asyncio.get_running_loop().create_task(self._obey(request_id, code, payload))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _obey(self, request_id: int, code: int, payload: bytes) -> None:
        if code == Ask.LOAD:
            reply = await self._models.load(orjson.loads(payload))
        elif code == Ask.UNLOAD:
            reply = await self._models.unload(Path(payload.decode()))
        else:
            reply = Reply(Status.ERROR, b"")
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(reply_frame(request_id, reply))


async def serve(control: Path) -> None:
    """Obey until SIGTERM, or until the control socket is gone or another's."""
    stop = stop_signal()
    models = _Models()
    door = await Door.open(control, lambda: _Control(models))
    while not stop.is_set() and door.ours:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _LOOK_S)
    door.close()
    await models.close()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m modelkit.serving.shared", description=__doc__)
    parser.add_argument("--control", type=Path, required=True)
    options = parser.parse_args(arguments)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO, stream=sys.stderr)
    import uvloop

    uvloop.run(serve(options.control))
    return 0


if __name__ == "__main__":
    sys.exit(main())
