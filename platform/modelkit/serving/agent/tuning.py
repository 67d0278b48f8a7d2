"""Chooses the runtime of a revision by measuring the candidates on this host, one after the other."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from modelkit.serving import engines
from modelkit.serving.agent.processes import environment
from modelkit.serving.plan import Candidate, Goal, Runtime, Tuning
from modelkit.wording import say

logger = logging.getLogger("modelkit.serving.agent")

SECONDS = 2.0
_TIMEOUT_S = 120.0
_ATTEMPTS = 2
#: The default stays unless another is better by more than this share: less is noise, and it is what was checked first.
_MARGIN = 0.05

#: Batch sizes worth measuring for a goal, and whether one slot is enough to tell.
_BATCHES: dict[Goal, tuple[int, ...]] = {"latency": (16,), "throughput": (8, 16, 32), "exact": (8, 16), "memory": (8,)}


def candidates(goal: Goal, *, threads: int) -> list[Runtime]:
    """What to measure: every engine and precision of this host, the default first."""
    slots = 1 if goal == "memory" else threads
    found = [
        Runtime(engine=engine, precision=precision, slots=slots, max_batch=batch)
        for engine in engines.names()
        for precision in engines.precisions(engine)
        for batch in _BATCHES[goal]
        if precision == "as_is" or goal != "exact"
    ]
    default = Runtime(slots=slots)
    return sorted(found, key=lambda runtime: (runtime != default, runtime.engine, runtime.precision, runtime.max_batch))


async def measure(folder: Path, goal: Goal, *, threads: int) -> Tuning:
    """Measure and choose."""
    rows = [await _measure_one(folder, runtime, goal) for runtime in candidates(goal, threads=threads)]
    return choose(goal, rows)


def choose(goal: Goal, rows: Sequence[Candidate]) -> Tuning:
    """The best of those that pass; the default where none does, which the golden set then judges again. Pure."""
    passing = [index for index, row in enumerate(rows) if row.passes]
    if not passing:
        reason = say("None of {count} candidates passed, so the default stays.", count=len(rows))
        return Tuning(goal=goal, candidates=tuple(rows), chosen=0, reason=reason)
    best = min(passing, key=lambda index: _cost(goal, rows[index]))
    if passing[0] == 0 and _cost(goal, rows[0]) <= _cost(goal, rows[best]) * (1 + _MARGIN):
        best = 0
    return Tuning(goal=goal, candidates=tuple(rows), chosen=best, reason=_why(goal, rows[best], len(rows)))


def _cost(goal: Goal, row: Candidate) -> float:
    """What the goal wants little of."""
    if goal == "throughput":
        return 1 / max(row.texts_per_s, 1e-9)
    return float(row.memory_mb) if goal == "memory" else row.p50_ms


def _why(goal: Goal, row: Candidate, count: int) -> str:
    engine = row.runtime.engine
    precision = say("as it is") if row.runtime.precision == "as_is" else row.runtime.precision
    if goal == "throughput":
        return say(
            "Of {count} candidates {engine} ({precision}) answers most: {rate:.0f} texts per second.",
            count=count,
            engine=engine,
            precision=precision,
            rate=row.texts_per_s,
        )
    if goal == "memory":
        return say(
            "Of {count} candidates {engine} ({precision}) takes least memory: {memory} MB.",
            count=count,
            engine=engine,
            precision=precision,
            memory=row.memory_mb,
        )
    return say(
        "Of {count} candidates {engine} ({precision}) is the fastest: {p50:.1f} ms for one text.",
        count=count,
        engine=engine,
        precision=precision,
        p50=row.p50_ms,
    )


async def _measure_one(folder: Path, runtime: Runtime, goal: Goal) -> Candidate:
    """Measured again when its process was killed: that tells of the host, or of an operator, not of the runtime."""
    for _ in range(_ATTEMPTS):
        found, signum = await _measure_in_process(folder, runtime, goal)
        if not signum:
            break
        logger.warning("Measuring %s (%s) was ended by signal %d.", runtime.engine, runtime.precision, signum)
    return found


async def _measure_in_process(folder: Path, runtime: Runtime, goal: Goal) -> tuple[Candidate, int]:
    """In a process of its own: what it takes of memory is its own, and what kills it kills no one else.

    With the signal that ended it, 0 for none. Its standard input is a pipe that ends with us, as it then does.
    """
    theirs, ours = os.pipe()
    try:
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "modelkit.serving.tune", "--with-parent", "--bundle", str(folder),
                "--runtime", runtime.model_dump_json(), "--goal", goal, "--seconds", str(SECONDS),
                stdin=theirs, stdout=asyncio.subprocess.PIPE, env=environment(),
            )  # fmt: skip
        finally:
            os.close(theirs)
        return await _told_by(process, runtime)
    finally:
        os.close(ours)


async def _told_by(process: asyncio.subprocess.Process, runtime: Runtime) -> tuple[Candidate, int]:
    try:
        output, _ = await asyncio.wait_for(process.communicate(), _TIMEOUT_S)
        return Candidate.model_validate_json(output.strip().rsplit(b"\n", 1)[-1]), 0
    except TimeoutError:
        return Candidate(runtime=runtime, reason=say("Measuring it came to no end.")), 0
    except ValidationError:
        signum = max(0, -(process.returncode or 0))
        if signum == signal.SIGALRM:
            return Candidate(runtime=runtime, reason=say("Measuring it came to no end.")), 0
        reason = say("Its process died while it was measured.")
        return Candidate(runtime=runtime, reason=reason), signum
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
