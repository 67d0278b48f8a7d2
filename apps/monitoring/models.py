"""What endpoints were asked, minute by minute and hour by hour, and how far the front's files have been read."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from apps.deployments.models import Endpoint

MINUTE_S, HOUR_S = 60, 3600


class TrafficStat(models.Model):
    """The requests to one revision in the span that begins `at`; revision 0 stands for those refused before one was
    chosen. Each request is in one row of a minute and in one of an hour.
    """

    endpoint = models.ForeignKey(Endpoint, on_delete=models.CASCADE, related_name="traffic_stats")
    revision = models.PositiveIntegerField()
    span_s = models.PositiveIntegerField(choices=[(MINUTE_S, "minute"), (HOUR_S, "hour")])
    at = models.DateTimeField()
    requests = models.PositiveBigIntegerField(default=0)
    errors = models.PositiveBigIntegerField(default=0, help_text="Answered by 5xx.")
    tally = models.JSONField(default=dict, help_text="modelkit.serving.tally.Tally, packed.")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["endpoint", "span_s", "at", "revision"], name="monitoring_traffic_stat")
        ]
        indexes: ClassVar = [models.Index(fields=["span_s", "at"], name="monitoring_traffic_age")]


class JournalFile(models.Model):
    """How many bytes of a file of the front have become rows. It moves in the transaction that writes those rows."""

    name = models.CharField(max_length=100, unique=True)
    offset = models.PositiveBigIntegerField(default=0)
