"""`python -m modelkit.serving.runner`: one process that answers for one revision over a Unix socket.

The socket appears only once the model has loaded and warmed up, so that whoever can connect can ask. On SIGTERM it
stops listening, answers what has come and ends when its peers have gone. Does not know HTTP, keys or other revisions.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

import orjson

from modelkit import bundle
from modelkit.errors import UserError
from modelkit.serving import embedding, engines, oip
from modelkit.serving.asked import unpack_inputs
from modelkit.serving.batching import Answer, Batcher, InvalidInput
from modelkit.serving.listening import Door, stop_signal
from modelkit.serving.picks import pack_picks
from modelkit.serving.plan import Runtime
from modelkit.serving.wire import Ask, Cost, FrameProtocol, Reply, Status, reply_frame
from modelkit.wording import both, pack, say

logger = logging.getLogger("modelkit.serving.runner")

#: Exit status when the bundle cannot be loaded; the reason is in `<socket>.failed`.
EXIT_UNLOADABLE = 3
DRAIN_S = 30.0
_ORPHAN_LOOK_S = 5.0


class Runner:
    """A loaded bundle with its batcher and its open connections."""

    def __init__(self, folder: Path, predictor: Any, runtime: Runtime) -> None:
        self.manifest = bundle.read(folder)
        self.labels = self.manifest.labels
        self.label_index = {label: index for index, label in enumerate(self.labels)}
        self.predictor = predictor
        self.batcher = Batcher(self.predictor, slots=runtime.slots, max_batch=runtime.max_batch)
        self.embedder = None
        if self.manifest.embedding_width:
            model = embedding.EmbeddingModel(self.predictor)
            self.embedder = Batcher(model, slots=runtime.slots, max_batch=runtime.max_batch)
        self.peers: set[_Peer] = set()
        self.draining = False
        self.answered = 0
        self.asked_at = time.monotonic()
        self.started_at = time.time()

    @property
    def batchers(self) -> list[Batcher]:
        return [self.batcher] if self.embedder is None else [self.batcher, self.embedder]

    @property
    def in_flight(self) -> int:
        return sum(batcher.in_flight for batcher in self.batchers)

    def batcher_of(self, ask: Ask) -> Batcher | None:
        """What answers this; None where the bundle gives no embeddings."""
        return self.embedder if ask in embedding.ASKS else self.batcher

    def info(self) -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "digest": self.manifest.digest,
            "started_at": self.started_at,
            "answered": self.answered,
            "in_flight": self.in_flight,
            "queued_inputs": sum(batcher.queued_inputs for batcher in self.batchers),
            "oldest_run_s": round(max(batcher.oldest_run_s for batcher in self.batchers), 3),
            "idle_s": round(time.monotonic() - self.asked_at, 3),
            "draining": self.draining,
        }

    def encode(self, ask: Ask, outputs: list[dict[str, Any]]) -> bytes:
        """What the front passes on unread: JSON, but for tensors that are wanted as bytes."""
        if ask in embedding.ASKS:
            return embedding.encode(outputs, ask)
        if ask is Ask.TENSORS_BINARY:
            return oip.pack(oip.output_tensors(outputs, self.labels))
        if ask is Ask.TENSORS:
            return orjson.dumps(oip.output_tensors(outputs, self.labels), option=orjson.OPT_SERIALIZE_NUMPY)
        if ask is Ask.PREDICT and "scores" in outputs[0]:  # a neighbour in the batch wanted them
            outputs = [{name: value for name, value in row.items() if name != "scores"} for row in outputs]
        return orjson.dumps(outputs, option=orjson.OPT_SERIALIZE_NUMPY)


class _Peer(FrameProtocol):
    """One connection of the front or the agent."""

    def __init__(self, runner: Runner) -> None:
        super().__init__()
        self._runner = runner

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._runner.peers.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._runner.peers.discard(self)
        self.transport = None

    def frame_received(self, request_id: int, code: int, payload: bytes) -> None:
        if code == Ask.INFO:
            self._reply(request_id, Reply(Status.OK, orjson.dumps(self._runner.info())))
            return
        try:
            ask = Ask(code)
            inputs, max_tokens = unpack_inputs(payload)
        except ValueError:
            self._reply(request_id, Reply(Status.ERROR, b"Not a request that a runner knows."))
            return

        self._runner.asked_at = time.monotonic()

        def done(answer: Answer) -> None:
            self._runner.answered += 1
            self._reply(request_id, self._answer(ask, answer))

        scores = ask is not Ask.PREDICT
        batcher = self._runner.batcher_of(ask)
        if batcher is None:
            self._reply(request_id, Reply(Status.INVALID, embedding.NONE_HERE.encode()))
        elif not batcher.submit(inputs, done, scores=scores, max_tokens=max_tokens):
            self._reply(request_id, Reply(Status.BUSY, b""))

    def _answer(self, ask: Ask, answer: Answer) -> Reply:
        cost = Cost(answer.queue_ms, answer.preprocess_ms, answer.model_ms, answer.batch, answer.tokens)
        if isinstance(answer.error, InvalidInput):
            return Reply(Status.INVALID, str(answer.error).encode(), cost)
        if answer.error is not None:
            return Reply(Status.ERROR, type(answer.error).__name__.encode(), cost)
        try:
            picks = pack_picks(answer.outputs, self._runner.label_index)
            return Reply(Status.OK, self._runner.encode(ask, answer.outputs), cost, picks)
        except Exception as error:
            logger.exception("An answer could not be encoded.")
            return Reply(Status.ERROR, type(error).__name__.encode(), cost)

    def _reply(self, request_id: int, reply: Reply) -> None:
        if self.transport is not None:
            self.transport.write(reply_frame(request_id, reply))


class Served:
    """A runner that listens at a socket. Use `open`."""

    def __init__(self, runner: Runner, door: Door) -> None:
        self.runner = runner
        self._door = door

    @classmethod
    async def open(cls, folder: Path, socket: Path, runtime: Runtime) -> Served:
        """Load and listen. Raises UserError, KeyError for a task that is not installed, and what engines raise."""
        # On a thread: where models live together, the others answer meanwhile.
        predictor = await asyncio.to_thread(_load, folder, runtime)
        runner = Runner(folder, predictor, runtime)
        door = await Door.open(socket, lambda: _Peer(runner))
        logger.info("Answering for %s (%s) by %r.", runner.manifest.name, runner.manifest.precision, runtime)
        return cls(runner, door)

    @property
    def reachable(self) -> bool:
        """Whether the socket is still there and ours."""
        return self._door.ours

    async def close(self) -> None:
        """Stop listening and answer what has come."""
        self.runner.draining = True
        self._door.close()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + DRAIN_S
        # The front closes its connection after the last answer; a peer that never does is not waited for.
        while self.runner.peers and loop.time() < deadline:
            await asyncio.sleep(0.02)
        while self.runner.in_flight and loop.time() < deadline:
            await asyncio.sleep(0.02)
        for batcher in self.runner.batchers:
            batcher.close()
        logger.info("Drained.")


def _load(folder: Path, runtime: Runtime) -> Any:
    predictor = engines.open_predictor(folder, runtime)
    predictor.warmup()
    return predictor


async def serve(folder: Path, socket: Path, runtime: Runtime) -> None:
    """Answer for one bundle until SIGTERM; return when drained. Raises as `Served.open`."""
    stop = stop_signal()
    served = await Served.open(folder, socket, runtime)
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _ORPHAN_LOOK_S)
        if not stop.is_set() and not served.reachable:
            logger.warning("The socket is gone or another's; nobody can reach this runner, so it ends.")
            return
    await served.close()


def arguments_parser() -> argparse.ArgumentParser:
    """What a runner is started with."""
    parser = argparse.ArgumentParser(prog="python -m modelkit.serving.runner", description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1), help="batches computed at once")
    parser.add_argument("--engine", default=Runtime().engine)
    parser.add_argument("--precision", default=Runtime().precision)
    parser.add_argument("--max-batch", type=int, default=Runtime().max_batch)
    return parser


def runtime_of(options: argparse.Namespace) -> Runtime:
    return Runtime(
        engine=options.engine,
        precision=options.precision,
        slots=max(1, options.threads),
        max_batch=options.max_batch,
    )


def why_unloadable(error: Exception, folder: Path) -> str:
    """The reason, for the user, why `Served.open` failed for the bundle in `folder`."""
    if isinstance(error, UserError):
        return both(error.message, error.hint)
    if isinstance(error, KeyError):
        return say("This installation has no task {task}. Install its plugin, then deploy.", task=error.args[0])
    logger.error("The bundle cannot be loaded.", exc_info=error)
    # Engines name files by where they are; a user knows them by their names in the bundle.
    cause = f"{type(error).__name__}: {error}".replace(f"{folder}/", "")
    return both(
        say("The model cannot be loaded: {error}", error=cause),
        say("Train or compress it again, or deploy another version."),
    )


def main(arguments: list[str] | None = None) -> int:
    options = arguments_parser().parse_args(arguments)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO, stream=sys.stderr)
    failed = Path(f"{options.socket}.failed")
    failed.unlink(missing_ok=True)
    try:
        import uvloop

        uvloop.run(serve(options.bundle, options.socket, runtime_of(options)))
    except Exception as error:
        reason = why_unloadable(error, options.bundle)
        logger.error("%s", reason)
        failed.write_text(json.dumps(pack(reason)))
        return EXIT_UNLOADABLE
    return 0


if __name__ == "__main__":
    sys.exit(main())
