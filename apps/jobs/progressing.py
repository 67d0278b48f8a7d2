"""How far a job is and what it takes: steps with their times, facts of the loop, predicted beside actual."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone
from django.utils.translation import gettext as _

from apps.core.templatetags.ui import duration, size
from apps.jobs.models import Job, JobKind, JobStatus
from apps.jobs.presenting import PHASE_TITLES
from apps.jobs.selectors.timing import expected_phases, left_s, phase_timeline, predicted_phases, worked_s


@dataclass(frozen=True)
class Step:
    """A phase; `expected_s` is shown for those ahead, what it took for those that are over."""

    title: str
    state: str
    seconds: float | None
    expected_s: float | None = None


@dataclass(frozen=True)
class Comparison:
    """Predicted beside actual; `predicted_share` and `actual_share` are percentages of the longer bar."""

    title: str
    predicted: str
    actual: str
    predicted_share: float
    actual_share: float
    note: str = ""


def ends_at(job: Job) -> datetime | None:
    left = left_s(job)
    return timezone.now() + timedelta(seconds=left) if left is not None else None


def steps_of(job: Job) -> list[Step]:
    timeline = phase_timeline(job, now=time.time())
    expected = expected_phases(job) if job.status == JobStatus.RUNNING else predicted_phases(job)
    return [
        Step(str(PHASE_TITLES.get(item.name, item.name)), item.state, item.seconds, expected.get(item.name))
        for item in timeline
    ]


def progress_facts(job: Job) -> list[str]:
    """How far the loop is, as far as the job says it: step, epoch and, while it runs, its speed."""
    detail = job.progress_detail
    found = []
    if detail.get("steps"):
        said = _("Row %(step)s of %(steps)s") if job.kind == JobKind.PREDICT else _("Step %(step)s of %(steps)s")
        found.append(said % {"step": detail.get("step", 0), "steps": detail["steps"]})
    if detail.get("epochs") and detail.get("epoch") is not None:
        epoch = f"{float(detail['epoch']):.1f}"
        found.append(_("epoch %(epoch)s of %(epochs)s") % {"epoch": epoch, "epochs": detail["epochs"]})
    if detail.get("rows_per_s") and job.status == JobStatus.RUNNING:
        found.append(_("%(rate).1f rows/s") % {"rate": float(detail["rows_per_s"])})
    return found


def comparisons_of(job: Job) -> list[Comparison]:
    """Memory, time and disk, predicted and actual; the time is what the job's clock shows, all phases together."""
    actual = job.actual | {"seconds": worked_s(job)}
    lines = (
        (_("Memory, peak"), "memory_bytes", size),
        (_("Time, whole job"), "seconds", duration),
        (_("Disk"), "disk_bytes", size),
    )
    found = []
    for title, name, text in lines:
        predicted, measured = job.predicted.get(name), actual.get(name)
        if predicted is None and measured is None:
            continue
        longest = max(predicted or 0, measured or 0) or 1
        measured_text, note = text(measured), ""
        if measured is not None and not JobStatus(job.status).is_final:
            measured_text = _("%(span)s so far") % {"span": measured_text}
            left = left_s(job) if name == "seconds" else None
            if left is not None:
                note = _("At this pace about %(span)s in all") % {"span": duration(measured + left)}
        found.append(
            Comparison(
                title,
                text(predicted),
                measured_text,
                round(100 * (predicted or 0) / longest, 1),
                round(100 * (measured or 0) / longest, 1),
                note,
            )
        )
    return found
