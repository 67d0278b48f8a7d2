"""Changes to jobs. Each is one service: keyword-only, a conditional update, and a transition row."""

from apps.jobs.services.creating import job_clone, job_create, job_preview
from apps.jobs.services.deciding import job_cancel, job_delete, job_resume, job_retry
from apps.jobs.services.hosts import devices_report, worker_gone, worker_report, workers_forget
from apps.jobs.services.leasing import (
    MAX_CRASHES,
    LeaseLost,
    job_adopt,
    job_cancel_requested,
    job_claim,
    job_finish,
    job_heartbeat,
    job_release,
    job_requeue,
    job_sweep,
)
from apps.jobs.services.receiving import job_create_for_file
from apps.jobs.services.recording import (
    job_apply_events,
    job_launched,
    job_mirrored,
    job_notice,
    job_notice_withdraw,
    job_phase,
)

__all__ = [
    "MAX_CRASHES",
    "LeaseLost",
    "devices_report",
    "job_adopt",
    "job_apply_events",
    "job_cancel",
    "job_cancel_requested",
    "job_claim",
    "job_clone",
    "job_create",
    "job_create_for_file",
    "job_delete",
    "job_finish",
    "job_heartbeat",
    "job_launched",
    "job_mirrored",
    "job_notice",
    "job_notice_withdraw",
    "job_phase",
    "job_preview",
    "job_release",
    "job_requeue",
    "job_resume",
    "job_retry",
    "job_sweep",
    "worker_gone",
    "worker_report",
    "workers_forget",
]
