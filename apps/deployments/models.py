"""Endpoints, their revisions and keys, and what happened to them.

An endpoint: pending -> live <-> degraded, failed, stopped.   A revision:

    pending -> starting -> live <-> asleep -> draining -> stopped
                       '-> failed   (the endpoint's last live revision keeps answering)

`weight` is the desired share of traffic in percent. Rows are desired state; `status`, `reason`, `golden` and `tuning`
are what the serving agent observed.
"""

from __future__ import annotations

from datetime import UTC

from django.db import models
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.accounts.models import User, Workspace, still_opens
from apps.core.models import Record, SlugField, Transition
from apps.core.wording import SentenceField
from apps.registry.models import ModelVersion


class EndpointStatus(models.TextChoices):
    PENDING = "pending", _("Pending")
    LIVE = "live", _("Live")
    DEGRADED = "degraded", _("Degraded")
    FAILED = "failed", _("Failed")
    STOPPED = "stopped", _("Stopped")


class RevisionStatus(models.TextChoices):
    PENDING = "pending", _("Pending")
    STARTING = "starting", _("Starting")
    LIVE = "live", _("Live")
    ASLEEP = "asleep", _("Asleep")
    DRAINING = "draining", _("Draining")
    STOPPED = "stopped", _("Stopped")
    FAILED = "failed", _("Failed")


class Endpoint(Record):
    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="endpoints")
    name = SlugField()
    title = models.CharField(max_length=200, blank=True)
    task = models.CharField(max_length=63)
    running = models.BooleanField(default=True, help_text="Desired: runs, or stopped by the user.")
    status = models.CharField(max_length=20, choices=EndpointStatus, default=EndpointStatus.PENDING)
    limits = models.JSONField(default=dict, help_text="modelkit.serving.plan.Limits, as far as they are set.")
    sticky = models.CharField(max_length=80, blank=True, help_text="modelkit.serving.plan.Sticky")
    shadow_inputs = models.BooleanField(default=True, help_text="Keep the texts on which the shadow answers otherwise.")
    answering = models.JSONField(default=dict, help_text="{weights, since}: where the agent said traffic points.")
    placement = models.JSONField(default=dict, help_text="modelkit.serving.plan.Placement, as far as it is set.")
    sampling = models.JSONField(default=dict, help_text="modelkit.serving.plan.Sampling, as far as it is set.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["workspace", "name"], name="deployments_endpoint_name")]

    def get_absolute_url(self) -> str:
        return reverse("endpoint_detail", args=[self.name])

    def __str__(self) -> str:
        return self.title or self.name


class Revision(Record):
    """One version put behind an endpoint; immutable but for `name`, `weight`, `shadow` and what is observed."""

    endpoint = models.ForeignKey(Endpoint, on_delete=models.CASCADE, related_name="revisions")
    number = models.PositiveIntegerField()
    model_version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="revisions")
    name = models.CharField(max_length=60, blank=True, help_text="What people call it, such as candidate.")
    weight = models.PositiveSmallIntegerField(default=0)
    shadow = models.PositiveSmallIntegerField(default=0, help_text="Percent of the traffic that is copied to it.")
    status = models.CharField(max_length=20, choices=RevisionStatus, default=RevisionStatus.PENDING)
    reason = SentenceField(blank=True)
    golden = models.JSONField(null=True)
    goal = models.CharField(max_length=20, blank=True, help_text="modelkit.serving.plan.Goal")
    runtime = models.JSONField(null=True, help_text="modelkit.serving.plan.Runtime, where the user fixed it.")
    tuning = models.JSONField(null=True, help_text="modelkit.serving.plan.Tuning, once it was measured.")
    live_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-number",)
        constraints = [models.UniqueConstraint(fields=["endpoint", "number"], name="deployments_revision_number")]

    @property
    def wanted(self) -> bool:
        """Whether it should run, for answers or for copies."""
        return self.weight > 0 or self.shadow > 0

    def get_absolute_url(self) -> str:
        return self.endpoint.get_absolute_url()

    def __str__(self) -> str:
        return f"{self.endpoint.name} #{self.number}"


class EndpointKey(Record):
    """A bearer key for predictions of one endpoint; only its SHA-256 is stored.

    It belongs to the endpoint: it goes on when the person who made it leaves, and ends with the endpoint. Empty limits
    are none, but `rate_per_minute`, which then is the endpoint's own. `used` is what the serving port reported last.
    """

    endpoint = models.ForeignKey(Endpoint, on_delete=models.CASCADE, related_name="keys")
    name = models.CharField(max_length=100)
    sha256 = models.CharField(max_length=64, unique=True)
    prefix = models.CharField(max_length=10, help_text="The key's first characters, to recognise it by.")
    expires_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)
    last_used_at = models.DateTimeField(null=True)
    rate_per_minute = models.PositiveIntegerField(null=True)
    burst = models.PositiveIntegerField(null=True)
    quota_per_day = models.PositiveBigIntegerField(null=True)
    used_today = models.PositiveBigIntegerField(default=0)
    used_on = models.DateField(null=True, help_text="The day (UTC) that `used_today` is of.")

    @property
    def usable(self) -> bool:
        return still_opens(self.revoked_at, self.expires_at)

    @property
    def inputs_today(self) -> int:
        """Inputs answered since midnight UTC."""
        return self.used_today if self.used_on == timezone.now().astimezone(UTC).date() else 0

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"


class RevisionTransition(Transition):
    revision = models.ForeignKey(Revision, on_delete=models.CASCADE, related_name="transitions")


class TimelineEntry(models.Model):
    """What changed at an endpoint, for people: who put which version where, with what weight and what numbers."""

    endpoint = models.ForeignKey(Endpoint, on_delete=models.CASCADE, related_name="timeline")
    at = models.DateTimeField(default=timezone.now)
    actor = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    kind = models.CharField(
        max_length=30,
        help_text="create, deploy, live, failed, traffic, rollback, stop, start, limits, placement, sampling, name, "
        "moved (where the agent points traffic), canary, canary_step, canary_end, shadow, shadow_end",
    )
    revision = models.PositiveIntegerField(null=True)
    model_ref = models.CharField(max_length=140, blank=True)
    details = models.JSONField(default=dict)

    class Meta:
        ordering = ("-at", "-id")
        indexes = [models.Index(fields=["endpoint", "kind", "at"], name="deployments_timeline_at")]


class DesiredState(models.Model):
    """The generation of the desired set; one row. Raised by every change that the serving hosts must see."""

    generation = models.PositiveBigIntegerField(default=0)


class CanaryStatus(models.TextChoices):
    RAMPING = "ramping", _("Ramping")
    PAUSED = "paused", _("Paused")
    PROMOTED = "promoted", _("Promoted")
    ABORTED = "aborted", _("Aborted")
    ROLLED_BACK = "rolled_back", _("Rolled back")


class Canary(Record):
    """A revision that is given traffic step by step, while it is judged against the one it is to replace.

        ramping <-> paused -> promoted      all traffic is its own
                           -> aborted       by a person, or since what it was compared with changed
                           -> rolled_back   it broke a bound; `verdict` says which, by which numbers

    A step begins when the agent reports its shares. `seen` is the last tally of either revision, `numbers` what came of
    them since the step began, `verdict` the checks of the last look, `passed` the verdicts of the steps before.
    """

    endpoint = models.ForeignKey(Endpoint, on_delete=models.CASCADE, related_name="canaries")
    revision = models.ForeignKey(Revision, on_delete=models.CASCADE, related_name="+")
    stable = models.ForeignKey(Revision, on_delete=models.CASCADE, related_name="+")
    status = models.CharField(max_length=20, choices=CanaryStatus, default=CanaryStatus.RAMPING)
    reason = SentenceField(blank=True)
    steps = models.JSONField(help_text="Shares in percent, rising to 100.")
    step = models.PositiveSmallIntegerField(default=0, help_text="Index into steps.")
    step_s = models.PositiveIntegerField(help_text="Each step lasts at least so many seconds.")
    step_began_at = models.DateTimeField(null=True)
    bounds = models.JSONField(default=dict, help_text="apps.deployments.judging.Bounds")
    seen = models.JSONField(default=dict)
    numbers = models.JSONField(default=dict)
    verdict = models.JSONField(default=list)
    passed = models.JSONField(default=list)
    finished_at = models.DateTimeField(null=True)
    finished_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")

    class Meta:
        ordering = ("-pk",)
        constraints = [
            models.UniqueConstraint(
                fields=["endpoint"], condition=models.Q(finished_at=None), name="deployments_one_canary"
            )
        ]

    @property
    def share(self) -> int:
        return int(self.steps[self.step])


class ShadowSummary(models.Model):
    """What came of the copies of one revision's requests to another; inputs are `compared`, requests the rest."""

    endpoint = models.ForeignKey(Endpoint, on_delete=models.CASCADE, related_name="shadow_summaries")
    champion = models.PositiveIntegerField()
    challenger = models.PositiveIntegerField()
    sent = models.PositiveBigIntegerField(default=0)
    dropped = models.PositiveBigIntegerField(default=0)
    failed = models.PositiveBigIntegerField(default=0)
    compared = models.PositiveBigIntegerField(default=0)
    agreed = models.PositiveBigIntegerField(default=0)
    first_at = models.DateTimeField(default=timezone.now)
    last_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("-last_at",)
        constraints = [
            models.UniqueConstraint(fields=["endpoint", "champion", "challenger"], name="deployments_shadow_pair")
        ]

    @property
    def agreement(self) -> float | None:
        return self.agreed / self.compared if self.compared else None


class ShadowCount(models.Model):
    """How often the champion said one label and the challenger another, or the same."""

    summary = models.ForeignKey(ShadowSummary, on_delete=models.CASCADE, related_name="counts")
    champion_label = models.CharField(max_length=200)
    challenger_label = models.CharField(max_length=200)
    count = models.PositiveBigIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["summary", "champion_label", "challenger_label"], name="deployments_shadow_labels"
            )
        ]


class ShadowDifference(models.Model):
    """An input to which the two answered otherwise; only the newest are kept. `input` is empty where it is not kept."""

    summary = models.ForeignKey(ShadowSummary, on_delete=models.CASCADE, related_name="differences")
    at = models.DateTimeField()
    request_id = models.CharField(max_length=64)
    input = models.TextField(blank=True)
    champion_label = models.CharField(max_length=200)
    champion_score = models.FloatField()
    challenger_label = models.CharField(max_length=200)
    challenger_score = models.FloatField()

    class Meta:
        ordering = ("-pk",)


class ShadowBatch(models.Model):
    """A file of the front that has been taken in, remembered for a day, so that a death before its removal counts
    nothing twice."""

    name = models.CharField(max_length=100, primary_key=True)
    taken_at = models.DateTimeField(default=timezone.now)
