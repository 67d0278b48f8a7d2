"""How long a job took by phase, and how long it still takes: by its loop's word and by what was predicted.

A job's phases follow each other without a gap: claiming it enters `preparing`, and what puts it back enters `queued`.
So the whole is the sum of all phases but `queued`, and no wait between two attempts passes for work.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from apps.jobs.models import Job, JobKind, JobStatus
from apps.jobs.selectors.folders import PHASES_OF

#: What both sides are given when the phases so far are compared with their prediction: a share of the whole job and at
#: least some seconds. Short phases tell little of long ones: a process that takes long to start does not train slowly.
DAMPING, DAMPING_S = 0.1, 5.0


@dataclass(frozen=True)
class PhaseTime:
    """A phase of the job: `state` is done, now, ahead or stopped; `seconds` what it took so far, over all attempts."""

    name: str
    state: str
    seconds: float | None


def phase_seconds(job: Job, *, now: float) -> dict[str, float]:
    """Seconds that each phase took so far, over all attempts, without the wait before the first start."""
    entered = job.progress_detail.get("phases", [])
    if not entered and job.started_at is not None:
        entered = [{"name": "preparing", "at": job.started_at.timestamp()}]
    ended = job.finished_at.timestamp() if job.finished_at else now
    seconds: dict[str, float] = defaultdict(float)
    for index, phase in enumerate(entered):
        following = entered[index + 1]["at"] if index + 1 < len(entered) else ended
        seconds[phase["name"]] += max(0.0, following - phase["at"])
    return dict(seconds)


def worked_s(job: Job, *, now: float | None = None) -> float | None:
    """Seconds that the job ran, until now or its end, over all attempts. None for one that never started."""
    if job.started_at is None:
        return None
    by_phase = phase_seconds(job, now=time.time() if now is None else now)
    return sum(seconds for name, seconds in by_phase.items() if name != "queued")


def phase_timeline(job: Job, *, now: float) -> list[PhaseTime]:
    """The phases of the job's kind in order, with their durations."""
    seconds = phase_seconds(job, now=now)
    if job.started_at is not None:
        seconds["queued"] = seconds.get("queued", 0.0) + max(0.0, (job.started_at - job.created_at).total_seconds())
    entered = job.progress_detail.get("phases", [])
    names = PHASES_OF[JobKind(job.kind)]
    current = job.phase or (entered[-1]["name"] if entered else "queued")
    reached = names.index(current) if current in names else 0
    final = JobStatus(job.status).is_final
    timeline = []
    for index, name in enumerate(names):
        if job.status == JobStatus.SUCCEEDED or index < reached:
            state = "done"
        elif index == reached:
            state = "stopped" if final else "now"
        else:
            state = "ahead"
        timeline.append(PhaseTime(name, state, round(seconds[name], 2) if name in seconds else None))
    return timeline


def phase_entered(detail: Mapping[str, Any], name: str, *, at: float, attempt: int) -> dict[str, Any]:
    """`Job.progress_detail` with one more phase; entering the present one of the same attempt again is no news."""
    phases = detail.get("phases", [])
    if phases and (phases[-1]["name"], phases[-1]["attempt"]) == (name, attempt):
        return dict(detail)
    return {**detail, "phases": [*phases, {"name": name, "at": at, "attempt": attempt}]}


def phase_key(phase: str) -> str:
    """Under which name `Job.predicted` holds the seconds of a phase."""
    return f"{phase}_s"


def predicted_phases(job: Job) -> Mapping[str, float]:
    """Predicted seconds by phase; empty for a job whose task predicts the whole only."""
    names = PHASES_OF[JobKind(job.kind)]
    return {name: float(job.predicted[phase_key(name)]) for name in names if phase_key(name) in job.predicted}


def expected_phases(job: Job, *, now: float | None = None) -> Mapping[str, float]:
    """`predicted_phases` of a running job as they are to be expected on a host that is as slow as it showed itself."""
    predicted = predicted_phases(job)
    slowness = _slowness(job, predicted, now=time.time() if now is None else now)
    return {name: seconds * slowness for name, seconds in predicted.items()}


def left_s(job: Job, *, now: float | None = None) -> float | None:
    """Seconds until the running job ends: the rest of its phase and all phases after it. None where nobody can say."""
    if job.status != JobStatus.RUNNING:
        return None
    now = time.time() if now is None else now
    expected, told, current = expected_phases(job, now=now), job.progress_detail.get("eta_s"), _current(job)
    if told is None and current not in expected:
        return None
    names = PHASES_OF[JobKind(job.kind)]
    ahead = sum(expected.get(name, 0.0) for name in names[names.index(current) + 1 :])
    if _looping(job):
        return round(float(told) + ahead, 1)
    rest = max(0.0, expected.get(current, 0.0) - _spent_s(job, now))
    return round(max(float(told or 0.0), rest) + ahead, 1)


def _current(job: Job) -> str:
    names = PHASES_OF[JobKind(job.kind)]
    return job.phase if job.phase in names and job.phase != "queued" else names[1]


def _looping(job: Job) -> bool:
    """A loop that counts its steps knows better than any prediction; what comes before it in its phase does not."""
    detail = job.progress_detail
    return detail.get("eta_s") is not None and bool(detail.get("steps")) and _current(job) in ("training", "predicting")


def _spent_s(job: Job, now: float) -> float:
    """Seconds since the present phase was entered last."""
    entered = [phase["at"] for phase in job.progress_detail.get("phases", []) if phase["name"] == _current(job)]
    return max(0.0, now - entered[-1]) if entered else 0.0


def _slowness(job: Job, predicted: Mapping[str, float], *, now: float) -> float:
    """How much longer than predicted the phases of this attempt take, at least 1: a busy host stays busy.

    Those that are over count, and the present one: by its loop's word, else once it has overrun.
    """
    entered = job.progress_detail.get("phases", [])
    took = expected = 0.0
    for phase, following in pairwise(entered):
        # Between two attempts lies a wait, not work.
        if phase["attempt"] == following["attempt"] == entered[-1]["attempt"] and phase["name"] in predicted:
            took += max(0.0, following["at"] - phase["at"])
            expected += predicted[phase["name"]]
    current = _current(job)
    if entered and current in predicted:
        whole = _spent_s(job, now) + (float(job.progress_detail["eta_s"]) if _looping(job) else 0.0)
        # What a resumed loop does not repeat says nothing of the host's speed.
        if whole > predicted[current] or (_looping(job) and entered[-1]["attempt"] == 1):
            took += whole
            expected += predicted[current]
    damping = max(DAMPING_S, DAMPING * sum(predicted.values()))
    return max(1.0, (took + damping) / (expected + damping))
