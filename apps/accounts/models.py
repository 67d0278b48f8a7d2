"""Who may do what: users, workspaces, memberships, API tokens, and the record of what was done."""

from __future__ import annotations

from datetime import datetime

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.core.models import Record, SlugField
from apps.core.wording import told


class Role(models.TextChoices):
    """Each role may do all that the ones before it may."""

    VIEWER = "viewer", _("Viewer")
    DEVELOPER = "developer", _("Developer")
    MAINTAINER = "maintainer", _("Maintainer")
    OWNER = "owner", _("Owner")

    @property
    def rank(self) -> int:
        return list(Role).index(self)

    def allows(self, needed: Role) -> bool:
        """Whether this role may do what `needed` may."""
        return self.rank >= needed.rank


class User(AbstractUser):
    """A person. `must_change_password` bars every page but the change of password."""

    must_change_password = models.BooleanField(default=False)
    language = models.CharField(max_length=10, blank=True)
    theme = models.CharField(
        max_length=5, default="auto", choices=[("auto", "auto"), ("light", "light"), ("dark", "dark")]
    )


class Workspace(Record):
    """A team's room: every other noun belongs to one, and nobody sees into another."""

    name = SlugField(unique=True)
    title = models.CharField(max_length=200)
    members = models.ManyToManyField(User, through="Membership", related_name="workspaces")

    def __str__(self) -> str:
        return str(self.name)


class Membership(models.Model):
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=20, choices=Role)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["workspace", "user"], name="accounts_membership_once")]


def still_opens(revoked_at: datetime | None, expires_at: datetime | None) -> bool:
    """Whether what a program shows to get in is valid now."""
    return revoked_at is None and (expires_at is None or expires_at > timezone.now())


class ApiToken(Record):
    """A bearer token of a workspace: only its SHA-256 is stored. It acts with `role`, or its owner's if lower."""

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="tokens")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="tokens")
    name = models.CharField(max_length=100)
    role = models.CharField(max_length=20, choices=Role)
    sha256 = models.CharField(max_length=64, unique=True)
    prefix = models.CharField(max_length=10, help_text="The token's first characters, to recognise it by.")
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    @property
    def usable(self) -> bool:
        return still_opens(self.revoked_at, self.expires_at)


class AuditEntry(models.Model):
    """One change: who did what to which thing, when and from where. Never edited, never deleted by the interface."""

    at = models.DateTimeField(auto_now_add=True)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, null=True, related_name="audit_entries")
    actor = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    token = models.ForeignKey(ApiToken, on_delete=models.SET_NULL, null=True, related_name="+")
    action = models.CharField(max_length=60, help_text="noun.verb, e.g. endpoint.create")
    target = models.CharField(max_length=200, help_text="The thing's reference, e.g. intents@2")
    details = models.JSONField(default=dict)
    request_id = models.CharField(max_length=12, blank=True)

    class Meta:
        ordering = ("-at", "-id")
        indexes = [models.Index(fields=["workspace", "-at"], name="accounts_audit_recent")]

    @property
    def href(self) -> str:
        """The page of the thing, as far as it has one; it may be gone by now."""
        noun, _, verb = self.action.partition(".")
        name, _, number = self.target.partition("@")
        places = {
            "job": ("job_detail", [self.details.get("id", "")]),
            "dataset": ("dataset_version", [name, number]) if number else ("dataset_detail", [name]),
            "model": ("model_version", [name, number]) if number else ("model_detail", [name]),
            "alias": ("model_detail", [name]),
            "endpoint": ("endpoint_detail", [name]),
        }
        if noun not in places or verb == "delete":
            return ""
        page, args = places[noun]
        try:
            return reverse(page, args=args)
        except NoReverseMatch:  # a target from before such things had pages
            return ""

    @property
    def shown_details(self) -> list[tuple[str, object]]:
        """The details that say something."""
        return [
            (name, _listed(value)) for name, value in told(self.details).items() if value is not None and value != ""
        ]


def _listed(value: object) -> object:
    """A nested value of JSON as people write it."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_listed(item)}" for name, item in value.items())
    return ", ".join(str(_listed(item)) for item in value) if isinstance(value, list) else value
