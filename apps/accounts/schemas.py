"""Bodies and answers of the accounts API."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ninja import Schema
from pydantic import ConfigDict, Field

from apps.accounts.models import ApiToken, AuditEntry, Membership, Role
from apps.core.wording import told


class Body(Schema):
    """A request body: an unknown key is refused, since ignoring it would hide a mistake."""

    model_config = ConfigDict(extra="forbid")


class WorkspaceOut(Schema):
    name: str
    title: str
    role: Role

    @classmethod
    def of(cls, membership: Membership) -> WorkspaceOut:
        return cls(name=membership.workspace.name, title=membership.workspace.title, role=Role(membership.role))


class WorkspaceIn(Body):
    name: str = Field(max_length=63, description="A slug: lower-case letters, digits and hyphens.")
    title: str = Field("", max_length=200)


class MeOut(Schema):
    username: str
    email: str
    workspace: WorkspaceOut
    token: str | None = Field(None, description="The name of the token that was used, if one was.")
    workspaces: list[WorkspaceOut] = Field(description="All workspaces of the user.")


class MemberOut(Schema):
    username: str
    email: str
    role: Role
    since: datetime
    last_sign_in: datetime | None

    @classmethod
    def of(cls, row: Membership) -> MemberOut:
        return cls(
            username=row.user.username,
            email=row.user.email,
            role=Role(row.role),
            since=row.created_at,
            last_sign_in=row.user.last_login,
        )


class MemberIn(Body):
    username: str = Field(min_length=1, max_length=150)
    role: Role
    email: str = Field("", max_length=254)


class MemberCreated(MemberOut):
    one_time_password: str | None = Field(description="Shown once, if the user is new. To be changed at first sign-in.")


class RoleIn(Body):
    role: Role


class TokenOut(Schema):
    id: str
    name: str
    prefix: str = Field(description="The first characters, to recognise it by.")
    role: Role
    username: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None

    @classmethod
    def of(cls, row: ApiToken) -> TokenOut:
        return cls(
            id=row.public_id,
            name=row.name,
            prefix=row.prefix,
            role=Role(row.role),
            username=row.user.username,
            created_at=row.created_at,
            expires_at=row.expires_at,
            last_used_at=row.last_used_at,
            revoked_at=row.revoked_at,
        )


class TokenIn(Body):
    name: str = Field(min_length=1, max_length=100)
    role: Role
    expires_in_days: int | None = Field(None, ge=1, le=3650, description="Never, if null.")


class TokenCreated(TokenOut):
    token: str = Field(description="Shown once; only its hash is stored.")


class AuditOut(Schema):
    at: datetime
    actor: str | None = Field(description="The user name; null for the platform itself.")
    token: str | None
    action: str
    target: str
    details: dict[str, Any]
    request_id: str

    @classmethod
    def of(cls, row: AuditEntry) -> AuditOut:
        return cls(
            at=row.at,
            actor=row.actor.username if row.actor else None,
            token=row.token.name if row.token else None,
            action=row.action,
            target=row.target,
            details=told(row.details),
            request_id=row.request_id,
        )
