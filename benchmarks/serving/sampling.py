"""What the sampled request log costs a request on the event loop, and its writer in the thread.

    python -m benchmarks.serving.sampling [--number 200000]

Prints microseconds of one request that is not sampled, of one that is, and of writing one; last, one JSON object.
Neither model nor network: this is the front's own code on a request of one sentence.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import random

import orjson

from modelkit.serving.front.http import Request
from modelkit.serving.front.samples import MAX_WAITING, Samples
from modelkit.serving.front.table import Endpoint
from modelkit.serving.plan import Route, RouteRevision
from modelkit.serving.wire import Cost, Reply, Status

TEXT = "I am still waiting on my card, it has been two weeks now? Write to me at ann@example.org"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=200_000)
    number: int = parser.parse_args().number
    revision = RouteRevision(number=1, model="m@1", sockets=("s",), weight=100, input_kind="string")
    route = Route.model_validate({"workspace": "w", "name": "m", "state": "running", "sampling": {"rate": 1e-12}})
    endpoint = Endpoint(route, [])
    request = Request()
    request.name_itself()
    request.headers[b"authorization"] = b"Bearer ty_bench"
    payload = orjson.dumps([TEXT])
    reply = Reply(Status.OK, b'[{"label":"card_arrival","score":0.97}]', Cost(0.1, 0.2, 3.0, 4, 20))

    with tempfile.TemporaryDirectory() as folder:
        log = Samples(Path(folder))

        def unsampled() -> None:
            # The very lines of `Exchange._answer`.
            sampler = endpoint.sampler
            if sampler is not None and random() < sampler.rate:  # noqa: S311
                raise AssertionError

        def sampled() -> None:
            log.take(endpoint, revision, request, 200, 1, payload, reply)

        unsampled_us = _microseconds(unsampled, number)
        # As many as fit between two writes, so that none is dropped.
        sampled_us = min(_batch(log, sampled) for _ in range(20))
        sampled()
        batch = log._waiting[:1] * MAX_WAITING
        begun = time.perf_counter()
        log.write(batch)
        written_us = (time.perf_counter() - begun) / MAX_WAITING * 1e6
    found = {"unsampled_us": unsampled_us, "sampled_us": sampled_us, "written_us": written_us}
    for name, value in found.items():
        print(f"{name:>14} {value:8.3f}")
    print(json.dumps({name: round(value, 3) for name, value in found.items()}))


def _batch(log: Samples, take: Callable[[], None]) -> float:
    log._waiting.clear()
    log._waiting_bytes = 0
    spent = _microseconds(take, MAX_WAITING)
    log._waiting.clear()
    log._waiting_bytes = 0
    return spent


def _microseconds(call: Callable[[], None], number: int) -> float:
    begun = time.perf_counter()
    for _ in range(number):
        call()
    return (time.perf_counter() - begun) / number * 1e6


if __name__ == "__main__":
    main()
