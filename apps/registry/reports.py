"""The evaluation that a job leaves beside its bundle, kept with the version so that the job's folder may go."""

from __future__ import annotations

import json
from typing import Any

from django.conf import settings

#: Artifacts of a job that belong to the version it published, and the most of each that is kept.
KEPT = ("per_class", "confusion", "parity", "score")
_MAX_BYTES = 4 * 1024 * 1024


def report_of_job(job_public_id: str) -> dict[str, Any]:
    """What the job's folder holds of `KEPT`; an artifact that is absent or unreadable is left out."""
    folder = settings.JOBS_DIR / job_public_id / "artifacts"
    report: dict[str, Any] = {}
    for name in KEPT:
        path = folder / f"{name}.json"
        try:
            if path.stat().st_size <= _MAX_BYTES:
                report[name] = json.loads(path.read_bytes())
        except (OSError, ValueError):
            continue
    return report
