"""Who is calling: `Identity` for services, `TokenAuth` and `SessionAuth` for the API, `require` for roles."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import wraps
from typing import Any

from django.db.models import Q
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _
from ninja.security import HttpBearer
from ninja.security import SessionAuth as NinjaSessionAuth

from apps.accounts.models import ApiToken, Membership, Role, User, Workspace
from apps.core.errors import Forbidden


@dataclass(frozen=True)
class Identity:
    """The caller, as services see one: a user in a workspace with a role, maybe through a token."""

    user: User
    workspace: Workspace
    role: Role
    token: ApiToken | None = None
    request_id: str = ""

    def require(self, role: Role) -> None:
        """Raise Forbidden unless the caller's role allows what `role` may."""
        if not self.role.allows(role):
            raise Forbidden(
                _("This needs the role %(needed)s; yours is %(yours)s.")
                % {"needed": role.label, "yours": self.role.label},
                hint=_("Ask an owner of the workspace."),
            )


def token_hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


class TokenAuth(HttpBearer):
    """`Authorization: Bearer ty_...`; the token decides the workspace."""

    def authenticate(self, request: HttpRequest, token: str) -> Identity | None:
        now = timezone.now()
        row = (
            ApiToken.objects.select_related("workspace", "user")
            .filter(sha256=token_hash(token), revoked_at=None, user__is_active=True)
            .filter(Q(expires_at=None) | Q(expires_at__gt=now))
            .first()
        )
        if row is None:
            return None
        membership = Membership.objects.filter(workspace=row.workspace, user=row.user).first()
        if membership is None:
            return None
        if row.last_used_at is None or (now - row.last_used_at).total_seconds() > 60:
            ApiToken.objects.filter(pk=row.pk).update(last_used_at=now)
        role = min(Role(row.role), Role(membership.role), key=lambda role: role.rank)
        return Identity(row.user, row.workspace, role, row, getattr(request, "request_id", ""))


class SessionAuth(NinjaSessionAuth):
    """The signed-in user in the workspace of the session; CSRF is checked."""

    def authenticate(self, request: HttpRequest, key: str | None) -> Any:
        user = request.user
        workspace = getattr(request, "workspace", None)
        if not isinstance(user, User) or workspace is None or user.must_change_password:
            return None
        return identity_of(request)


def identity_of(request: HttpRequest) -> Identity:
    """The signed-in user as an Identity, for page views; `WorkspaceMiddleware` has set workspace and role."""
    return Identity(
        request.user,  # type: ignore[arg-type]
        request.workspace,  # type: ignore[attr-defined]
        request.role,  # type: ignore[attr-defined]
        None,
        getattr(request, "request_id", ""),
    )


def require(role: Role) -> Any:
    """Decorate an API function or page view: the caller needs at least `role`."""

    def decorate(function: Any) -> Any:
        @wraps(function)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            identity = getattr(request, "auth", None)
            if not isinstance(identity, Identity):
                identity = identity_of(request)
            identity.require(role)
            return function(request, *args, **kwargs)

        return guarded

    return decorate
