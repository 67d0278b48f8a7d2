"""Datasets and their immutable versions.

A version's life:

    uploading -> validating -> ready
                            -> needs_mapping -> validating
                            -> rejected

`ready` and `rejected` are final. Rows live in storage as Parquet, never here.
"""

from __future__ import annotations

from typing import Any

from django.db import models
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from apps.accounts.models import Workspace
from apps.core.models import Record, SlugField, Transition
from apps.core.wording import told


class Dataset(Record):
    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="datasets")
    name = SlugField()
    title = models.CharField(max_length=200, blank=True)
    task = models.CharField(max_length=63)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["workspace", "name"], name="datasets_dataset_name")]

    def get_absolute_url(self) -> str:
        return reverse("dataset_detail", args=[self.name])

    def __str__(self) -> str:
        return self.title or self.name


class VersionStatus(models.TextChoices):
    UPLOADING = "uploading", _("Uploading")
    VALIDATING = "validating", _("Checking")
    NEEDS_MAPPING = "needs_mapping", _("Needs mapping")
    READY = "ready", _("Ready")
    REJECTED = "rejected", _("Rejected")


class DatasetVersion(Record):
    """One immutable state of a dataset.

    `parts` are the original files: {"part": all|train|validation|test, "file_name", "size_bytes", "sha256", "key"}.
    `options` is what the user declared (encoding, delimiter, header, labels), `detected` what was found or used.
    A version made by fixes has a `parent` and `fixes`, and no parts of its own.
    While validating, the worker's claim is `attempt` and `heartbeat_at`.
    """

    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    status = models.CharField(max_length=20, choices=VersionStatus, default=VersionStatus.UPLOADING)
    parts = models.JSONField(default=list)
    options = models.JSONField(default=dict)
    detected = models.JSONField(default=dict)
    mapping = models.JSONField(default=dict)
    parent = models.ForeignKey("self", on_delete=models.PROTECT, null=True, blank=True, related_name="children")
    fixes = models.JSONField(default=list)
    prefix = models.CharField(max_length=255, help_text="Storage key of the version's folder.")
    digest = models.CharField(max_length=64, blank=True)
    rows = models.PositiveBigIntegerField(null=True)
    splits = models.JSONField(default=dict)
    labels = models.JSONField(default=list)
    checks = models.JSONField(default=list)
    stats = models.JSONField(default=dict)
    error = models.JSONField(null=True)
    progress = models.FloatField(default=0)
    attempt = models.PositiveSmallIntegerField(default=0)
    heartbeat_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-number",)
        constraints = [models.UniqueConstraint(fields=["dataset", "number"], name="datasets_version_number")]
        indexes = [models.Index(fields=["status", "heartbeat_at"], name="datasets_version_sweep")]

    @property
    def ref(self) -> str:
        return f"{self.dataset.name}@{self.number}"

    @property
    def problem(self) -> dict[str, Any] | None:
        """`error` in the reader's language."""
        problem: dict[str, Any] | None = told(self.error)
        return problem

    def get_absolute_url(self) -> str:
        return reverse("dataset_version", args=[self.dataset.name, self.number])

    def __str__(self) -> str:
        return self.ref


class DatasetVersionTransition(Transition):
    version = models.ForeignKey(DatasetVersion, on_delete=models.CASCADE, related_name="transitions")

    @property
    def title(self) -> str:
        return str(VersionStatus(self.to_status).label)
