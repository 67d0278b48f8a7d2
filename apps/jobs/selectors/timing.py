"""How long a running job still takes: what its loop says of itself, and what was predicted of the phases ahead."""

from __future__ import annotations

import time
from collections.abc import Mapping
from itertools import pairwise

from apps.jobs.models import Job, JobKind, JobStatus
from apps.jobs.selectors.folders import PHASES_OF

#: Seconds that both sides are given when the past phases are compared with their prediction: short ones tell little.
DAMPING_S = 5.0


def phase_key(phase: str) -> str:
    """Under which name `Job.predicted` holds the seconds of a phase."""
    return f"{phase}_s"


def predicted_phases(job: Job) -> Mapping[str, float]:
    """Predicted seconds by phase; empty for a job whose task predicts the whole only."""
    names = PHASES_OF[JobKind(job.kind)]
    return {name: float(job.predicted[phase_key(name)]) for name in names if phase_key(name) in job.predicted}


def left_s(job: Job, *, now: float | None = None) -> float | None:
    """Seconds until the running job ends: the rest of its phase and all phases after it. None where nobody can say."""
    if job.status != JobStatus.RUNNING:
        return None
    predicted, detail = predicted_phases(job), job.progress_detail
    told = detail.get("eta_s")
    names = PHASES_OF[JobKind(job.kind)]
    current = job.phase if job.phase in names and job.phase != "queued" else names[1]
    if told is None and current not in predicted:
        return None
    ahead = sum(predicted.get(name, 0.0) for name in names[names.index(current) + 1 :]) * _slowness(job, predicted)
    entered = [phase["at"] for phase in detail.get("phases", []) if phase["name"] == current]
    spent = max(0.0, (time.time() if now is None else now) - entered[-1]) if entered else 0.0
    rest = max(0.0, predicted.get(current, 0.0) - spent)
    # A loop that counts its steps knows better than any prediction; what comes before it in its phase does not.
    looping = told is not None and detail.get("steps") and current in ("training", "predicting")
    return round((float(told) if looping else max(float(told or 0.0), rest)) + ahead, 1)


def _slowness(job: Job, predicted: Mapping[str, float]) -> float:
    """How much longer than predicted the finished phases of this attempt took, at least 1: a busy host stays busy."""
    entered = job.progress_detail.get("phases", [])
    took = expected = 0.0
    for phase, following in pairwise(entered):
        # Between two attempts lies a wait, not work.
        if phase["attempt"] == following["attempt"] == entered[-1]["attempt"] and phase["name"] in predicted:
            took += max(0.0, following["at"] - phase["at"])
            expected += predicted[phase["name"]]
    return max(1.0, (took + DAMPING_S) / (expected + DAMPING_S))
