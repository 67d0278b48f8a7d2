"""Changes to users, workspaces, memberships and tokens; and the audit record of every change anywhere."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.password_validation import validate_password
from django.contrib.auth.validators import UnicodeUsernameValidator
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.auth import TOKEN_PREFIX, Identity, token_hash
from apps.accounts.models import ApiToken, AuditEntry, Membership, Role, User, Workspace
from apps.accounts.signals import tokens_changed
from apps.core.errors import Conflict, Forbidden, Invalid
from apps.core.models import slug_validator
from modelkit.wording import pack

MAX_TOKEN_DAYS = 3650


def audit_record(*, by: Identity, action: str, target: str, details: dict[str, Any] | None = None) -> AuditEntry:
    """Write down a change; call it in the transaction that makes the change."""
    return AuditEntry.objects.create(
        workspace=by.workspace,
        actor=by.user,
        token=by.token,
        action=action,
        target=target[:200],
        details=pack(details or {}),
        request_id=by.request_id,
    )


# --- workspaces -----------------------------------------------------------------------------------------------------


def workspace_create(*, by: Identity, name: str, title: str = "") -> Workspace:
    """Open a workspace whose owner is the caller, who must own one already."""
    by.require(Role.OWNER)
    _check("name", name, slug_validator)
    try:
        with transaction.atomic():
            workspace = Workspace.objects.create(name=name, title=title or name, created_by=by.user)
            Membership.objects.create(workspace=workspace, user=by.user, role=Role.OWNER)
            audit_record(by=by, action="workspace.create", target=name)
    except IntegrityError:
        message = _("A workspace with this name exists.")
        raise Conflict(message, code="name_taken", fields={"name": message}, hint=_("Choose another name.")) from None
    return workspace


def email_set(*, user: User, email: str, password: str, request_id: str = "") -> None:
    """Change one's own address. It can reset the password, so the present password is asked for."""
    if not user.check_password(password):
        message = _("This is not your password.")
        raise Invalid(message, code="wrong_password", fields={"password": message})
    with transaction.atomic():
        _check_email(email, of=user)
        User.objects.filter(pk=user.pk).update(email=email)
        AuditEntry.objects.create(actor=user, action="user.email", target=user.username, request_id=request_id)


# --- members --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Invitation:
    """A new membership; `one_time_password` is there, once, if the user was made by it."""

    membership: Membership
    one_time_password: str | None


def member_add(*, by: Identity, username: str, role: Role, email: str = "") -> Invitation:
    """Add a user to the workspace; one who does not exist is made, with a one-time password."""
    by.require(Role.OWNER)
    password: str | None = None
    with transaction.atomic():
        user = User.objects.filter(username=username).first()
        if user is None:
            _check("username", username, UnicodeUsernameValidator())
            if len(username) > 150:
                message = _("Use at most 150 characters.")
                raise Invalid(message, fields={"username": message})
            _check_email(email)
            password = _one_time_password()
            user = User.objects.create_user(username, email, password, must_change_password=True)
        membership, created = Membership.objects.get_or_create(
            workspace=by.workspace, user=user, defaults={"role": role}
        )
        if not created:
            message = _("%(name)s is a member already.") % {"name": username}
            hint = _("Change the role of the member instead.")
            raise Conflict(message, code="already_member", fields={"username": message}, hint=hint)
        audit_record(
            by=by, action="member.add", target=username, details={"role": role.value, "new_user": password is not None}
        )
    return Invitation(membership, password)


def member_set_role(*, by: Identity, membership: Membership, role: Role) -> Membership:
    """Give a member another role; the last owner stays one."""
    by.require(Role.OWNER)
    with transaction.atomic():
        before = membership.role
        if role != Role.OWNER:
            _refuse_last_owner(membership)
        membership.role = role
        membership.save(update_fields=["role"])
        details = {"from": before, "to": role.value}
        audit_record(by=by, action="member.role", target=membership.user.username, details=details)
    return membership


def member_remove(*, by: Identity, membership: Membership) -> None:
    """Take a member, with the tokens made here, out of the workspace. Anyone may leave; the last owner stays.

    A token with a smaller role than its user's cannot leave for that user: it was given for less.
    """
    if membership.user_id != by.user.pk or by.role != membership.role:
        by.require(Role.OWNER)
    with transaction.atomic():
        _refuse_last_owner(membership)
        tokens = ApiToken.objects.filter(workspace=membership.workspace, user=membership.user, revoked_at=None)
        revoked = tokens.update(revoked_at=timezone.now())
        username = membership.user.username
        membership.delete()
        audit_record(by=by, action="member.remove", target=username, details={"tokens_revoked": revoked})
        _announce_tokens(by.workspace)


def member_reset_password(*, by: Identity, membership: Membership) -> str:
    """Give a member a new one-time password, for who has no working e-mail. Returned once.

    Refused for those who also belong to a workspace that the caller does not own: it would let an owner of one
    workspace into another.
    """
    by.require(Role.OWNER)
    theirs = set(Membership.objects.filter(user=membership.user).values_list("workspace_id", flat=True))
    owned = Membership.objects.filter(user=by.user, role=Role.OWNER).values_list("workspace_id", flat=True)
    if theirs - set(owned):
        raise Forbidden(
            _("%(name)s also belongs to a workspace that is not yours.") % {"name": membership.user.username},
            hint=_("They can reset the password themselves by e-mail."),
        )
    password = _one_time_password()
    with transaction.atomic():
        user = membership.user
        user.set_password(password)
        user.must_change_password = True
        user.save(update_fields=["password", "must_change_password"])
        audit_record(by=by, action="member.reset_password", target=user.username)
    return password


def _refuse_last_owner(membership: Membership) -> None:
    if membership.role != Role.OWNER:
        return
    owners = Membership.objects.select_for_update().filter(workspace=membership.workspace, role=Role.OWNER)
    if list(owners.values_list("user_id", flat=True)) == [membership.user_id]:
        raise Conflict(
            _("A workspace needs an owner."), code="last_owner", hint=_("Make another member an owner first.")
        )


# --- users ----------------------------------------------------------------------------------------------------------


def password_set(*, user: User, password: str, request_id: str = "") -> None:
    """Set a password that its owner chose, which ends a one-time password."""
    with transaction.atomic():
        user.set_password(password)
        user.must_change_password = False
        user.save(update_fields=["password", "must_change_password"])
        AuditEntry.objects.create(actor=user, action="user.password", target=user.username, request_id=request_id)


def profile_update(*, user: User, language: str, theme: str) -> User:
    """Set what the interface looks like for a user; an empty language follows the browser."""
    if language and language not in dict(settings.LANGUAGES):
        message = _("There is no such language.")
        raise Invalid(message, fields={"language": message})
    if theme not in {"auto", "light", "dark"}:
        message = _("Choose auto, light or dark.")
        raise Invalid(message, fields={"theme": message})
    user.language, user.theme = language, theme
    user.save(update_fields=["language", "theme"])
    return user


# --- tokens ---------------------------------------------------------------------------------------------------------


def token_create(*, by: Identity, name: str, role: Role, expires_in_days: int | None = None) -> tuple[ApiToken, str]:
    """Make a token of the caller's for the workspace; returns the row and the token, which is never shown again."""
    if not by.role.allows(role):
        message = _("A token may not do more than you: your role is %(role)s.") % {"role": by.role.label}
        raise Forbidden(
            message, code="role_too_high", fields={"role": message}, hint=_("Choose your role or a lower one.")
        )
    if not name.strip() or len(name) > 100:
        message = _("Use 1 to 100 characters.")
        raise Invalid(message, fields={"name": message})
    if expires_in_days is not None and not 1 <= expires_in_days <= MAX_TOKEN_DAYS:
        message = _("Choose 1 to %(days)d days, or none.") % {"days": MAX_TOKEN_DAYS}
        raise Invalid(message, fields={"expires_in_days": message})
    plain = f"{TOKEN_PREFIX}{secrets.token_urlsafe(32)}"
    with transaction.atomic():
        token = ApiToken.objects.create(
            workspace=by.workspace,
            user=by.user,
            created_by=by.user,
            name=name.strip(),
            role=role,
            sha256=token_hash(plain),
            prefix=plain[:10],
            expires_at=timezone.now() + timedelta(days=expires_in_days) if expires_in_days else None,
        )
        details = {"role": role.value, "expires_in_days": expires_in_days}
        audit_record(by=by, action="token.create", target=f"{token.name} ({token.prefix}…)", details=details)
        _announce_tokens(by.workspace)
    return token, plain


def token_revoke(*, by: Identity, token: ApiToken) -> ApiToken:
    """End a token at once; ending it twice is fine. One's own, or as an owner anybody's in the workspace."""
    if token.user_id != by.user.pk:
        by.require(Role.OWNER)
    with transaction.atomic():
        if ApiToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=timezone.now()):
            audit_record(by=by, action="token.revoke", target=f"{token.name} ({token.prefix}…)")
            _announce_tokens(by.workspace)
    token.refresh_from_db()
    return token


def _announce_tokens(workspace: Workspace) -> None:
    transaction.on_commit(lambda: tokens_changed.send_robust(sender=ApiToken, workspace=workspace))


# --- installation ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bootstrap:
    """What the first start made; `password` is there, once, if it was generated."""

    created: bool
    username: str
    password: str | None


def installation_bootstrap(*, password: str | None = None) -> Bootstrap:
    """Make the workspace `default` and its owner `admin` on an installation without users; else do nothing.

    A given `password` stays as it is; a generated one must be changed at the first sign-in.
    """
    with transaction.atomic():
        if User.objects.exists():
            return Bootstrap(created=False, username="", password=None)
        if password:
            try:
                validate_password(password)
            except ValidationError as error:
                message = " ".join(error.messages)
                raise Invalid(message, code="weak_password", fields={"TUNEYARD_ADMIN_PASSWORD": message}) from None
        generated = None if password else _one_time_password()
        user = User.objects.create_user(
            "admin",
            "",
            password or generated,
            must_change_password=generated is not None,
            is_staff=True,
            is_superuser=True,
        )
        workspace, _created = Workspace.objects.get_or_create(name="default", defaults={"title": "Default"})
        Membership.objects.create(workspace=workspace, user=user, role=Role.OWNER)
        AuditEntry.objects.create(workspace=workspace, action="installation.bootstrap", target="default")
    return Bootstrap(created=True, username=user.username, password=generated)


# Without the letters and digits that are taken for one another: it is read off a terminal.
_READABLE = "abcdefghjkmnpqrstuvwxyz23456789"


def _one_time_password() -> str:
    """Four groups of four, 79 bits."""
    return "-".join("".join(secrets.choice(_READABLE) for _ in range(4)) for _ in range(4))


def _check_email(email: str, *, of: User | None = None) -> None:
    if not email:
        return
    _check("email", email, validate_email)
    others = User.objects.filter(email__iexact=email)
    if (others.exclude(pk=of.pk) if of is not None else others).exists():
        message = _("Another user has this address.")
        raise Conflict(message, code="email_taken", fields={"email": message})


def _check(field: str, value: str, validator: Any) -> None:
    try:
        validator(value)
    except ValidationError as error:
        message = " ".join(error.messages)
        raise Invalid(message, fields={field: message}) from None
