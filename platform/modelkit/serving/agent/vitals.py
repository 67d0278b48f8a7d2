"""Memory, CPU time and restarts of the runners, for the front's `/metrics`: it alone is asked by the outside."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import orjson
import psutil

from modelkit.serving.plan import RunnerVitals

if TYPE_CHECKING:
    from modelkit.serving.agent.revision import Revision


def vitals(revisions: Iterable[Revision]) -> bytes:
    """A list of `RunnerVitals` as JSON."""
    return orjson.dumps([_vitals(revision).model_dump() for revision in revisions])


def _vitals(revision: Revision) -> RunnerVitals:
    memory_bytes, cpu_s, processes = 0, 0.0, 0
    observed = revision.observed()
    for pid in observed.pids:
        try:
            process = psutil.Process(pid)
            with process.oneshot():
                times = process.cpu_times()
                memory_bytes += process.memory_info().rss
                cpu_s += times.user + times.system
                processes += 1
        except psutil.Error:
            continue
    workspace, endpoint = revision.key
    return RunnerVitals(
        workspace=workspace,
        endpoint=endpoint,
        revision=revision.spec.number,
        restarts=observed.restarts,
        processes=processes,
        memory_bytes=memory_bytes,
        cpu_s=round(cpu_s, 3),
        queued_inputs=revision.queued_inputs,
    )
