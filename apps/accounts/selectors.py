"""Reads of users, workspaces, memberships, tokens and the audit log."""

from __future__ import annotations

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from apps.accounts.auth import Identity
from apps.accounts.models import ApiToken, AuditEntry, Membership, User, Workspace
from apps.core.errors import NotFound


def memberships_of(user: User) -> QuerySet[Membership]:
    """The workspaces a user belongs to, with the role there."""
    return Membership.objects.select_related("workspace").filter(user=user).order_by("workspace__title")


def members(workspace: Workspace) -> QuerySet[Membership]:
    """Who belongs to a workspace."""
    return Membership.objects.select_related("user").filter(workspace=workspace).order_by("user__username")


def member_by_username(workspace: Workspace, username: str) -> Membership:
    """The membership of a user in a workspace; raises NotFound."""
    membership = members(workspace).filter(user__username=username).first()
    if membership is None:
        raise NotFound(f"No member is named {username}.", hint="GET /api/v1/members lists them.")
    return membership


def tokens(identity: Identity) -> QuerySet[ApiToken]:
    """The tokens that the caller may see: an owner all of the workspace, others their own."""
    found = ApiToken.objects.select_related("user").filter(workspace=identity.workspace)
    return found if identity.role.value == "owner" else found.filter(user=identity.user)


def token_by_public_id(identity: Identity, public_id: str) -> ApiToken:
    """A token that the caller may see; raises NotFound."""
    token = tokens(identity).filter(public_id=public_id).first()
    if token is None:
        raise NotFound("There is no such token.", hint="GET /api/v1/tokens lists them.")
    return token


def usable_tokens() -> QuerySet[ApiToken]:
    """Tokens that are neither revoked nor expired, of active users who still are members."""
    member = Membership.objects.filter(workspace=OuterRef("workspace"), user=OuterRef("user"))
    not_ended = Q(expires_at=None) | Q(expires_at__gt=timezone.now())
    return ApiToken.objects.filter(Exists(member), not_ended, revoked_at=None, user__is_active=True)


def audit_entries(workspace: Workspace, *, action: str = "", target: str = "", actor: str = "") -> QuerySet[AuditEntry]:
    """The changes in a workspace, newest first; `action` and `target` are prefixes."""
    found = AuditEntry.objects.select_related("actor", "token").filter(workspace=workspace)
    if action:
        found = found.filter(action__startswith=action)
    if target:
        found = found.filter(target__startswith=target)
    if actor:
        found = found.filter(actor__username=actor)
    return found
