"""What the machine itself took away meanwhile, without which no share of LIMIT can be judged.

LIMIT's loops never sleep. A server does, between two requests, and where processors are virtual and shared each of its
awakenings waits until the host gives the processor back.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import time
from multiprocessing.connection import Connection
from typing import Any

import psutil

#: As long as a model computes: a processor that idled for less is still awake.
IDLE_S = 0.004
PINGS = 200


class Host:
    """Created at the beginning of what `figures` is to tell of."""

    def __init__(self) -> None:
        self._before = psutil.cpu_times()

    def figures(self) -> dict[str, Any]:
        """`host_steal`: the share of busy time that the host gave to others; `host_wake_ms`: see `wake_ms`."""
        spent = [after - before for before, after in zip(self._before, psutil.cpu_times(), strict=True)]
        named = dict(zip(self._before._fields, spent, strict=True))
        stolen = named.get("steal", 0.0)
        busy = stolen + sum(named.get(name, 0.0) for name in ("user", "system", "nice", "irq", "softirq"))
        return {"host_steal": stolen / busy if busy else 0.0, "host_wake_ms": wake_ms()}


def wake_ms() -> float:
    """Milliseconds, in the mean, until a process runs that another wakes after its processor has idled."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=_answer, args=(ours, theirs), daemon=True)
    child.start()
    theirs.close()
    waited = []
    for _ in range(PINGS):
        time.sleep(IDLE_S)
        begun = time.perf_counter()
        ours.send_bytes(b"?")
        ours.recv_bytes()
        waited.append((time.perf_counter() - begun) * 1e3 / 2)
    ours.close()
    child.join()
    return statistics.mean(waited)


def _answer(theirs_of_parent: Connection, pipe: Connection) -> None:
    theirs_of_parent.close()
    try:
        while True:
            pipe.send_bytes(pipe.recv_bytes())
    except EOFError:
        os._exit(0)
