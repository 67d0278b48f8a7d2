"""Requests that the serving port answered, as far as they were sampled, and what people think of the answers.

The two are joined by endpoint and request id, in whichever order they come: feedback is kept for a request that was
not sampled, too. Samples end with the endpoint's retention; feedback stays as long as its endpoint, up to a number.
"""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from apps.accounts.models import User
from apps.deployments.models import Endpoint


class RequestSample(models.Model):
    """One sampled request, already redacted when it was written; `sample_id` is given by the front."""

    endpoint = models.ForeignKey(Endpoint, on_delete=models.CASCADE, related_name="samples")
    sample_id = models.CharField(max_length=32, unique=True)
    request_id = models.CharField(max_length=64)
    revision = models.PositiveIntegerField()
    model_ref = models.CharField(max_length=140)
    at = models.DateTimeField()
    status = models.PositiveSmallIntegerField()
    error = models.CharField(max_length=100, blank=True)
    key_name = models.CharField(max_length=100, blank=True, help_text="The token that asked, where it is one.")
    items = models.PositiveIntegerField(help_text="Inputs that the request had; fewer may be kept.")
    inputs = models.JSONField(default=list)
    outputs = models.JSONField(default=list)
    text = models.TextField(blank=True, help_text="The inputs, to search in.")
    labels = models.TextField(blank=True, help_text="The answered labels, each between line ends.")
    min_score = models.FloatField(null=True)
    total_ms = models.FloatField(help_text="From request read to answer written, as the front saw it.")
    queue_ms = models.FloatField()
    preprocess_ms = models.FloatField()
    model_ms = models.FloatField()
    batch = models.PositiveIntegerField()
    tokens = models.PositiveIntegerField()

    class Meta:
        indexes = [
            models.Index(fields=["endpoint", "request_id"], name="monitoring_sample_request"),
            models.Index(fields=["endpoint", "at"], name="monitoring_sample_at"),
        ]

    def __str__(self) -> str:
        return self.request_id


class Rating(models.TextChoices):
    UP = "up", _("Right")
    DOWN = "down", _("Wrong")


class Feedback(models.Model):
    """What somebody says of one answer; saying it again replaces it.

    `predicted`, `revision` and `agrees` are known once the sample is: a label is compared with what was predicted, a
    rating alone speaks for itself.
    """

    endpoint = models.ForeignKey(Endpoint, on_delete=models.CASCADE, related_name="feedback")
    request_id = models.CharField(max_length=64)
    index = models.PositiveIntegerField(default=0, help_text="Which input of the request, from 0.")
    rating = models.CharField(max_length=4, choices=Rating, blank=True)
    label = models.CharField(max_length=500, blank=True, help_text="What would have been right.")
    comment = models.TextField(blank=True)
    author = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    at = models.DateTimeField(auto_now=True)
    predicted = models.CharField(max_length=500, blank=True)
    revision = models.PositiveIntegerField(null=True)
    agrees = models.BooleanField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["endpoint", "request_id", "index"], name="monitoring_feedback_once"),
            models.CheckConstraint(condition=~Q(rating="") | ~Q(label=""), name="monitoring_feedback_says_something"),
        ]

    def __str__(self) -> str:
        return f"{self.request_id}[{self.index}]"
