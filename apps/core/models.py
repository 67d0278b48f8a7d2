"""Abstract rows that every app builds on, and the memory of idempotent requests."""

from __future__ import annotations

from django.conf import settings
from django.core.validators import RegexValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from apps.core.ids import new_id
from apps.core.wording import SentenceField

slug_validator = RegexValidator(
    r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$",
    _("Use 1 to 63 lower-case letters, digits and hyphens; begin and end with a letter or digit."),
)


class SlugField(models.CharField):  # type: ignore[type-arg] # has no arguments at run time
    """A name for references and addresses, unique in its workspace: `[a-z0-9-]{1,63}`."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        kwargs.setdefault("max_length", 63)
        kwargs.setdefault("validators", [slug_validator])
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]


class Record(models.Model):
    """A row with a public id, an author and its dates."""

    public_id = models.CharField(max_length=12, unique=True, default=new_id, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )

    class Meta:
        abstract = True


class Transition(models.Model):
    """One change of a state: when, by whom (nobody: the platform itself), from, to and why."""

    at = models.DateTimeField(auto_now_add=True)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    from_status = models.CharField(max_length=20, blank=True)
    to_status = models.CharField(max_length=20)
    reason = SentenceField(blank=True)

    class Meta:
        abstract = True
        ordering = ("at", "id")


class IdempotencyRecord(models.Model):
    """The answer given to a request with an `Idempotency-Key`, so that a repeat gets the same one.

    `scope` is the workspace's public id with method and path. A row without a status is a request under way.
    """

    scope = models.CharField(max_length=200)
    key = models.CharField(max_length=200)
    body_sha256 = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField(null=True)
    body = models.JSONField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["scope", "key"], name="core_idempotency_once")]
