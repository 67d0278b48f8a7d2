"""Jobs and the devices they run on.

A job's life:

    queued -> running -> succeeded
      |          |-----> failed      the user can mend it: `error` says how
      |          |-----> errored     we must mend it: `error` carries the traceback
      |          |-----> queued      the child or its host died; attempt + 1, resumes from the last checkpoint
      '----------'-----> cancelled

While running, exactly one worker holds the lease (`lease_owner`, `lease_expires_at`); who finds it expired adopts the
child if it still lives, else requeues. Detail that grows (events, log lines, curves) lives in the job's folder.
"""

from __future__ import annotations

from typing import Any

from django.db import models
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from apps.accounts.models import Workspace
from apps.core.models import Record, SlugField, Transition
from apps.core.wording import told
from apps.datasets.models import DatasetVersion
from apps.registry.models import BaseModel, ModelVersion


class JobKind(models.TextChoices):
    TRAIN = "train", _("Fine-tune")
    COMPRESS = "compress", _("Compress")
    PREDICT = "predict", _("Predict")


class JobStatus(models.TextChoices):
    QUEUED = "queued", _("Queued")
    RUNNING = "running", _("Running")
    SUCCEEDED = "succeeded", _("Succeeded")
    FAILED = "failed", _("Failed")
    ERRORED = "errored", _("Errored")
    CANCELLED = "cancelled", _("Cancelled")

    @property
    def is_final(self) -> bool:
        return self not in {JobStatus.QUEUED, JobStatus.RUNNING}


class Job(Record):
    """`spec` is frozen at creation; `progress_detail`, `metrics` and `best` are the latest state, for lists and pages.

    `number` counts within the workspace ("#48"). `published` is the version that publishing made.
    """

    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="jobs")
    number = models.PositiveIntegerField()
    kind = models.CharField(max_length=20, choices=JobKind)
    task = models.CharField(max_length=63)
    title = models.CharField(max_length=200)
    spec = models.JSONField()
    preset = models.CharField(max_length=30, blank=True)
    model_name = SlugField(blank=True)
    dataset_version = models.ForeignKey(DatasetVersion, on_delete=models.PROTECT, null=True, related_name="jobs")
    base_model = models.ForeignKey(BaseModel, on_delete=models.PROTECT, null=True, related_name="jobs")
    source_version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, null=True, related_name="jobs")
    cloned_from = models.ForeignKey("self", on_delete=models.SET_NULL, null=True, related_name="clones")
    priority = models.SmallIntegerField(default=0)
    devices_needed = models.PositiveSmallIntegerField(default=1)

    status = models.CharField(max_length=20, choices=JobStatus, default=JobStatus.QUEUED)
    phase = models.CharField(max_length=20, default="queued")
    progress = models.FloatField(default=0)
    progress_detail = models.JSONField(default=dict)
    attempt = models.PositiveSmallIntegerField(default=0)
    queued_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    cancel_requested_at = models.DateTimeField(null=True)

    lease_owner = models.CharField(max_length=100, blank=True)
    lease_expires_at = models.DateTimeField(null=True)
    host = models.CharField(max_length=200, blank=True)
    event_offset = models.BigIntegerField(default=0)
    mlflow_offset = models.BigIntegerField(default=0)

    predicted = models.JSONField(default=dict, help_text="memory_bytes, seconds, disk_bytes before the start.")
    actual = models.JSONField(default=dict, help_text="The same, measured.")
    metrics = models.JSONField(default=dict)
    metrics_split = models.CharField(max_length=10, blank=True)
    best = models.JSONField(default=dict)
    error = models.JSONField(null=True)
    mlflow_run_id = models.CharField(max_length=64, blank=True)
    published = models.ForeignKey(ModelVersion, on_delete=models.SET_NULL, null=True, related_name="published_by")

    class Meta:
        ordering = ("-number",)
        constraints = [models.UniqueConstraint(fields=["workspace", "number"], name="jobs_job_number")]
        indexes = [
            models.Index(fields=["status", "-priority", "queued_at"], name="jobs_job_queue"),
            models.Index(fields=["status", "lease_expires_at"], name="jobs_job_sweep"),
        ]

    @property
    def problem(self) -> dict[str, Any] | None:
        """`error` in the reader's language."""
        problem: dict[str, Any] | None = told(self.error)
        return problem

    def get_absolute_url(self) -> str:
        return reverse("job_detail", args=[self.public_id])

    def __str__(self) -> str:
        return f"#{self.number} {self.title}"


class JobTransition(Transition):
    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="transitions")
    attempt = models.PositiveSmallIntegerField(default=0)

    @property
    def title(self) -> str:
        return str(JobStatus(self.to_status).label)


class Device(models.Model):
    """A slot of a worker host: its CPU, or one GPU. `job` is the lease."""

    host = models.CharField(max_length=200)
    name = models.CharField(max_length=20, help_text="cpu:0, cuda:0 ...")
    title = models.CharField(max_length=200, blank=True)
    memory_bytes = models.BigIntegerField(default=0)
    job = models.OneToOneField(Job, on_delete=models.SET_NULL, null=True, related_name="device")
    seen_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["host", "name"], name="jobs_device_name")]


class WorkerProcess(models.Model):
    """A Celery worker that reports in; gone when `seen_at` is old."""

    host = models.CharField(max_length=200)
    name = models.CharField(max_length=200, unique=True)
    queue = models.CharField(max_length=20)
    pid = models.PositiveIntegerField()
    details = models.JSONField(default=dict)
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField()
