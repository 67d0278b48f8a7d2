"""Who is calling: `Identity` for services, `TokenAuth` and `SessionAuth` for the API, `require` for roles."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import Q
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _
from ninja.errors import HttpError
from ninja.security import HttpBearer
from ninja.security import SessionAuth as NinjaSessionAuth

from apps.accounts.models import ApiToken, Membership, Role, User, Workspace
from apps.core.errors import Forbidden
from apps.core.wrapping import wraps_api

#: Every token begins so, for secret scanners to find one that leaked.
TOKEN_PREFIX = "ty_"  # noqa: S105
_LAST_USE_STEP = timedelta(minutes=1)


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
    """What is stored of a token. A plain digest suffices: the token itself has 256 random bits."""
    return hashlib.sha256(token.encode()).hexdigest()


class TokenAuth(HttpBearer):
    """`Authorization: Bearer ty_...`; the token decides the workspace. Raises Forbidden below the role `needed`."""

    def __init__(self, needed: Role = Role.VIEWER) -> None:
        super().__init__()
        self.needed = needed

    def __call__(self, request: HttpRequest) -> Identity | None:
        identity: Identity | None = super().__call__(request)
        if identity is not None:
            identity.require(self.needed)
        return identity

    def authenticate(self, request: HttpRequest, token: str) -> Identity | None:
        if not token.startswith(TOKEN_PREFIX):
            return None
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
        # Once a minute at most: a write on every call would make readers wait for the database's one writer.
        if row.last_used_at is None or now - row.last_used_at > _LAST_USE_STEP:
            ApiToken.objects.filter(pk=row.pk).update(last_used_at=now)
        role = min(Role(row.role), Role(membership.role), key=lambda role: role.rank)
        return Identity(row.user, row.workspace, role, row, getattr(request, "request_id", ""))


class SessionAuth(NinjaSessionAuth):
    """The signed-in user in the workspace of the session; CSRF is checked, and the role `needed`."""

    def __init__(self, needed: Role = Role.VIEWER) -> None:
        super().__init__()
        self.needed = needed

    def __call__(self, request: HttpRequest) -> Identity | None:
        # A program that sent a wrong token, or nothing, is told 401; the CSRF check is for browsers with a session.
        if "Authorization" in request.headers or self.param_name not in request.COOKIES:
            return None
        if not request.user.is_authenticated:
            return None
        try:
            identity: Identity | None = super().__call__(request)
        except HttpError:
            raise Forbidden(
                _("The CSRF token is missing or wrong."),
                code="csrf_failed",
                hint=_("Send the header X-CSRFToken with the value of the CSRF cookie, or use a token."),
            ) from None
        if identity is not None:
            identity.require(self.needed)
        return identity

    def authenticate(self, request: HttpRequest, key: str | None) -> Identity | None:
        user = request.user
        if not isinstance(user, User) or not user.is_active:
            return None
        if user.must_change_password:
            raise Forbidden(
                _("The one-time password must be changed first."),
                code="password_change_required",
                hint=_("Sign in in a browser and choose a password of your own."),
            )
        return identity_of(request)


def caller(request: HttpRequest) -> Identity:
    """Who is calling the API, after authentication."""
    identity: Identity = request.auth  # type: ignore[attr-defined]
    return identity


def identity_of(request: HttpRequest) -> Identity:
    """The signed-in user as an Identity, for page views; `WorkspaceMiddleware` has set workspace and role.

    Raises Forbidden for one who belongs to no workspace.
    """
    workspace: Workspace | None = getattr(request, "workspace", None)
    if workspace is None or not isinstance(request.user, User):
        raise Forbidden(
            _("You belong to no workspace."), code="no_workspace", hint=_("Ask an owner to add you to theirs.")
        )
    role: Role = request.role  # type: ignore[attr-defined]
    return Identity(request.user, workspace, role, None, getattr(request, "request_id", ""))


def require(role: Role) -> Any:
    """Decorate an API function or page view: the caller needs at least `role`.

    Every API function has it (a test walks them all), so that none is open by having been forgotten. There the role is
    looked at before the body is read: who may not upload is told so before the upload is parsed.
    """

    def decorate(function: Any) -> Any:
        @wraps_api(function)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            identity = getattr(request, "auth", None)
            if not isinstance(identity, Identity):
                identity = identity_of(request)
            identity.require(role)
            return function(request, *args, **kwargs)

        def contribute(operation: Any) -> None:
            operation.auth_param = [TokenAuth(role), SessionAuth(role)]
            operation._set_auth(operation.auth_param)

        guarded.required_role = role  # type: ignore[attr-defined]
        callbacks = getattr(guarded, "_ninja_contribute_to_operation", [])
        guarded._ninja_contribute_to_operation = [*callbacks, contribute]  # type: ignore[attr-defined]
        return guarded

    return decorate
