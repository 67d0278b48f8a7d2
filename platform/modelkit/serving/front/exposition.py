"""The text that Prometheus reads at `/metrics`: names, units and help of every figure of the serving port.

Seconds and bytes, as its conventions ask. Does not count anything itself.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from modelkit.serving.tally import BATCH_BOUNDS, BOUNDS_MS, STAGE_BOUNDS_MS, STAGES, Tally

if TYPE_CHECKING:
    from modelkit.serving.front.app import Front

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
_PREFIX = "tuneyard_serving_"
_VITALS_HOLD_S = 30.0


class _Page:
    """Lines of the text exposition format, family by family. Values of labels are slugs and need no escapes."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._name = ""

    def family(self, name: str, kind: str, help_: str) -> None:
        self._name = _PREFIX + name
        self.lines += (f"# HELP {self._name} {help_}", f"# TYPE {self._name} {kind}")

    def sample(self, labels: str, value: float, suffix: str = "") -> None:
        shown = f"{{{labels}}}" if labels else ""
        self.lines.append(f"{self._name}{suffix}{shown} {value:.15g}")

    def histogram(self, labels: str, bounds: Sequence[float], counts: Sequence[int], total: float) -> None:
        running = 0
        for bound, count in zip((*bounds, float("inf")), counts, strict=True):
            running += count
            le = f"{bound:g}" if bound != float("inf") else "+Inf"
            self.sample(f'{labels},le="{le}"', running, "_bucket")
        self.sample(labels, total, "_sum")
        self.sample(labels, running, "_count")


def page(front: Front, workspace: str | None) -> bytes:
    """Of one workspace; with None of everything, and of the front itself."""
    text = _Page()
    tallies = [
        (_labels(*key), series.total())
        for key, series in sorted(front.counters.series.items(), key=lambda item: item[0])
        if workspace is None or key[0] == workspace
    ]
    _requests(text, tallies)
    # Revision 0 answers nobody, so it has no times.
    _times(text, [(labels, tally) for labels, tally in tallies if 'revision="0"' not in labels])
    _revisions(text, front, workspace)
    if workspace is None:
        _front(text, front)
    return ("\n".join(text.lines) + "\n").encode()


def _labels(workspace: str, endpoint: str, revision: int) -> str:
    return f'workspace="{workspace}",endpoint="{endpoint}",revision="{revision}"'


def _requests(text: _Page, tallies: Iterable[tuple[str, Tally]]) -> None:
    text.family("requests_total", "counter", "Requests by HTTP status. Revision 0: refused before one was chosen.")
    for labels, tally in tallies:
        for status, count in sorted(tally.statuses.items()):
            text.sample(f'{labels},code="{status}"', count)
    text.family("errors_total", "counter", "Requests answered by an error, by HTTP status and error code.")
    for labels, tally in tallies:
        for (status, code), count in sorted(tally.refused.items()):
            text.sample(f'{labels},code="{status}",reason="{code}"', count)
    text.family("inputs_total", "counter", "Inputs answered.")
    for labels, tally in tallies:
        text.sample(labels, tally.inputs)
    text.family("tokens_total", "counter", "Tokens of the inputs answered, where the model counts them.")
    for labels, tally in tallies:
        text.sample(labels, tally.tokens)


def _times(text: _Page, tallies: Iterable[tuple[str, Tally]]) -> None:
    seconds = [bound / 1000 for bound in BOUNDS_MS]
    text.family("latency_seconds", "histogram", "From request read to answer written, of requests answered with 200.")
    for labels, tally in tallies:
        text.histogram(labels, seconds, tally.latency, tally.latency_ms / 1000)
    seconds = [bound / 1000 for bound in STAGE_BOUNDS_MS]
    text.family("stage_seconds", "histogram", "Time of answered requests in the queue, in preprocessing, in the model.")
    for labels, tally in tallies:
        for stage in STAGES:
            counts, total_ms = getattr(tally, stage), getattr(tally, f"{stage}_ms")
            text.histogram(f'{labels},stage="{stage}"', seconds, counts, total_ms / 1000)
    text.family("batch_inputs", "histogram", "Inputs in the batch that an answered request was computed in.")
    for labels, tally in tallies:
        text.histogram(labels, BATCH_BOUNDS, tally.batch, tally.batch_inputs)


#: What the agent tells of a revision's processes (`modelkit.serving.plan.RunnerVitals`), as metrics.
_VITALS = (
    ("runner_restarts_total", "counter", "Restarts after a runner died, since the agent started.", "restarts"),
    ("runner_processes", "gauge", "Processes that answer for a revision.", "processes"),
    ("runner_memory_bytes", "gauge", "Resident memory of a revision's processes.", "memory_bytes"),
    ("runner_cpu_seconds_total", "counter", "CPU time of a revision's present processes.", "cpu_s"),
    ("queued_inputs", "gauge", "Inputs that wait in the runners' queues, as of their last probes.", "queued_inputs"),
)


def _revisions(text: _Page, front: Front, workspace: str | None) -> None:
    targets = [
        (_labels(*key, number), target)
        for key, endpoint in sorted(front.table.endpoints.items())
        if workspace is None or key[0] == workspace
        for number, target in sorted(endpoint.by_number.items())
    ]
    text.family("up", "gauge", "Whether a revision answers, if only after its sleeping runner has been woken.")
    for labels, target in targets:
        text.sample(labels, int(target.answers))
    text.family("in_flight", "gauge", "Requests that a revision's runners have not answered yet.")
    for labels, target in targets:
        text.sample(labels, sum(link.load for link in target.links))
    # What an agent that is gone has said last is not told as if it were so now.
    known = front.vitals if time.monotonic() - front.vitals_at < _VITALS_HOLD_S else ()
    vitals = [v for v in known if workspace is None or v.workspace == workspace]
    for name, kind, help_, field in _VITALS:
        text.family(name, kind, help_)
        for vital in vitals:
            text.sample(_labels(vital.workspace, vital.endpoint, vital.revision), getattr(vital, field))


def _front(text: _Page, front: Front) -> None:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    text.family("refused_total", "counter", "Requests without a valid key or for no endpoint, by status.")
    for status, count in sorted(front.counters.strangers.items()):
        text.sample(f'code="{status}"', count)
    for name, kind, help_, value in _gauges(front, usage):
        text.family(name, kind, help_)
        text.sample("", value)


def _gauges(front: Front, usage: resource.struct_rusage) -> Iterator[tuple[str, str, str, float]]:
    yield "connections", "gauge", "Open connections.", len(front.connections)
    yield "routing_generation", "gauge", "Generation of the routing table in use.", front.table.generation
    yield "front_start_time_seconds", "gauge", "When the front started, since the epoch.", front.started_at
    yield "front_memory_bytes", "gauge", "Resident memory of the front.", _resident_bytes()
    yield "front_cpu_seconds_total", "counter", "CPU time of the front.", usage.ru_utime + usage.ru_stime


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
