"""Base models to start from, and the team's own models: versions, aliases and who moved them."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from apps.accounts.models import Workspace
from apps.core.models import Record, SlugField, Transition
from apps.core.wording import told
from apps.datasets.models import DatasetVersion


class BaseModelStatus(models.TextChoices):
    IMPORTING = "importing", _("Importing")
    READY = "ready", _("Ready")
    FAILED = "failed", _("Failed")


class BaseModel(Record):
    """A pretrained model on this installation. Bundled ones belong to no workspace; imported ones to theirs.

    Bundled ones and folders are ready at once. What a worker has to fetch or unpack lives like this:

        importing -> ready
                  -> failed -> importing (tried again)

    `origin` tells where it came from: {"repo", "revision", "commit"} of a hub, {"file_name", "size_bytes", "sha256",
    "key"} of an archive, {"model", "labels"} of a model version. While importing, the worker's claim is `attempt` and
    `heartbeat_at`. A failed one has `error`: {"code", "message", "hint", "retry"}.
    """

    class Source(models.TextChoices):
        BUNDLED = "bundled", _("Bundled")
        FOLDER = "folder", _("Folder")
        ARCHIVE = "archive", _("Archive")
        HUB = "hub", _("Hub")
        MODEL_VERSION = "model_version", _("Model version")

    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, null=True, related_name="base_models")
    name = SlugField()
    title = models.CharField(max_length=200)
    tasks = models.JSONField(default=list)
    source = models.CharField(max_length=20, choices=Source)
    path = models.CharField(max_length=1000, help_text="The Hugging Face folder on the workers' disk.")
    revision = models.CharField(max_length=64)
    architecture = models.CharField(max_length=100, blank=True)
    parameters = models.BigIntegerField(default=0)
    size_bytes = models.BigIntegerField(default=0)
    licence = models.CharField(max_length=100, blank=True)
    languages = models.JSONField(default=list)
    source_version = models.ForeignKey(
        "ModelVersion", on_delete=models.PROTECT, null=True, blank=True, related_name="base_models"
    )
    status = models.CharField(max_length=20, choices=BaseModelStatus, default=BaseModelStatus.READY)
    origin = models.JSONField(default=dict)
    error = models.JSONField(null=True)
    progress = models.FloatField(default=0)
    attempt = models.PositiveSmallIntegerField(default=0)
    heartbeat_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace", "name"], name="registry_base_model_name"),
            # NULLs are distinct in a unique constraint, hence a second one for the bundled models.
            models.UniqueConstraint(
                fields=["name"], condition=models.Q(workspace=None), name="registry_bundled_base_model_name"
            ),
        ]
        indexes = [models.Index(fields=["status", "heartbeat_at"], name="registry_base_model_sweep")]

    def get_absolute_url(self) -> str:
        return reverse("base_model_list")

    @property
    def problem(self) -> dict[str, Any] | None:
        """`error` in the reader's language."""
        problem: dict[str, Any] | None = told(self.error)
        return problem

    def __str__(self) -> str:
        return self.title


class BaseModelTransition(Transition):
    base_model = models.ForeignKey(BaseModel, on_delete=models.CASCADE, related_name="transitions")

    @property
    def title(self) -> str:
        return str(BaseModelStatus(self.to_status).label)


class RegisteredModel(Record):
    """A name under which versions are published; in MLflow it is `workspace.name`."""

    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="models")
    name = SlugField()
    title = models.CharField(max_length=200, blank=True)
    task = models.CharField(max_length=63)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["workspace", "name"], name="registry_model_name")]

    def get_absolute_url(self) -> str:
        return reverse("model_detail", args=[self.name])

    def __str__(self) -> str:
        return self.title or self.name


class ModelVersion(Record):
    """A published model. `number` is MLflow's version number; a compressed variant has a `parent` and a `recipe`.

    The job is named by its public id: jobs know the registry, the registry does not know jobs.
    """

    model = models.ForeignKey(RegisteredModel, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    job_public_id = models.CharField(max_length=12, blank=True, db_index=True)
    dataset_version = models.ForeignKey(DatasetVersion, on_delete=models.PROTECT, null=True, related_name="models")
    base_model = models.ForeignKey(BaseModel, on_delete=models.PROTECT, null=True, related_name="versions")
    parent = models.ForeignKey("self", on_delete=models.PROTECT, null=True, blank=True, related_name="variants")
    recipe = models.JSONField(default=list)
    manifest = models.JSONField(default=dict)
    metrics = models.JSONField(default=dict)
    metrics_split = models.CharField(max_length=10, default="test")
    report = models.JSONField(default=dict, help_text="per_class, confusion, parity and score artifacts of the job.")
    size_bytes = models.BigIntegerField(default=0)
    bundle_digest = models.CharField(max_length=64, db_index=True)
    mlflow_run_id = models.CharField(max_length=64, blank=True)

    class Meta:
        ordering = ("-number",)
        constraints = [models.UniqueConstraint(fields=["model", "number"], name="registry_version_number")]

    @property
    def ref(self) -> str:
        return f"{self.model.name}@{self.number}"

    def get_absolute_url(self) -> str:
        return reverse("model_version", args=[self.model.name, self.number])

    def __str__(self) -> str:
        return self.ref


class Alias(models.Model):
    """A movable name of a version: `champion`, `challenger` or one of the team's own."""

    model = models.ForeignKey(RegisteredModel, on_delete=models.CASCADE, related_name="aliases")
    name = SlugField()
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="aliases")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["model", "name"], name="registry_alias_name")]

    def __str__(self) -> str:
        return str(self.name)

    def get_absolute_url(self) -> str:
        return self.model.get_absolute_url()


class AliasChange(Transition):
    """An alias moved: from and to are version numbers, empty for none."""

    model = models.ForeignKey(RegisteredModel, on_delete=models.CASCADE, related_name="alias_changes")
    alias = models.CharField(max_length=63)
