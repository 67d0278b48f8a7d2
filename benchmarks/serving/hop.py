"""What the hop from the front to a runner costs, against the same front with the model inside its own process.

    python -m benchmarks.serving.hop --bundle BUNDLE [--seconds 5] [--rounds 3]

Prints one line a setting and, last, one JSON object. Processor time per request is the figure to trust: it hardly
depends on what else the machine does, while rates do. Needs the program wrk. `--bundle none` answers without a model,
which leaves the hop alone.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import multiprocessing
import os
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import psutil
import uvloop

from modelkit import bundle, catalog
from modelkit.serving.batching import Answer, Batcher
from modelkit.serving.front.app import Front
from modelkit.serving.front.http import Connection
from modelkit.serving.picks import pack_picks
from modelkit.serving.plan import AccessKey, KeySet, Route, RouteRevision, RoutingTable
from modelkit.serving.runner import _Peer
from modelkit.serving.wire import Ask, Cost, Reply, Status

TOKEN = "ty_bench"  # noqa: S105
TEXT = "I am still waiting on my card, it has been two weeks now?"


class Nothing:
    """A model that costs nothing."""

    def preprocess(self, inputs: Sequence[Any]) -> Sequence[Any]:
        return inputs

    def token_counts(self, batch: Sequence[Any]) -> Sequence[int]:
        return ()

    def uncut_token_counts(self, inputs: Sequence[Any]) -> Sequence[int]:
        return ()

    def forward(self, batch: Sequence[Any]) -> Sequence[Any]:
        return batch

    def postprocess(self, raw: Sequence[Any], *, scores: bool = True) -> list[dict[str, Any]]:
        return [{"label": "a", "score": 1.0} for _ in raw]


class Host:
    """What a runner knows, for one process: model, batcher, encoding."""

    def __init__(self, folder: Path | None) -> None:
        if folder is None:
            self.predictor: Any = Nothing()
        else:
            self.predictor = catalog.task_module(bundle.read(folder).task, "predict").Predictor(folder, threads=1)
            self.predictor.warmup()
        self.batcher = Batcher(self.predictor, slots=2)
        self.label_index = {"a": 0} if folder is None else {label: i for i, label in enumerate(self.predictor.labels)}
        self.peers: set[Any] = set()
        self.answered = 0
        self.asked_at = 0.0

    def batcher_of(self, ask: Ask) -> Batcher:
        return self.batcher

    def encode(self, ask: Ask, outputs: list[dict[str, Any]]) -> bytes:
        return orjson.dumps(outputs)


class InlineLink:
    """In the place of a link to a runner: the model in this process, its payload encoded and decoded all the same."""

    is_open = True
    asleep = False
    load = 0

    def __init__(self, host: Host) -> None:
        self._host = host

    def send(self, ask: Ask, payload: bytes, caller: Any) -> None:
        def done(answer: Answer) -> None:
            cost = Cost(answer.queue_ms, answer.preprocess_ms, answer.model_ms, answer.batch, answer.tokens)
            picks = pack_picks(answer.outputs, self._host.label_index)
            caller.replied(Reply(Status.OK, self._host.encode(ask, answer.outputs), cost, picks))

        self._host.batcher.submit(orjson.loads(payload), done, scores=False)

    def open(self) -> None: ...

    def retire(self) -> None: ...

    def unretire(self) -> None: ...

    def expire(self, now: float) -> list[Any]:
        return []


def _routing(folder: Path, socket: str) -> Path:
    revision = RouteRevision(number=1, model="m@1", sockets=(socket,), weight=100, input_kind="string")
    key = AccessKey(sha256=hashlib.sha256(TOKEN.encode()).hexdigest(), workspace="w")
    route = Route(workspace="w", name="m", state="running", revisions=(revision,))
    table = RoutingTable(generation=1, routes=(route,))
    (folder / "keys.json").write_text(KeySet(keys=(key,)).model_dump_json())
    path = folder / "routing.json"
    path.write_text(table.model_dump_json())
    return path


def _front(routing: Path, port: Any, inline: Path | str | None) -> None:
    async def serve() -> None:
        front = Front(routing)
        if inline != "":
            folder = inline if isinstance(inline, Path) else None
            socket = json.loads(routing.read_text())["routes"][0]["revisions"][0]["sockets"][0]
            front.links[socket] = InlineLink(Host(folder))  # type: ignore[assignment]
        front.reload()
        server = await asyncio.get_running_loop().create_server(lambda: Connection(front), "127.0.0.1", 0)
        port.value = server.sockets[0].getsockname()[1]
        await asyncio.Event().wait()

    uvloop.run(serve())


def _runner(socket: str, folder: Path | None) -> None:
    async def serve() -> None:
        host = Host(folder)
        await asyncio.get_running_loop().create_unix_server(lambda: _Peer(host), socket)  # type: ignore[arg-type]
        await asyncio.Event().wait()

    uvloop.run(serve())


def _load(port: int, script: Path, connections: int, seconds: int) -> float:
    command = [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        "-s",
        str(script),
        f"http://127.0.0.1:{port}/predict/m",
    ]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "Non-2xx" not in output, output
    return float(re.search(r"(\d+) requests in", output)[1])  # type: ignore[index]


def _cpu(pids: list[int]) -> float:
    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return sum(t.user + t.system for t in times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    folder = None if options.bundle == "none" else Path(options.bundle)
    os.environ["OMP_NUM_THREADS"] = "1"

    context = multiprocessing.get_context("spawn")
    scratch = Path(tempfile.mkdtemp())
    socket = str(scratch / "r.sock")
    routing = _routing(scratch, socket)
    script = scratch / "post.lua"
    body = json.dumps({"inputs": [TEXT]})
    script.write_text(f"wrk.method='POST'\nwrk.body='{body}'\nwrk.headers['Authorization']='Bearer {TOKEN}'\n")
    ports = {name: context.Value("i", 0) for name in ("hop", "inline")}
    runner = context.Process(target=_runner, args=(socket, folder), daemon=True)
    hop = context.Process(target=_front, args=(routing, ports["hop"], ""), daemon=True)
    inline = context.Process(target=_front, args=(routing, ports["inline"], folder), daemon=True)
    for process in (runner, hop, inline):
        process.start()
    while not (ports["hop"].value and ports["inline"].value and Path(socket).exists()):
        time.sleep(0.1)
    pids = {"hop": [runner.pid, hop.pid], "inline": [inline.pid]}

    report: dict[str, Any] = {}
    for connections in (1, 8, 32):
        found: dict[str, list[tuple[float, float]]] = {"hop": [], "inline": []}
        for _ in range(options.rounds):
            for name in ("inline", "hop"):
                before = _cpu(pids[name])  # type: ignore[arg-type]
                count = _load(ports[name].value, script, connections, options.seconds)
                found[name].append(((_cpu(pids[name]) - before) / count * 1e6, count / options.seconds))  # type: ignore[arg-type]
        for name, values in found.items():
            cpu_us, rate = (statistics.median(column) for column in zip(*values, strict=True))
            report[f"{name}_c{connections}"] = {"cpu_us": round(cpu_us), "rps": round(rate)}
            print(f"{name:7} c={connections:<3} {cpu_us:8.0f} us of processor a request {rate:8.0f} requests/s")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
