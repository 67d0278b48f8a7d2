"""REST routes of accounts: me, workspaces, members, tokens, audit."""

from __future__ import annotations

from typing import Annotated, Any

from django.http import HttpRequest
from ninja import Path, Query, Router, Status

from apps.accounts import selectors, services
from apps.accounts.auth import caller, require
from apps.accounts.models import Role
from apps.accounts.schemas import (
    AuditOut,
    MemberCreated,
    MemberIn,
    MemberOut,
    MeOut,
    RoleIn,
    TokenCreated,
    TokenIn,
    TokenOut,
    WorkspaceIn,
    WorkspaceOut,
)
from apps.core.pagination import Page, PageQuery, page_of

router = Router(tags=["Accounts"])
Username = Annotated[str, Path(max_length=150)]


@router.get("/me", response=MeOut, summary="Who am I")
@require(Role.VIEWER)
def me(request: HttpRequest) -> MeOut:
    identity = caller(request)
    return MeOut(
        username=identity.user.username,
        email=identity.user.email,
        workspace=WorkspaceOut(name=identity.workspace.name, title=identity.workspace.title, role=identity.role),
        token=identity.token.name if identity.token else None,
        workspaces=[WorkspaceOut.of(row) for row in selectors.memberships_of(identity.user)],
    )


@router.post("/workspaces", response={201: WorkspaceOut}, summary="Open a workspace")
@require(Role.OWNER)
def workspace_create(request: HttpRequest, payload: WorkspaceIn) -> Status[Any]:
    workspace = services.workspace_create(by=caller(request), name=payload.name, title=payload.title)
    return Status(201, WorkspaceOut(name=workspace.name, title=workspace.title, role=Role.OWNER))


@router.get("/members", response=Page[MemberOut], summary="List members")
@require(Role.VIEWER)
def member_list(request: HttpRequest, page: Query[PageQuery]) -> Page[MemberOut]:
    rows, cursor = page_of(selectors.members(caller(request).workspace), page, order="pk")
    return Page[MemberOut](items=[MemberOut.of(row) for row in rows], next=cursor)


@router.post("/members", response={201: MemberCreated}, summary="Add a member")
@require(Role.OWNER)
def member_add(request: HttpRequest, payload: MemberIn) -> Status[Any]:
    made = services.member_add(by=caller(request), username=payload.username, role=payload.role, email=payload.email)
    member = MemberOut.of(made.membership).model_dump()
    return Status(201, MemberCreated(**member, one_time_password=made.one_time_password))


@router.patch("/members/{username}", response=MemberOut, summary="Change a member's role")
@require(Role.OWNER)
def member_set_role(request: HttpRequest, username: Username, payload: RoleIn) -> MemberOut:
    membership = selectors.member_by_username(caller(request).workspace, username)
    return MemberOut.of(services.member_set_role(by=caller(request), membership=membership, role=payload.role))


@router.delete("/members/{username}", response={204: None}, summary="Remove a member")
@require(Role.VIEWER)
def member_remove(request: HttpRequest, username: Username) -> Status[Any]:
    membership = selectors.member_by_username(caller(request).workspace, username)
    services.member_remove(by=caller(request), membership=membership)
    return Status(204, None)


@router.get("/tokens", response=Page[TokenOut], summary="List tokens")
@require(Role.VIEWER)
def token_list(request: HttpRequest, page: Query[PageQuery]) -> Page[TokenOut]:
    rows, cursor = page_of(selectors.tokens(caller(request)), page)
    return Page[TokenOut](items=[TokenOut.of(row) for row in rows], next=cursor)


@router.post("/tokens", response={201: TokenCreated}, summary="Make a token")
@require(Role.VIEWER)
def token_create(request: HttpRequest, payload: TokenIn) -> Status[Any]:
    row, plain = services.token_create(
        by=caller(request), name=payload.name, role=payload.role, expires_in_days=payload.expires_in_days
    )
    return Status(201, TokenCreated(**TokenOut.of(row).model_dump(), token=plain))


@router.delete("/tokens/{token_id}", response={204: None}, summary="Revoke a token")
@require(Role.VIEWER)
def token_revoke(request: HttpRequest, token_id: Annotated[str, Path(max_length=12)]) -> Status[Any]:
    token = selectors.token_by_public_id(caller(request), token_id)
    services.token_revoke(by=caller(request), token=token)
    return Status(204, None)


@router.get("/audit", response=Page[AuditOut], summary="Who changed what")
@require(Role.MAINTAINER)
def audit_list(
    request: HttpRequest,
    page: Query[PageQuery],
    action: Annotated[str, Query(max_length=60, description="A prefix, e.g. `token.`")] = "",
    target: Annotated[str, Query(max_length=200, description="A prefix, e.g. `intents@`")] = "",
    actor: Annotated[str, Query(max_length=150)] = "",
) -> Page[AuditOut]:
    entries = selectors.audit_entries(caller(request).workspace, action=action, target=target, actor=actor)
    rows, cursor = page_of(entries, page)
    return Page[AuditOut](items=[AuditOut.of(row) for row in rows], next=cursor)
